"""`x-mcp-header`: which annotations count, what headers they make, what is held against the body.

The official SDK is the oracle: what it accepts, makes and refuses, ours does too.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.shared import inbound
from msgspec import Raw

from fairlead.mcp.errors import HEADER_MISMATCH, McpError
from fairlead.mcp.headers import encode_header_value
from fairlead.mcp.param_headers import AnnotationError, check_headers, headers_for, mirrored_by


def tool(**properties: Any) -> bytes:
    return json.dumps({"name": "t", "inputSchema": {"type": "object", "properties": properties}}).encode()


def annotated(header: object, kind: object = "string", **more: Any) -> dict[str, Any]:
    return {"type": kind, "x-mcp-header": header, **more}


REGION = mirrored_by(tool(region=annotated("Region")))
COUNT = mirrored_by(tool(count=annotated("Count", "integer")))


def test_a_tool_without_annotations_has_none() -> None:
    assert mirrored_by(tool(x={"type": "string"})) == ()
    assert mirrored_by(b'{"name":"x-mcp-header"}') == ()
    assert mirrored_by(b'"x-mcp-header"') == ()


def test_nested_properties_are_found_by_their_path() -> None:
    found = mirrored_by(tool(a={"type": "object", "properties": {"b": annotated("B", "boolean")}}))
    assert [(m.header, m.path, m.integer) for m in found] == [("Mcp-Param-B", ("a", "b"), False)]
    assert headers_for(found, Raw(b'{"a":{"b":true}}')) == (("Mcp-Param-B", "true"),)
    assert headers_for(found, Raw(b'{"a":[]}')) == ()


@pytest.mark.parametrize(
    "properties",
    [
        {"x": annotated("")},
        {"x": annotated("a b")},
        {"x": annotated("a:b")},
        {"x": annotated("a\nb")},
        {"x": annotated("grüße")},
        {"x": annotated(5)},
        {"x": annotated("X", "number")},
        {"x": annotated("X", "object")},
        {"x": annotated("X", ["string", "null"])},
        {"x": {"x-mcp-header": "X"}},
        {"x": annotated("X"), "y": annotated("x")},
        {"x": {"type": "array", "items": annotated("X")}},
        {"x": {"anyOf": [annotated("X")]}},
        {"x": {"$defs": {"d": annotated("X")}}},
        {"x": {"items": {"properties": {"y": annotated("X")}}}},
    ],
)
def test_annotations_that_break_a_rule_are_refused(properties: dict[str, Any]) -> None:
    schema = {"type": "object", "properties": properties}
    assert inbound.find_invalid_x_mcp_header(schema) is not None  # the SDK agrees
    with pytest.raises(AnnotationError):
        mirrored_by(tool(**properties))


def test_an_annotation_of_the_root_is_refused() -> None:
    with pytest.raises(AnnotationError):
        mirrored_by(b'{"inputSchema":{"type":"string","x-mcp-header":"X"}}')


def test_what_only_looks_like_an_annotation_is_data() -> None:
    assert mirrored_by(tool(x={"type": "object", "default": annotated("X"), "enum": [annotated("X")]})) == ()


@pytest.mark.parametrize(
    ("arguments", "headers"),
    [
        (None, ()),
        (b"{}", ()),
        (b'{"region":null}', ()),
        (b'{"region":{"a":1}}', ()),
        (b'{"region":""}', (("Mcp-Param-Region", ""),)),
        ('{"region":"grüße"}'.encode(), (("Mcp-Param-Region", "grüße"),)),
        (b'{"region":true}', (("Mcp-Param-Region", "true"),)),
        (b'{"region":1.5}', (("Mcp-Param-Region", "1.5"),)),
    ],
)
def test_headers_repeat_what_is_there(arguments: bytes | None, headers: Any) -> None:
    assert headers_for(REGION, None if arguments is None else Raw(arguments)) == headers


def test_integers_are_decimal() -> None:
    assert headers_for(COUNT, Raw(b'{"count":-7}')) == (("Mcp-Param-Count", "-7"),)
    assert headers_for(COUNT, Raw(b'{"count":42.0}')) == (("Mcp-Param-Count", "42"),)
    assert headers_for(COUNT, Raw(b'{"count":1e400}')) == ()


@pytest.mark.parametrize("said", ["7", "7.0", "07", "=?base64?Nw==?="])
def test_integers_are_compared_as_numbers(said: str) -> None:
    check_headers(COUNT, Raw(b'{"count":7}'), [("mcp-param-count", said)])


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        (b'{"region":"a"}', []),
        (b'{"region":"a"}', [("mcp-param-region", "b")]),
        (b'{"region":"a"}', [("mcp-param-region", "A")]),
        (b'{"region":"a"}', [("mcp-param-region", "a"), ("mcp-param-region", "a")]),
        (b'{"region":null}', [("mcp-param-region", "null")]),
        (b"{}", [("mcp-param-region", "")]),
        (b'{"region":[]}', [("mcp-param-region", "[]")]),
        (b'{"region":"Hello"}', [("mcp-param-region", "=?base64?SGVsbG8?=")]),
        (b'{"region":"Hello"}', [("mcp-param-region", "=?base64?SGVs!G8=?=")]),
        ('{"region":"é"}'.encode(), [("mcp-param-region", "é")]),
        ('{"region":"é"}'.encode(), [("mcp-param-region", "=?base64?6Q==?=")]),
    ],
)
def test_headers_that_do_not_repeat_the_body_are_refused(
    arguments: bytes, sent: list[tuple[str, str]]
) -> None:
    with pytest.raises(McpError) as refused:
        check_headers(REGION, Raw(arguments), sent)
    assert refused.value.code == HEADER_MISMATCH
    assert "Mcp-Param-Region" in refused.value.message


def test_headers_that_nobody_asked_for_are_let_be() -> None:
    check_headers(REGION, Raw(b'{"region":"a"}'), [("mcp-param-region", "a"), ("mcp-param-zone", "b")])
    check_headers(REGION, None, [])


def test_no_number_is_too_long() -> None:
    with pytest.raises(McpError):
        check_headers(COUNT, Raw(b'{"count":7}'), [("mcp-param-count", "9" * 5000)])


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.lists(st.integers(), max_size=2),
)


@given(value=VALUES, kind=st.sampled_from(["string", "integer", "boolean"]))
def test_the_sdk_takes_what_we_send(value: Any, kind: str) -> None:
    schema = {"properties": {"x": annotated("X", kind)}}
    mirrored = mirrored_by(json.dumps({"inputSchema": schema}).encode())
    made = headers_for(mirrored, Raw(json.dumps({"x": value}).encode()))
    encoded = {name: encode_header_value(text) for name, text in made}
    assert inbound.validate_mcp_param_headers(schema, {"x": value}, encoded) is None


@given(
    value=VALUES,
    kind=st.sampled_from(["string", "integer", "boolean"]),
    said=st.one_of(st.none(), VALUES.map(str), st.text(st.characters(min_codepoint=32, max_codepoint=126))),
)
def test_we_refuse_what_the_sdk_refuses(value: Any, kind: str, said: str | None) -> None:
    schema = {"properties": {"x": annotated("X", kind)}}
    mirrored = mirrored_by(json.dumps({"inputSchema": schema}).encode())
    sent = {} if said is None else {"Mcp-Param-X": encode_header_value(said)}
    refused = inbound.validate_mcp_param_headers(schema, {"x": value}, sent) is not None
    arguments = Raw(json.dumps({"x": value}).encode())
    try:
        check_headers(mirrored, arguments, [(name.lower(), text) for name, text in sent.items()])
    except McpError:
        assert refused
    else:
        assert not refused
