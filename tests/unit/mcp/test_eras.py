"""Which era a message belongs to, and how `_meta` crosses between them."""

import json

import pytest

from fairlead.mcp import eras
from fairlead.mcp.eras import Era, Meta, RoutingHeaders
from fairlead.mcp.errors import HEADER_MISMATCH, INVALID_PARAMS, UNSUPPORTED_PROTOCOL_VERSION, McpError

VERSION = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
MODERN_META = {VERSION: "2026-07-28", CAPABILITIES: {"elicitation": {}}, "traceparent": "00-1-2-01"}
ROUTING = RoutingHeaders("2026-07-28", "tools/call", "echo")


def meta(**members):
    return eras.read_meta(json.dumps(MODERN_META | members).encode())


@pytest.mark.parametrize(
    ("header", "era"),
    [
        (None, Era.LEGACY),
        ("2024-11-05", Era.LEGACY),
        ("2025-11-25", Era.LEGACY),
        ("2026-07-28", Era.MODERN),
        ("2099-01-01", Era.MODERN),
        ("nonsense", Era.MODERN),
    ],
)
def test_the_header_alone_tells_the_era(header, era):
    assert eras.era_of_header(header) is era


@pytest.mark.parametrize(
    ("asked", "given"),
    [("2025-03-26", "2025-03-26"), ("2026-07-28", "2025-11-25"), ("1999", "2025-11-25"), (7, "2025-11-25")],
)
def test_legacy_negotiation(asked, given):
    assert eras.negotiate_legacy(asked) == given


def test_meta_is_taken_apart():
    found = meta(progressToken="p", **{eras.META_CLIENT: {"name": "c"}})
    assert found.version == "2026-07-28"
    assert json.loads(found.capabilities) == {"elicitation": {}}
    assert json.loads(found.client) == {"name": "c"}
    assert found.progress_token == b'"p"'
    assert json.loads(b"{" + found.others + b"}") == {"traceparent": "00-1-2-01"}


@pytest.mark.parametrize("raw", [b"[]", b"1", b'{"progressToken":{}}', b'{"progressToken":null}'])
def test_bad_meta_is_refused(raw):
    with pytest.raises(McpError) as refused:
        eras.read_meta(raw)
    assert refused.value.code == INVALID_PARAMS


def test_a_modern_request_that_agrees_with_its_headers_passes():
    eras.check_modern("tools/call", meta(), ROUTING, "echo")
    eras.check_modern("tools/list", meta(), RoutingHeaders("2026-07-28", "tools/list", None), None)


@pytest.mark.parametrize(
    ("found", "routing", "name", "code", "words"),
    [
        (Meta(), ROUTING, "echo", INVALID_PARAMS, VERSION),
        (Meta(version="2026-07-28"), ROUTING, "echo", INVALID_PARAMS, CAPABILITIES),
        (
            None,
            RoutingHeaders("2026-07-29", "tools/call", "echo"),
            "echo",
            HEADER_MISMATCH,
            "MCP-Protocol-Version",
        ),
        (None, RoutingHeaders("2026-07-28", None, "echo"), "echo", HEADER_MISMATCH, "Mcp-Method"),
        (None, RoutingHeaders("2026-07-28", "tools/list", "echo"), "echo", HEADER_MISMATCH, "Mcp-Method"),
        (None, RoutingHeaders("2026-07-28", "tools/call", None), "echo", HEADER_MISMATCH, "Mcp-Name"),
        (None, RoutingHeaders("2026-07-28", "tools/call", "other"), "echo", HEADER_MISMATCH, "Mcp-Name"),
    ],
)
def test_a_modern_request_that_disagrees_is_refused(found, routing, name, code, words):
    with pytest.raises(McpError) as refused:
        eras.check_modern("tools/call", found or meta(), routing, name)
    assert refused.value.code == code
    assert words in refused.value.message


def test_a_version_that_nobody_serves_is_told_what_is_served():
    future = meta(**{VERSION: "2099-01-01"})
    with pytest.raises(McpError) as refused:
        eras.check_modern("ping", future, RoutingHeaders("2099-01-01", "ping", None), None)
    assert refused.value.code == UNSUPPORTED_PROTOCOL_VERSION
    assert refused.value.data["requested"] == "2099-01-01"
    assert "2026-07-28" in refused.value.data["supported"]


def test_a_legacy_server_gets_no_reserved_members_and_our_token():
    raw = eras.meta_for(Era.LEGACY, meta(progressToken="p"), b"{}", 7)
    assert json.loads(raw) == {"progressToken": 7, "traceparent": "00-1-2-01"}
    assert eras.meta_for(Era.LEGACY, eras.NO_META, b"{}", None) == b""


def test_a_modern_server_gets_the_clients_words_or_ours():
    relayed = json.loads(eras.meta_for(Era.MODERN, meta(), b'{"name":"gw"}', None))
    assert relayed[CAPABILITIES] == {"elicitation": {}}
    assert relayed[eras.META_CLIENT] == {"name": "gw"}
    ours = json.loads(eras.meta_for(Era.MODERN, eras.NO_META, b'{"name":"gw"}', 3))
    assert ours == {
        "progressToken": 3,
        VERSION: "2026-07-28",
        CAPABILITIES: {},
        eras.META_CLIENT: {"name": "gw"},
    }


@pytest.mark.parametrize(
    ("raw", "complete"),
    [
        (b"{}", {"resultType": "complete"}),
        (b"{ }", {"resultType": "complete"}),
        (b'{"a":1}', {"resultType": "complete", "a": 1}),
        (b'{"resultType":"input_required"}', {"resultType": "input_required"}),
    ],
)
def test_a_legacy_result_becomes_a_modern_one(raw, complete):
    assert json.loads(eras.complete_result("tools/call", raw)) == complete


def test_what_a_result_holds_inside_does_not_matter():
    raw = b'{"structuredContent":{"resultType":"mine","ttlMs":1}}'
    complete = json.loads(eras.complete_result("tools/call", raw))
    assert complete == {"resultType": "complete", "structuredContent": {"resultType": "mine", "ttlMs": 1}}
    assert eras.strip_result_type(raw) == raw
    assert eras.complete_result("tools/call", b"[]") == b"[]"


def test_a_resource_says_how_long_it_may_be_kept():
    assert json.loads(eras.complete_result("resources/read", b'{"contents":[]}')) == {
        "resultType": "complete",
        "ttlMs": 0,
        "cacheScope": "private",
        "contents": [],
    }
    kept = b'{"ttlMs":5,"contents":[]}'
    assert json.loads(eras.complete_result("resources/read", kept))["ttlMs"] == 5


def test_a_modern_result_becomes_a_legacy_one():
    raw = b'{"resultType":"complete","ttlMs":1,"cacheScope":"public","content":[{"a":1.0}]}'
    assert eras.strip_result_type(raw) == b'{"content":[{"a":1.0}]}'
    assert eras.strip_result_type(b'{"a":1}') == b'{"a":1}'


def test_what_one_session_reads_is_nobody_elses():
    public = b'{"contents":[],"ttlMs":5,"cacheScope":"public"}'
    assert json.loads(eras.as_private(public)) == {"contents": [], "ttlMs": 5, "cacheScope": "private"}
    for other in (b'{"contents":["\\"public\\""]}', b'{"contents":[],"cacheScope":"private"}', b"[]"):
        assert eras.as_private(other) == other
