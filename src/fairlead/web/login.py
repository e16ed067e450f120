"""Letting a browser in: the link's page, the cookie, the session, the way out.

A login link leads to a page with a button, and only the button logs in. The page's policy lets the browser
send its Origin along (`same-origin`; with the usual `no-referrer` it would be `null`), and POST /login
takes nothing without one of our own: so no foreign page can log a browser in as somebody else. All later
changes need the CSRF token, see `core.admission`.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Final
from urllib.parse import parse_qsl, urlsplit

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from fairlead.access.login import NO_LINK, SESSION_SECONDS, Secret
from fairlead.core.access import Browser
from fairlead.core.admission import cookie_values
from fairlead.core.ratelimit import Gcra, Rate
from fairlead.model.access import Caller
from fairlead.ports import StoreAwayError
from fairlead.web.examples import shown
from fairlead.web.problems import documented
from fairlead.web.services import BrowserLogins, EveryService
from fairlead.web.strict import StrictRoute

RATE: Final = Rate(per_minute=60.0, burst=20)  # of codes that are tried, by everybody together
_FORM: Final = "application/x-www-form-urlencoded"
_HEADERS: Final = {
    "content-security-policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "referrer-policy": "same-origin",
    "cache-control": "no-store",
}
_PAGE: Final = """<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <meta name="color-scheme" content="light dark">
    <title>Fairlead</title>
    <link rel="icon" href="/docs/assets/icon.svg" type="image/svg+xml">
    <link rel="stylesheet" href="/docs/assets/docs.css">
  </head>
  <body>
    <header class="bar">
      <img src="/docs/assets/icon.svg" alt="" width="28" height="28">
      <h1>Fairlead</h1>
    </header>
    <main class="plain">
{content}
    </main>
  </body>
</html>
"""
_BUTTON: Final = """      <p>This link lets this browser in, once.</p>
      <form id="door" class="alone" method="post" action="/login">
        <input type="hidden" name="code" value="{code}">
        <button type="submit" autofocus>Log in</button>
      </form>"""
_NO_CODE: Final = "The link is not complete. Copy all of it."
_USED: Final = "This link has been used, or is too old. Run <code>fairlead login</code> for a new one."
_FOREIGN: Final = "The button was not pressed on our own page. Open the login link itself."
_TOO_MANY: Final = "Too many logins were tried just now. Press the button again in a moment."
_AWAY: Final = "The database cannot be reached just now. Press the button again in a moment."


class LoginLink(BaseModel):
    """Good for one browser, once."""

    url: str
    expires: float = Field(description="Unix time, s")


class SessionReport(BaseModel):
    """Who asks. `csrfToken` is there in a browser's session, for the header X-CSRF-Token."""

    principal: str
    role: str
    expires: float | None = Field(description="Unix time, s; null for never")
    csrfToken: str | None = None  # noqa: N815 - as it stands in the document


def login_router(services: EveryService, browsers: BrowserLogins) -> APIRouter:
    """The JSON side: a link, who one is, the way out."""
    router = APIRouter(tags=["access"], route_class=StrictRoute)
    link = LoginLink(url=f"{browsers.address}/login?code=...", expires=1795349400.0)
    session = SessionReport(principal="ada", role="developer", expires=1795392000.0, csrfToken="1OiR...")

    @router.post(
        "/api/login-links",
        status_code=201,
        summary="Make a login link",
        responses={201: shown(link=link.model_dump()), **documented(NO_LINK)},
    )
    async def make_login_link(request: Request) -> LoginLink:
        """A link that lets one browser in as the caller, once, within ten minutes."""
        code = await browsers.logins.make_code(request.state.caller)
        return LoginLink(url=f"{browsers.address}/login?code={code.value}", expires=code.expires)

    @router.get("/api/session", summary="Who asks", responses={200: shown(session=session.model_dump())})
    async def get_session(request: Request) -> SessionReport:
        """The caller's name and role, and for a browser what its changes need."""
        caller: Caller = request.state.caller
        cookie = _cookie(request, services) if caller.credential.startswith("web:") else None
        found = services.policy().identities.identify_cookie(cookie) if cookie is not None else None
        return SessionReport(
            principal=caller.name,
            role=caller.role.word,
            expires=caller.expires,
            csrfToken=found.csrf_token.decode() if isinstance(found, Browser) else None,
        )

    @router.post("/logout", status_code=204, summary="End this browser's session")
    async def log_out(request: Request) -> Response:
        """A caller that came by something else has no session to end."""
        kind, _, session_id = request.state.caller.credential.partition(":")
        response = Response(status_code=204)
        if kind == "web":
            await browsers.logins.end(session_id)
            _set_cookie(response, services, Secret("", 0.0), 0)
        return response

    return router


def login_pages(services: EveryService, browsers: BrowserLogins) -> APIRouter:
    """The public side: what the link shows, and what its button sends."""
    router = APIRouter(include_in_schema=False)
    tried = Gcra(RATE)

    @router.get("/login")
    async def get_login(code: Annotated[str, Query()] = "") -> Response:
        return _page(_BUTTON.format(code=code)) if _looks_like_code(code) else _told(_NO_CODE, 400)

    @router.post("/login")
    async def post_login(request: Request) -> Response:
        code = _code(request.headers.get("content-type", ""), await request.body())
        if not _is_our_own_page(request):
            return _told(_FOREIGN, 403)
        if code is None:
            return _told(_NO_CODE, 400)
        if tried.admit(asyncio.get_running_loop().time()) > 0:
            return _told(_TOO_MANY, 429)
        try:
            begun = await browsers.logins.begin(code, replaces=_cookie(request, services))
        except StoreAwayError:
            return _told(_AWAY, 503)
        if begun is None:
            return _told(_USED, 403)
        cookie, _ = begun
        response = Response(status_code=303, headers={"location": "/docs"})
        _set_cookie(response, services, cookie, int(SESSION_SECONDS))
        return response

    return router


def _looks_like_code(code: str) -> bool:
    return len(code) == 43 and code.isascii() and code.replace("-", "").replace("_", "").isalnum()


def _code(content_type: str, body: bytes) -> bytes | None:
    """The one member of the form; a browser can send other kinds of forms to us unasked, so they are none."""
    if content_type.partition(";")[0].strip().lower() != _FORM:
        return None
    try:
        members = parse_qsl(body.decode("ascii"), strict_parsing=True, max_num_fields=4)
    except ValueError:
        return None
    match members:
        case [("code", code)] if _looks_like_code(code):
            return code.encode()
    return None


def _is_our_own_page(request: Request) -> bool:
    """Browsers send the Origin with each POST. `admit` has seen to it that Host is ours."""
    origin = request.headers.get("origin", "")
    return origin != "" and urlsplit(origin).netloc.lower() == request.headers.get("host", "").lower()


def _cookie(request: Request, services: EveryService) -> bytes | None:
    values = cookie_values(request.scope["headers"], services.policy().sign_in.cookie.encode())
    return values.pop() if values else None


def _set_cookie(response: Response, services: EveryService, cookie: Secret, seconds: int) -> None:
    name = services.policy().sign_in.cookie
    response.set_cookie(
        name,
        cookie.value,
        max_age=seconds,
        path="/",
        httponly=True,
        samesite="strict",
        secure=name.startswith("__Host-"),
    )


def _page(content: str, status: int = 200) -> Response:
    return HTMLResponse(_PAGE.format(content=content), status, headers=dict(_HEADERS))


def _told(text: str, status: int) -> Response:
    return _page(f"      <p>{text}</p>", status)
