"""The door's decision: each refusal, their order, and what is let through."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace

import pytest

from fairlead.core import admission
from fairlead.core.admission import (
    DOCS_ASSETS,
    PUBLIC,
    WEBHOOK_BYTES,
    AdmissionPolicy,
    Admitted,
    Limits,
    Preflight,
    Refused,
    RequestHead,
    admit,
    announces_body,
)
from fairlead.model.access import Caller, Role

TOKEN = b"correct-horse-battery"
PORT = 3002
LIMITS = Limits(body_bytes=1000, header_bytes=2048, header_count=20, path_bytes=100)
POLICY = AdmissionPolicy.compile(
    {hashlib.sha256(TOKEN).digest(): "ada"},
    PORT,
    hosts=["Fleet.example", "proxy.example:8443", "2001:db8::7"],
    origins=["https://dash.example", "HTTPS://Dash2.example:443/"],
    denied=["192.0.2.0/24", "2001:db8:bad::/48"],
    limits=LIMITS,
)
ADA = Caller("ada", Role.ADMIN)
HOST = (b"host", b"127.0.0.1:3002")
BEARER = (b"authorization", b"Bearer " + TOKEN)
ORIGIN = (b"origin", b"https://dash.example")


def head(
    *headers: tuple[bytes, bytes],
    method: bytes = b"GET",
    path: bytes = b"/api/servers",
    peer: str | None = "127.0.0.1",
) -> RequestHead:
    return RequestHead(method, path, headers, peer)


def refusal(request: RequestHead) -> Refused:
    verdict = admit(request, POLICY)
    assert isinstance(verdict, Refused)
    return verdict


# A request with everything wrong at once, and what mends one thing after the other, in the table's order.
WRONG_HEADERS = {
    "host": [b"evil.example"],
    "authorization": [b"Bearer wrong"],
    "origin": [b"https://evil.example"],
    "content-length": [b"x", b"1001"],
    "transfer-encoding": [b"gzip"],
    "padding": [b"x" * 3000],
}
ROWS = [
    (403, "denied-address", lambda r: r.update(peer="127.0.0.1")),
    (414, "path-too-long", lambda r: r.update(path=b"/api/servers")),
    (431, "headers-too-large", lambda r: r["headers"].update(padding=[])),
    (400, "repeated-header", lambda r: r["headers"].update({"content-length": [b"x"]})),
    (400, "ambiguous-length", lambda r: r["headers"].update({"content-length": []})),
    (
        *(501, "unknown-transfer-coding"),
        lambda r: r["headers"].update({"transfer-encoding": [], "content-length": [b"x"]}),
    ),
    (400, "bad-content-length", lambda r: r["headers"].update({"content-length": [b"1001"]})),
    (400, "missing-host", lambda r: r["headers"].update(host=[b"evil.example:3002"])),
    (421, "foreign-host", lambda r: r["headers"].update(host=[b"localhost:3002"])),
    (403, "foreign-origin", lambda r: r["headers"].update(origin=[b"https://dash.example"])),
    (401, "missing-token", lambda r: r["headers"].update(authorization=[b"Bearer wrong"])),
    (401, "invalid-token", lambda r: r["headers"].update(authorization=[b"Bearer " + TOKEN])),
    (413, "body-too-large", lambda r: r["headers"].update({"content-length": [b"1000"]})),
]


def test_refusals_come_in_the_order_of_the_table():
    request = {
        "peer": "192.0.2.9",
        "path": b"/" * 101,
        "headers": WRONG_HEADERS | {"host": [], "authorization": []},
    }

    def decide() -> object:
        headers = [(name.encode(), value) for name, values in request["headers"].items() for value in values]
        return admit(head(*headers, path=request["path"], peer=request["peer"]), POLICY)

    for status, code, mend in ROWS:
        verdict = decide()
        assert isinstance(verdict, Refused)
        assert (verdict.problem.status, verdict.problem.code) == (status, code)
        mend(request)
    assert isinstance(decide(), Admitted)


def test_the_docstring_shows_the_table():
    rows = re.findall(r"^ *\d+ .*?(\d{3}) +([a-z-]+)$", admission.__doc__ or "", re.MULTILINE)
    assert rows == [(str(status), code) for status, code, _ in ROWS]


def test_every_refusal_says_what_and_how():
    for verdict in (
        refusal(head()),
        refusal(head((b"host", b"evil"))),
        refusal(head(HOST)),
        refusal(head(HOST, (b"authorization", b"Bearer x"))),
    ):
        assert verdict.problem.title
        assert len(verdict.problem.detail) > 40
        assert verdict.problem.fault == "client"


def test_a_known_token_is_admitted_under_its_name():
    assert admit(head(HOST, BEARER), POLICY) == Admitted(ADA, (), LIMITS.body_bytes)


@pytest.mark.parametrize(
    "value",
    [b"bearer " + TOKEN, b"BEARER " + TOKEN, b"Bearer  " + TOKEN, b" Bearer " + TOKEN + b" \t"],
)
def test_scheme_in_any_case_and_white_space_around_the_token(value):
    assert admit(head(HOST, (b"authorization", value)), POLICY).caller == ADA


@pytest.mark.parametrize(
    "value",
    [b"", b"Bearer", b"Bearer ", b"Basic " + TOKEN, TOKEN, b"Bearer\t" + TOKEN, b"Token " + TOKEN],
)
def test_without_a_bearer_token_the_challenge_names_no_error(value):
    verdict = refusal(head(HOST, (b"authorization", value)))
    assert verdict.problem.code == "missing-token"
    assert verdict.headers == ((b"www-authenticate", b'Bearer realm="fairlead"'),)


@pytest.mark.parametrize(
    "token", [b"wrong", TOKEN + b"x", TOKEN[:-1], TOKEN.upper(), TOKEN + b" x", b"\xff", TOKEN + b"," + TOKEN]
)
def test_an_unknown_token_is_told_so(token):
    verdict = refusal(head(HOST, (b"authorization", b"Bearer " + token)))
    assert verdict.problem.code == "invalid-token"
    [(name, challenge)] = verdict.headers
    assert name == b"www-authenticate"
    assert challenge.startswith(b'Bearer realm="fairlead", error="invalid_token"')


def test_the_digest_itself_is_no_token():
    digest = hashlib.sha256(TOKEN).digest()
    for value in (digest, digest.hex().encode()):
        assert refusal(head(HOST, (b"authorization", b"Bearer " + value))).problem.status == 401


@pytest.mark.parametrize(("method", "path"), sorted(PUBLIC))
def test_public_paths_need_no_token(method, path):
    allowed = 4096 if path == b"/login" else 0
    assert admit(head(HOST, method=method, path=path), POLICY) == Admitted(None, (), allowed)


def test_what_is_public():
    assert {path for _, path in PUBLIC} == {b"/health", b"/docs", b"/login"} | {
        b"/docs/assets/" + name.encode() for name in DOCS_ASSETS
    }
    assert [method for method, path in sorted(PUBLIC) if path == b"/health"] == [b"GET", b"HEAD"]
    assert {method for method, path in PUBLIC if path not in (b"/health", b"/login")} == {b"GET"}


@pytest.mark.parametrize("method", [b"POST", b"DELETE", b"PUT", b"OPTIONS", b"get", b"TRACE", b""])
def test_public_paths_are_public_only_for_reading(method):
    assert refusal(head(HOST, method=method, path=b"/health")).problem.status == 401


@pytest.mark.parametrize(
    "path",
    [
        b"/health/", b"//health", b"/./health", b"/health/.", b"/health/..", b"/%68ealth", b"/health%2f",
        b"/HEALTH", b"/health;x", b"/health?x", b"/health#x", b"health", b"/health\x00", b"/health%00", b"",
        b"/", b"*", b"/docs/", b"/docs/assets", b"/docs/assets/", b"/docs/assets/docs.js/",
        b"/docs/assets/nothing.js", b"/docs/assets/../../api/servers", b"/docs/assets/..%2f..%2fapi/servers",
        b"/docs/assets/%2e%2e/%2e%2e/openapi.json", b"/openapi.json", b"/metrics", b"/mcp", b"/api/health",
        b"/login/", b"/Login", b"/login/x", b"/logout", b"/.well-known/",
        b"/.well-known/oauth-protected-resource/",
        b"/.well-known/oauth-protected-resource/api/servers", b"/.well-known/oauth-protected-resource/mcp/",
        b"/.well-known/oauth-protected-resource/servers/../mcp",
        b"/.well-known/oauth-protected-resource//mcp",
        b"/.well-known/oauth-protected-resource/servers/a/b/mcp", b"/.well-known/oauth-protected-resourcex",
        b"/.well-known/oauth-protected-resource/servers/a%2f/mcp",
    ],
)  # fmt: skip
def test_no_other_spelling_is_public(path):
    assert refusal(head(HOST, path=path)).problem.code == "missing-token"


WEBHOOKS = replace(POLICY, webhooks=True, limits=Limits())


@pytest.mark.parametrize("name", [b"config", b"a", b"A.b_c-9", b"x" * 128])
def test_webhooks_need_no_token_where_they_are_taken(name):
    request = head(HOST, method=b"POST", path=b"/webhooks/" + name)
    assert admit(request, WEBHOOKS) == Admitted(None, (), WEBHOOK_BYTES)
    assert admit(request, replace(WEBHOOKS, webhooks=False)).problem.code == "missing-token"
    large = head(
        HOST, (b"content-length", b"%d" % (WEBHOOK_BYTES + 1)), method=b"POST", path=b"/webhooks/" + name
    )
    assert admit(large, WEBHOOKS).problem.code == "body-too-large"


@pytest.mark.parametrize(
    ("method", "path"),
    [(method, b"/webhooks/config") for method in (b"GET", b"PUT", b"DELETE", b"post", b"")]
    + [
        (b"POST", path)
        for path in (
            b"/webhooks", b"/webhooks/", b"/webhooks/a/b", b"/webhooks/a%2fb", b"/webhooks/%61",
            b"//webhooks/a", b"/webhooks//a", b"/Webhooks/a", b"/webhooks/a/", b"/webhooks/a?b",
            b"/webhooks/a;b", b"/webhooks/\xff", b"/webhooks/a\n", b"/webhooks/" + b"x" * 129,
            b"/api/webhooks/a", b"/x/../webhooks/a", b"/webhooks/ ",
        )
    ],
)  # fmt: skip
def test_no_other_spelling_of_a_webhook_is_public(method, path):
    assert admit(head(HOST, method=method, path=path), WEBHOOKS).problem.code == "missing-token"


def test_public_paths_take_no_body():
    verdict = refusal(head(HOST, (b"content-length", b"1"), path=b"/health"))
    assert (verdict.problem.status, verdict.problem.code) == (413, "body-too-large")
    empty = head(HOST, (b"content-length", b"0"), path=b"/health")
    assert isinstance(admit(empty, POLICY), Admitted)


@pytest.mark.parametrize(
    "host",
    [
        b"localhost:3002", b"127.0.0.1:3002", b"[::1]:3002", b"LOCALHOST:3002", b"fleet.example",
        b"fleet.example:3002", b"proxy.example:8443", b"[2001:db8::7]:3002", b"[2001:DB8::7]:3002",
    ],
)  # fmt: skip
def test_hosts_that_are_ours(host):
    assert isinstance(admit(head((b"host", host), BEARER), POLICY), Admitted)


@pytest.mark.parametrize(
    "host",
    [
        b"localhost", b"localhost:3003", b"127.0.0.1", b"127.0.0.2:3002", b"0.0.0.0:3002", b"localhost.:3002",
        b"evil.example", b"fleet.example.evil:3002", b"evil-fleet.example:3002", b"proxy.example",
        b"proxy.example:3002", b"localhost:3002,evil", b"user@localhost:3002", b"localhost:3002/", b"\xff",
        b"http://localhost:3002", b"::1:3002", b"[2001:db8::7]",
    ],
)  # fmt: skip
def test_hosts_that_are_not_ours(host):
    assert refusal(head((b"host", host), BEARER)).problem.code == "foreign-host"


@pytest.mark.parametrize("headers", [(), ((b"host", b""),), ((b"host", b" "),)])
def test_a_host_is_needed(headers):
    assert refusal(head(*headers, BEARER)).problem.code == "missing-host"


@pytest.mark.parametrize(
    "origin",
    [
        b"https://dash.example", b"https://dash2.example", b"http://localhost:3002", b"https://localhost:3002",
        b"http://[::1]:3002", b"https://fleet.example", b"http://fleet.example:3002", b"https://proxy.example:8443",
    ],
)  # fmt: skip
def test_allowed_origins_get_cors_headers(origin):
    verdict = admit(head(HOST, BEARER, (b"origin", origin)), POLICY)
    assert isinstance(verdict, Admitted)
    cors = dict(verdict.cors)
    assert cors[b"access-control-allow-origin"] == origin
    assert cors[b"vary"] == b"Origin"
    for name in (b"Mcp-Session-Id", b"MCP-Protocol-Version", b"WWW-Authenticate", b"Retry-After"):
        assert name in cors[b"access-control-expose-headers"]
    assert b"access-control-allow-credentials" not in cors


@pytest.mark.parametrize(
    "origin",
    [
        b"null", b"", b"https://evil.example", b"http://dash.example", b"https://dash.example:8443",
        b"https://dash.example.evil", b"https://dash.example/", b"http://localhost", b"http://localhost:3003",
        b"http://fleet.example", b"file://", b"https://dash.example, https://evil.example", b"*",
    ],
)  # fmt: skip
@pytest.mark.parametrize("authorization", [BEARER, (b"authorization", b"Bearer wrong"), (b"x-none", b"")])
def test_foreign_origins_learn_nothing_of_the_token(origin, authorization):
    verdict = refusal(head(HOST, authorization, (b"origin", origin)))
    assert verdict.problem.code == "foreign-origin"
    assert verdict.headers == ()


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ((), "missing-token"),
        (((b"authorization", b"Bearer wrong"),), "invalid-token"),
        ((BEARER, (b"content-length", b"1001")), "body-too-large"),
    ],
)
def test_allowed_origins_may_read_later_refusals(headers, code):
    verdict = refusal(head(HOST, ORIGIN, *headers, method=b"POST"))
    assert verdict.problem.code == code
    assert (b"access-control-allow-origin", ORIGIN[1]) in verdict.headers


ASKS = (b"access-control-request-method", b"POST")


def test_preflight_of_an_allowed_origin_needs_no_token():
    asked = (
        b"access-control-request-headers",
        b"authorization, Mcp-Param-City,mcp-param-,mcp-param-a b,x-evil",
    )
    verdict = admit(head(HOST, ORIGIN, ASKS, asked, method=b"OPTIONS", path=b"/mcp"), POLICY)
    assert isinstance(verdict, Preflight)
    headers = dict(verdict.headers)
    assert headers[b"access-control-allow-origin"] == ORIGIN[1]
    assert headers[b"access-control-allow-methods"] == b"GET, HEAD, POST, PUT, DELETE"
    allowed = headers[b"access-control-allow-headers"].split(b", ")
    for name in (
        *(b"authorization", b"content-type", b"accept", b"mcp-session-id", b"mcp-protocol-version"),
        *(b"mcp-method", b"mcp-name", b"last-event-id", b"mcp-param-city", b"if-match"),
    ):
        assert name in allowed
    assert not {b"x-evil", b"mcp-param-", b"mcp-param-a b"} & set(allowed)
    assert b"Origin" in headers[b"vary"]


@pytest.mark.parametrize(
    ("headers", "method"),
    [((ORIGIN,), b"OPTIONS"), ((ASKS,), b"OPTIONS"), ((), b"OPTIONS"), ((ORIGIN, ASKS), b"POST")],
)
def test_what_is_no_preflight_needs_a_token(headers, method):
    assert refusal(head(HOST, *headers, method=method)).problem.status == 401


def test_preflight_of_a_foreign_origin_or_host_is_refused():
    evil = (b"origin", b"https://evil.example")
    assert refusal(head(HOST, evil, ASKS, method=b"OPTIONS")).problem.code == "foreign-origin"
    rebound = (b"host", b"evil.example:3002")
    assert refusal(head(rebound, ORIGIN, ASKS, method=b"OPTIONS")).problem.code == "foreign-host"


@pytest.mark.parametrize(
    "name",
    [
        b"host",
        b"authorization",
        b"origin",
        b"content-length",
        b"transfer-encoding",
        b"access-control-request-method",
    ],
)
def test_repeated_headers_are_refused_even_when_equal(name):
    right = dict([HOST, BEARER, ORIGIN, (b"content-length", b"5"), (b"transfer-encoding", b"chunked"), ASKS])
    verdict = refusal(head(HOST, (name, right[name]), (name, right[name])))
    assert verdict.problem.code == "repeated-header"
    assert name.decode() in verdict.problem.detail.lower()


def test_other_headers_may_repeat():
    assert isinstance(admit(head(HOST, BEARER, (b"accept", b"a"), (b"accept", b"b")), POLICY), Admitted)


@pytest.mark.parametrize(
    "value", [b"", b"-1", b"+1", b"1.0", b"0x10", b"5, 5", b"1 2", b"\xd9\xa1", b"9" * 19]
)
def test_a_content_length_is_a_number(value):
    assert refusal(head(HOST, BEARER, (b"content-length", value))).problem.code == "bad-content-length"


@pytest.mark.parametrize(
    "value", [b"gzip", b"chunked, chunked", b"gzip, chunked", b"identity", b"", b"xchunked"]
)
def test_the_transfer_coding_is_chunked(value):
    verdict = refusal(head(HOST, BEARER, (b"transfer-encoding", value)))
    assert verdict.problem.code == "unknown-transfer-coding"


def test_chunked_bodies_are_admitted():
    assert isinstance(admit(head(HOST, BEARER, (b"transfer-encoding", b" Chunked")), POLICY), Admitted)


def test_a_body_of_the_limit_is_admitted_and_the_refusal_names_the_limit():
    assert isinstance(admit(head(HOST, BEARER, (b"content-length", b"1000")), POLICY), Admitted)
    verdict = refusal(head(HOST, BEARER, (b"content-length", b"1001")))
    assert "1000 bytes" in verdict.problem.detail
    assert "maxRequestSize" in verdict.problem.detail


def test_bounds_of_headers_and_path():
    many = [(b"x-%d" % number, b"") for number in range(LIMITS.header_count - 2)]
    assert isinstance(admit(head(HOST, BEARER, *many), POLICY), Admitted)
    assert refusal(head(HOST, BEARER, *many, (b"x", b""))).problem.code == "headers-too-large"
    assert refusal(head(HOST, BEARER, path=b"/" * 101)).problem.status == 414
    assert isinstance(admit(head(HOST, BEARER, path=b"/" * 100), POLICY), Admitted)


@pytest.mark.parametrize(
    "peer", ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8:bad::1", "2001:db8:bad::1%eth0", "nonsense", ""]
)
def test_denied_peers(peer):
    assert refusal(head(HOST, BEARER, peer=peer)).problem.code == "denied-address"


@pytest.mark.parametrize("peer", ["192.0.3.1", "::1", "2001:db8:600d::1", "::ffff:192.0.3.1", None])
def test_other_peers(peer):
    assert isinstance(admit(head(HOST, BEARER, peer=peer), POLICY), Admitted)


def test_on_port_80_hosts_and_origins_stand_without_it():
    policy = AdmissionPolicy.compile({hashlib.sha256(TOKEN).digest(): "ada"}, 80, hosts=["fleet.example"])
    for host in (b"localhost", b"localhost:80", b"fleet.example"):
        assert isinstance(admit(head((b"host", host), BEARER), policy), Admitted)
    for origin in (b"http://localhost", b"http://fleet.example"):
        assert isinstance(admit(head((b"host", b"localhost"), BEARER, (b"origin", origin)), policy), Admitted)


@pytest.mark.parametrize(
    ("entry", "hosts", "origins"),
    [
        ("0.0.0.0", [], []),
        ("::", [], []),
        ("127.0.0.1", [], []),
        ("localhost", [], []),
        ("[::1]", [], []),
        ("fe80::1%eth0", [b"[fe80::1]:3002"], [b"http://[fe80::1]:3002", b"https://[fe80::1]:3002"]),
        ("192.0.2.7", [b"192.0.2.7:3002"], [b"http://192.0.2.7:3002", b"https://192.0.2.7:3002"]),
        (
            "2001:DB8:0::1",
            [b"[2001:db8::1]:3002"],
            [b"http://[2001:db8::1]:3002", b"https://[2001:db8::1]:3002"],
        ),
        ("Box", [b"box", b"box:3002"], [b"http://box:3002", b"https://box", b"https://box:3002"]),
        ("box:443", [b"box:443"], [b"http://box:443", b"https://box"]),
    ],
)
def test_what_a_host_entry_adds(entry, hosts, origins):
    without, policy = (AdmissionPolicy.compile({}, PORT, hosts=h) for h in ([], [entry]))
    assert sorted(policy.hosts - without.hosts) == hosts
    assert sorted(set(policy.origins) - set(without.origins)) == origins


@pytest.mark.parametrize("entry", ["", "*", "a b", "http://x", "x:99999999", "x/y", "*.example", "ümlaut"])
def test_bad_hosts_are_named(entry):
    with pytest.raises(ValueError, match="allowed hosts: " + re.escape(repr(entry))):
        AdmissionPolicy.compile({}, PORT, hosts=[entry])


@pytest.mark.parametrize(
    "entry", ["", "*", "null", "example.com", "https://", "https://*.x", "https://a/b", "https://ü"]
)
def test_bad_origins_are_named(entry):
    with pytest.raises(ValueError, match="allowedOrigins: " + re.escape(repr(entry))):
        AdmissionPolicy.compile({}, PORT, origins=[entry])


@pytest.mark.parametrize("entry", ["", "10.0.0", "10.0.0.0/33", "localhost"])
def test_bad_networks_are_named(entry):
    with pytest.raises(ValueError, match="deniedIPs: " + re.escape(repr(entry))):
        AdmissionPolicy.compile({}, PORT, denied=[entry])


def test_a_policy_shows_no_digests():
    assert "ada" not in repr(POLICY)
    assert hashlib.sha256(TOKEN).hexdigest()[:8] not in repr(POLICY)


@pytest.mark.parametrize(
    ("headers", "announced"),
    [
        ([], False),
        ([HOST], False),
        ([(b"content-length", b"0")], False),
        ([(b"content-length", b" 00 ")], False),
        ([(b"content-length", b"1")], True),
        ([(b"content-length", b"10")], True),
        ([(b"content-length", b"junk")], True),
        ([(b"transfer-encoding", b"chunked")], True),
    ],
)
def test_whether_a_body_follows(headers, announced):
    assert announces_body(headers) is announced
