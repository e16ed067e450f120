"""A browser's way in and out, with the requests that browsers and those who abuse them send."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from fairlead.core.admission import AdmissionPolicy, SignIn
from fairlead.model.access import Caller, Role
from fairlead.web import login
from fairlead.web.services import BrowserLogins
from support.browsers import Rig
from support.web_services import HOST, TOKEN, client, services

OWN = f"http://{HOST}"
COOKIE = "fairlead_session_3002"
ADMIN = Caller("ada", Role.ADMIN, (), "local")


@pytest.fixture
def rig() -> Rig:
    return Rig(TOKEN, ADMIN)


def app_client(rig: Rig, *, cookie: str = COOKIE, **headers: str) -> httpx.AsyncClient:
    policy = AdmissionPolicy.compile(
        rig, 3002, origins=["https://dash.example"], sign_in=SignIn(cookie=cookie)
    )
    return client(services(admits=policy, browsers=BrowserLogins(rig.logins, OWN)), **headers)


@pytest.fixture
async def browser(rig: Rig) -> AsyncIterator[httpx.AsyncClient]:
    async with app_client(rig) as http:
        yield http


async def link(rig: Rig) -> str:
    async with app_client(rig, authorization=f"Bearer {TOKEN}") as http:
        answer = await http.post("/api/login-links")
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    url: str = answer.json()["url"]
    assert url.startswith(OWN + "/login?code=")
    return url


async def press(http: httpx.AsyncClient, url: str, origin: str | None = OWN) -> httpx.Response:
    headers = {} if origin is None else {"origin": origin}
    return await http.post("/login", data={"code": url.partition("code=")[2]}, headers=headers)


async def log_in(http: httpx.AsyncClient, rig: Rig) -> str:
    """Logged in; its CSRF token."""
    assert (await press(http, await link(rig))).status_code == 303
    return (await http.get("/api/session")).json()["csrfToken"]


async def test_the_link_shows_a_button_and_using_it_is_the_buttons_work(rig: Rig, browser: httpx.AsyncClient):
    url = await link(rig)
    for _ in range(3):  # previews
        page = await browser.get(url)
        assert page.status_code == 200
    assert 'method="post" action="/login"' in page.text
    assert url.partition("code=")[2] in page.text
    assert page.headers["referrer-policy"] == "same-origin"  # else the button's Origin would be null
    assert "form-action 'self'" in page.headers["content-security-policy"]
    assert "script" not in page.headers["content-security-policy"]
    assert page.headers["x-frame-options"] == "DENY"
    assert page.headers["cache-control"] == "no-store"
    assert "set-cookie" not in page.headers
    answer = await press(browser, url)
    assert (answer.status_code, answer.headers["location"]) == (303, "/docs")
    assert (await press(browser, url)).status_code == 403
    assert (await browser.get("/api/servers")).status_code == 200


async def test_the_cookie_is_out_of_reach(rig: Rig, browser: httpx.AsyncClient):
    answer = await press(browser, await link(rig))
    parts = [part.strip().lower() for part in answer.headers["set-cookie"].split(";")]
    assert parts[0].startswith(COOKIE + "=")
    assert {"httponly", "samesite=strict", "path=/", "max-age=43200"} <= set(parts)
    assert not any(part.startswith("domain") or part == "secure" for part in parts)


async def test_with_tls_the_cookie_is_the_hosts_own(rig: Rig):
    async with app_client(rig, cookie="__Host-fairlead_session_3002") as http:
        answer = await press(http, await link(rig))
    assert answer.headers["set-cookie"].startswith("__Host-fairlead_session_3002=")
    assert "; Secure" in answer.headers["set-cookie"]


async def test_who_asks(rig: Rig, browser: httpx.AsyncClient):
    await log_in(browser, rig)
    session = (await browser.get("/api/session")).json()
    assert (session["principal"], session["role"]) == ("ada", "admin")
    assert len(session["csrfToken"]) == 43
    assert session["expires"] == pytest.approx(rig.now + 12 * 3600)
    async with app_client(rig, authorization=f"Bearer {TOKEN}") as http:
        assert (await http.get("/api/session")).json()["csrfToken"] is None
    async with app_client(rig) as http:
        assert (await http.get("/api/session")).status_code == 401


async def test_changes_need_the_csrf_token(rig: Rig, browser: httpx.AsyncClient):
    token = await log_in(browser, rig)
    stop = "/api/servers/filesystem/stop"
    refused = await browser.post(stop)
    assert (refused.status_code, refused.json()["type"]) == (403, "urn:fairlead:problem:csrf")
    assert (await browser.post(stop, headers={"x-csrf-token": token[:-1]})).status_code == 403
    assert (await browser.post(stop, headers={"x-csrf-token": token})).status_code == 200
    # of another session
    async with app_client(rig) as other:
        foreign = await log_in(other, rig)
    assert (await browser.post(stop, headers={"x-csrf-token": foreign})).status_code == 403


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/plain", '{"server": "filesystem", "method": "echo"}'),
        ("application/x-www-form-urlencoded", "server=filesystem&method=echo"),
        ("multipart/form-data; boundary=x", "--x--"),
        ("application/json", '{"server": "filesystem", "method": "echo"}'),
    ],
)
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "https://dash.example", None])
async def test_what_a_foreign_page_can_send_does_nothing(
    rig: Rig, browser: httpx.AsyncClient, content_type: str, body: str, origin: str | None
):
    await log_in(browser, rig)
    headers = {"content-type": content_type} | ({"origin": origin} if origin else {})
    answer = await browser.post("/api/request", content=body, headers=headers)
    assert answer.status_code == 403
    assert answer.json()["type"].rpartition(":")[2] in ("csrf", "foreign-origin")


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "https://dash.example", "http://localhost:3002", None]
)
async def test_nobody_is_logged_in_from_elsewhere(rig: Rig, browser: httpx.AsyncClient, origin: str | None):
    """Login CSRF: a page that sends its own code, to have its visitor work in the attacker's name."""
    url = await link(rig)
    answer = await press(browser, url, origin)
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers
    assert (await press(browser, url)).status_code == 303  # and the code is as good as before


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("text/plain", "code={code}", 400),
        ("application/json", '{{"code": "{code}"}}', 400),
        ("", "code={code}", 400),
        ("application/x-www-form-urlencoded", "code={code}&code={code}", 400),
        ("application/x-www-form-urlencoded", "code={code}&x=1", 400),
        ("application/x-www-form-urlencoded", "x={code}", 400),
        ("application/x-www-form-urlencoded", "", 400),
        ("application/x-www-form-urlencoded", "code=", 400),
        ("application/x-www-form-urlencoded", "code={code}%00", 400),
        ("application/x-www-form-urlencoded", "code=\xff", 400),
        ("application/x-www-form-urlencoded", "code={code}" + "x" * 5000, 413),
        ("application/x-www-form-urlencoded; charset=utf-8", "code={code}", 303),
    ],
)
async def test_forms(rig: Rig, browser: httpx.AsyncClient, content_type: str, body: str, status: int):
    code = (await link(rig)).partition("code=")[2]
    content = body.format(code=code).encode("latin-1")
    answer = await browser.post(
        "/login", content=content, headers={"origin": OWN, "content-type": content_type}
    )
    assert answer.status_code == status


@pytest.mark.parametrize(
    "query", ["", "?code=", "?code=x", '?code="><script>alert(1)</script>', "?code=" + "a" * 42 + "<", "?x=1"]
)
async def test_links_that_are_not_whole(browser: httpx.AsyncClient, query: str):
    page = await browser.get("/login" + query)
    assert page.status_code == 400
    assert "<script" not in page.text
    assert "not complete" in page.text


async def test_a_session_does_not_survive_a_new_login(rig: Rig, browser: httpx.AsyncClient):
    await log_in(browser, rig)
    old = browser.cookies[COOKIE]
    await press(browser, await link(rig))
    assert browser.cookies[COOKIE] != old
    async with app_client(rig) as thief:
        answer = await thief.get("/api/servers", headers={"cookie": f"{COOKIE}={old}"})
    assert answer.json()["type"] == "urn:fairlead:problem:session-ended"


async def test_a_planted_cookie_becomes_no_session(rig: Rig, browser: httpx.AsyncClient):
    """Session fixation: what somebody set before the login is worth nothing after it."""
    planted = "A" * 43
    code = (await link(rig)).partition("code=")[2]
    headers = {"origin": OWN, "cookie": f"{COOKIE}={planted}"}
    answer = await browser.post("/login", data={"code": code}, headers=headers)
    assert answer.status_code == 303
    assert planted not in answer.headers["set-cookie"]
    async with app_client(rig) as attacker:
        answer = await attacker.get("/api/servers", headers={"cookie": f"{COOKIE}={planted}"})
    assert answer.status_code == 401


async def test_the_way_out(rig: Rig, browser: httpx.AsyncClient):
    token = await log_in(browser, rig)
    cookie = browser.cookies[COOKIE]
    assert (await browser.post("/logout")).status_code == 403  # not at a foreign page's will
    answer = await browser.post("/logout", headers={"x-csrf-token": token})
    assert answer.status_code == 204
    assert f'{COOKIE}=""' in answer.headers["set-cookie"]
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert not rig.store.sessions
    answer = await browser.get("/api/servers", headers={"cookie": f"{COOKIE}={cookie}"})
    assert answer.status_code == 401


async def test_a_bearer_token_has_no_session_to_end(rig: Rig):
    async with app_client(rig, authorization=f"Bearer {TOKEN}") as http:
        answer = await http.post("/logout")
    assert answer.status_code == 204
    assert "set-cookie" not in answer.headers


async def test_a_session_makes_no_links(rig: Rig, browser: httpx.AsyncClient):
    token = await log_in(browser, rig)
    answer = await browser.post("/api/login-links", headers={"x-csrf-token": token})
    assert (answer.status_code, answer.json()["type"]) == (403, "urn:fairlead:problem:no-login-link")


async def test_an_ended_session_is_told_so(rig: Rig, browser: httpx.AsyncClient):
    await log_in(browser, rig)
    rig.now += 12 * 3600 + 1
    answer = await browser.get("/api/servers")
    assert (answer.status_code, answer.json()["type"]) == (401, "urn:fairlead:problem:session-ended")
    assert (await press(browser, await link(rig))).status_code == 303  # it is no hindrance


async def test_codes_can_be_tried_only_so_often(rig: Rig, browser: httpx.AsyncClient):
    bad = OWN + "/login?code=" + "a" * 43
    statuses = [(await press(browser, bad)).status_code for _ in range(login.RATE.burst + 5)]
    assert set(statuses) == {403, 429}
    assert statuses[-1] == 429


async def test_while_the_database_is_away_the_page_says_so(rig: Rig, browser: httpx.AsyncClient):
    url = await link(rig)
    rig.store.away = True
    answer = await press(browser, url)
    assert answer.status_code == 503
    assert "database" in answer.text
    rig.store.away = False
    assert (await press(browser, url)).status_code == 303
