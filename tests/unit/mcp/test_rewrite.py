"""URIs in results."""

import json

import pytest

from fairlead.mcp.rewrite import wrap_uris

WRAPPED = "fairlead://s/a://b"


@pytest.mark.parametrize(
    ("method", "before", "after"),
    [
        (
            "tools/call",
            {
                "content": [
                    {"type": "resource_link", "uri": "a://b", "x": 1.0},
                    {"type": "text", "text": "a://b"},
                ]
            },
            {
                "content": [
                    {"type": "resource_link", "uri": WRAPPED, "x": 1.0},
                    {"type": "text", "text": "a://b"},
                ]
            },
        ),
        (
            "tools/call",
            {"content": [{"type": "resource", "resource": {"uri": "a://b", "text": "t"}}], "isError": False},
            {"content": [{"type": "resource", "resource": {"uri": WRAPPED, "text": "t"}}], "isError": False},
        ),
        (
            "tools/call",
            {"content": [], "structuredContent": {"uri": "a://b"}},
            {"content": [], "structuredContent": {"uri": "a://b"}},
        ),
        (
            "prompts/get",
            {"messages": [{"role": "user", "content": {"type": "resource", "resource": {"uri": "a://b"}}}]},
            {"messages": [{"role": "user", "content": {"type": "resource", "resource": {"uri": WRAPPED}}}]},
        ),
        ("resources/read", {"contents": [{"uri": "a://b"}]}, {"contents": [{"uri": WRAPPED}]}),
        ("completion/complete", {"completion": {"values": ["uri"]}}, {"completion": {"values": ["uri"]}}),
    ],
)
def test_uris_are_wrapped_where_they_stand_and_nowhere_else(method, before, after):
    assert json.loads(wrap_uris(method, json.dumps(before).encode(), "s")) == after


@pytest.mark.parametrize(
    "result",
    [
        b'{"content":7,"uri":1}',
        b'{"content":[{"uri":7}]}',
        b'{"content":["uri"]}',
        b'["uri"]',
        b'{"contents":[[]],"uri":0}',
    ],
)
def test_an_unexpected_shape_is_passed_on_as_it_is(result):
    for method in ("tools/call", "prompts/get", "resources/read"):
        assert wrap_uris(method, result, "s") == result
