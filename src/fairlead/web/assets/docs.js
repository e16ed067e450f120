"use strict";
// Lets Swagger UI show /openapi.json: with a token that is asked for and kept for this tab, or in the session of
// a browser that came by a login link.

const KEY = "fairlead-token";
const door = document.getElementById("door");
const field = document.getElementById("token");
const forget = document.getElementById("forget");
const message = document.getElementById("message");
let leave = async () => {};

const dark = matchMedia("(prefers-color-scheme: dark)");
const paint = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", paint);
paint();

function tell(text) {
  message.textContent = text;
  message.hidden = !text;
}

function byToken(token) {
  return { headers: { Authorization: `Bearer ${token}` }, credentials: "omit" };
}

function bySession(session) {
  return { headers: { "X-CSRF-Token": session.csrfToken }, credentials: "same-origin" };
}

async function describe(way) {
  const answer = await fetch("/openapi.json", { ...way, cache: "no-store" });
  const body = await answer.json();
  if (!answer.ok) throw new Error(`${body.title}. ${body.detail}`);
  return body;
}

function sentBy(way) {
  return (request) => {
    if (new URL(request.url, location.href).origin === location.origin) {
      Object.assign(request.headers, way.headers);
      request.credentials = way.credentials;
    }
    return request;
  };
}

async function show(way) {
  tell("Loading…");
  try {
    const spec = await describe(way);
    SwaggerUIBundle({
      spec,
      domNode: document.getElementById("operations"),
      requestInterceptor: sentBy(way),
      validatorUrl: null,
      deepLinking: true,
      docExpansion: "list",
      defaultModelsExpandDepth: 0,
      displayRequestDuration: true,
    });
    field.value = "";
    forget.hidden = false;
    tell("");
    return true;
  } catch (error) {
    tell(error.message);
    return false;
  }
}

async function showByToken(token) {
  if (await show(byToken(token))) sessionStorage.setItem(KEY, token);
  else sessionStorage.removeItem(KEY);
}

async function showBySession() {
  const answer = await fetch("/api/session", { credentials: "same-origin", cache: "no-store" });
  const session = answer.ok ? await answer.json() : {};
  if (!session.csrfToken || !(await show(bySession(session)))) return;
  forget.textContent = `Log out ${session.principal}`;
  leave = () => fetch("/logout", { method: "POST", ...bySession(session) });
}

door.addEventListener("submit", (event) => {
  event.preventDefault();
  showByToken(field.value.trim());
});
forget.addEventListener("click", () => {
  sessionStorage.removeItem(KEY);
  leave().finally(() => location.reload());
});
const kept = sessionStorage.getItem(KEY);
if (kept) showByToken(kept);
else showBySession();
