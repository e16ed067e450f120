"""Browsers' sessions at the door, and how a client learns where it gets a token."""

from __future__ import annotations

import pytest

from fairlead.core import refusals
from fairlead.core.access import Browser, KnownTokens
from fairlead.core.admission import AdmissionPolicy, Admitted, Refused, RequestHead, SignIn, admit
from fairlead.core.challenge import SCOPE, challenge, is_metadata
from fairlead.model.access import Caller, Role
from fairlead.model.errors import Problem

ADA = Caller("ada", Role.OPERATOR, credential="web:1")
HOST = (b"host", b"127.0.0.1:3002")
OWN = (b"origin", b"http://127.0.0.1:3002")
COOKIE = (b"cookie", b"other=1; fairlead_session=good; more=2")
CSRF = (b"x-csrf-token", b"csrf-of-good")
UPGRADE = ((b"connection", b"upgrade"), (b"upgrade", b"websocket"))
FLEET = "https://fleet.example"


class Browsers(KnownTokens):
    def identify(self, token: bytes) -> Caller | Problem:
        if token == b"no-role":
            return refusals.no_role("`scope`", "fairlead:viewer")
        return refusals.keys_away(1.0) if token == b"later" else refusals.INVALID_TOKEN

    def identify_cookie(self, value: bytes) -> Browser | Problem:
        return Browser(ADA, b"csrf-of-good") if value == b"good" else refusals.SESSION_OVER


POLICY = AdmissionPolicy.compile(
    Browsers({}),
    3002,
    origins=["https://dash.example"],
    sign_in=SignIn(FLEET, "https://login.example", SCOPE, "fairlead_session"),
)


def head(*headers: tuple[bytes, bytes], method: bytes = b"GET", path: bytes = b"/api/servers") -> RequestHead:
    return RequestHead(method, path, (HOST, *headers), "127.0.0.1")


def code(*headers: tuple[bytes, bytes], method: bytes = b"GET", cookies: bool = True) -> str:
    verdict = admit(head(*headers, method=method), POLICY, cookies=cookies)
    if isinstance(verdict, Refused):
        return verdict.problem.code
    assert isinstance(verdict, Admitted)
    assert verdict.caller == ADA
    return ""


def test_a_cookie_is_good_for_reading():
    assert code(COOKIE) == ""
    assert code(COOKIE, method=b"HEAD") == ""
    assert code((b"cookie", b" fairlead_session = good ")) == ""


def test_a_cookie_counts_for_nothing_on_mcp_paths():
    assert code(COOKIE, cookies=False) == "missing-token"
    assert code(COOKIE, CSRF, OWN, method=b"POST", cookies=False) == "missing-token"


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"get", b"X"])
def test_a_change_needs_the_csrf_token(method: bytes):
    assert code(COOKIE, method=method) == "csrf"
    assert code(COOKIE, OWN, method=method) == "csrf"
    assert code(COOKIE, (b"x-csrf-token", b""), method=method) == "csrf"
    assert code(COOKIE, (b"x-csrf-token", b"csrf-of-goo"), method=method) == "csrf"
    assert code(COOKIE, CSRF, *UPGRADE, OWN, method=method) == ""
    assert code(COOKIE, *UPGRADE, OWN, method=method) == "csrf"  # no way around it
    assert code(COOKIE, CSRF, method=method) == ""


def test_a_websocket_needs_an_origin_of_ours():
    assert code(COOKIE, *UPGRADE) == "csrf"
    assert code(COOKIE, *UPGRADE, OWN) == ""
    assert code(COOKIE, *UPGRADE, (b"origin", b"https://evil.example")) == "foreign-origin"
    assert code(COOKIE, *UPGRADE, (b"origin", b"null")) == "foreign-origin"


def test_a_form_of_a_foreign_page_is_refused_whatever_it_sends():
    form = (b"content-type", b"text/plain")
    for origin in (b"https://evil.example", b"null", b"http://127.0.0.1:8080", b"http://localhost"):
        assert code(COOKIE, CSRF, form, (b"origin", origin), method=b"POST") == "foreign-origin"
    assert code(COOKIE, form, method=b"POST") == "csrf"


def test_bad_and_ended_sessions():
    assert code((b"cookie", b"fairlead_session=bad")) == "session-ended"
    assert code((b"cookie", b"fairlead_session=")) == "session-ended"
    assert code((b"cookie", b"fairlead_sessionx=good; xfairlead_session=good")) == "missing-token"
    assert code((b"cookie", b"fairlead_session")) == "session-ended"
    assert code((b"cookie", b"FAIRLEAD_SESSION=good")) == "missing-token"


def test_a_second_cookie_that_somebody_put_there_is_noticed():
    assert code((b"cookie", b"fairlead_session=good; fairlead_session=evil")) == "two-sessions"
    assert (
        code((b"cookie", b"fairlead_session=good"), (b"cookie", b"fairlead_session=evil")) == "two-sessions"
    )
    assert code((b"cookie", b"fairlead_session=good; fairlead_session=good")) == ""


def test_a_token_that_is_shown_counts_alone():
    assert code(COOKIE, (b"authorization", b"Bearer wrong")) == "invalid-token"
    assert code(COOKIE, (b"authorization", b"Basic eDp5")) == "missing-token"
    assert code(COOKIE, (b"authorization", b"")) == "missing-token"


def test_two_csrf_tokens_are_none():
    assert code(COOKIE, CSRF, CSRF, method=b"POST") == "repeated-header"


def test_without_a_cookies_name_there_are_no_sessions():
    policy = AdmissionPolicy.compile(Browsers({}), 3002)
    verdict = admit(head((b"cookie", b"=good; fairlead_session=good")), policy, cookies=True)
    assert isinstance(verdict, Refused)
    assert verdict.problem.code == "missing-token"


# -- challenges -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "metadata"),
    [
        (b"/mcp", "/mcp"),
        (b"/servers/git/mcp", "/servers/git/mcp"),
        (b"/toolsets/docs.x/mcp", "/toolsets/docs.x/mcp"),
        (b"/api/servers", ""),
        (b"/sse", ""),
        (b'/servers/a"b/mcp', ""),
        (b"/servers/a,b/mcp", ""),
        (b"/servers/\xff/mcp", ""),
        (b"/servers/a/b/mcp", ""),
    ],
)
def test_a_challenge_says_where_the_metadata_is(path: bytes, metadata: str):
    verdict = admit(head(path=path), POLICY)
    assert isinstance(verdict, Refused)
    where = f"{FLEET}/.well-known/oauth-protected-resource{metadata}"
    expected = f'Bearer realm="fairlead", resource_metadata="{where}", scope="fairlead:developer"'
    assert verdict.headers == ((b"www-authenticate", expected.encode()),)
    assert is_metadata(f"/.well-known/oauth-protected-resource{metadata}".encode())


def test_each_refusal_has_its_challenge():
    def told(token: bytes) -> tuple[int, bytes]:
        verdict = admit(head((b"authorization", b"Bearer " + token)), POLICY)
        assert isinstance(verdict, Refused)
        return verdict.problem.status, dict(verdict.headers).get(b"www-authenticate", b"")

    status, value = told(b"unknown")
    assert status == 401
    assert b'error="invalid_token"' in value
    status, value = told(b"no-role")
    assert status == 403
    assert b'error="insufficient_scope"' in value
    assert b'scope="fairlead:developer"' in value
    assert told(b"later") == (503, b"")


def test_without_oauth_a_challenge_names_no_metadata():
    assert challenge(refusals.MISSING_TOKEN, b"/mcp", "", "") == b'Bearer realm="fairlead"'
