"use strict";
// Asks for a token, keeps it for this tab, and lets Swagger UI show /openapi.json with it.

const KEY = "fairlead-token";
const door = document.getElementById("door");
const field = document.getElementById("token");
const forget = document.getElementById("forget");
const message = document.getElementById("message");

const dark = matchMedia("(prefers-color-scheme: dark)");
const paint = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", paint);
paint();

function tell(text) {
  message.textContent = text;
  message.hidden = !text;
}

async function describe(token) {
  const headers = { Authorization: `Bearer ${token}` };
  const answer = await fetch("/openapi.json", { headers, credentials: "omit", cache: "no-store" });
  const body = await answer.json();
  if (!answer.ok) throw new Error(`${body.title}. ${body.detail}`);
  return body;
}

function withToken(token) {
  return (request) => {
    if (new URL(request.url, location.href).origin === location.origin) {
      request.headers.Authorization = `Bearer ${token}`;
    }
    return request;
  };
}

async function show(token) {
  tell("Loading…");
  try {
    const spec = await describe(token);
    sessionStorage.setItem(KEY, token);
    SwaggerUIBundle({
      spec,
      domNode: document.getElementById("operations"),
      requestInterceptor: withToken(token),
      validatorUrl: null,
      deepLinking: true,
      docExpansion: "list",
      defaultModelsExpandDepth: 0,
      displayRequestDuration: true,
    });
    field.value = "";
    forget.hidden = false;
    tell("");
  } catch (error) {
    sessionStorage.removeItem(KEY);
    tell(error.message);
  }
}

door.addEventListener("submit", (event) => {
  event.preventDefault();
  show(field.value.trim());
});
forget.addEventListener("click", () => {
  sessionStorage.removeItem(KEY);
  location.reload();
});
const kept = sessionStorage.getItem(KEY);
if (kept) show(kept);
