"""Arguments of a tool that HTTP headers repeat: `x-mcp-header` in its schema, `Mcp-Param-*` in a request.

A property whose schema has `"x-mcp-header": "Region"` is mirrored by `Mcp-Param-Region`, so that whoever
stands between client and server can route by it without reading the body. The body is the truth: who reads it
holds the headers against it. Facts from the specification of 2026-07-28 and the official SDK 2.3.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from msgspec import Raw

from fairlead.mcp.errors import HEADER_MISMATCH, McpError
from fairlead.mcp.headers import decode_header_value
from fairlead.mcp.messages import decode_members

ANNOTATION: Final = "x-mcp-header"
PREFIX: Final = "Mcp-Param-"

Pairs = Sequence[tuple[str, str]]
"""Headers of one request: name and value. Of a client's, names are in lower case and values as they came."""

Scalar = str | bool | int | float | None

MAX_DEPTH: Final = 16  # objects around a property that a header can repeat

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_SAFE: Final = re.compile(r"[\x20-\x7e\t]*")
_DECIMAL: Final = re.compile(r"(-?[0-9]+)(?:\.0+)?")
_TYPES: Final = ("string", "integer", "boolean")

# Where a schema holds further schemas: one, a list of them, or a map.
_SINGLE: Final = frozenset(
    {
        "additionalProperties", "contains", "contentSchema", "else", "if", "items", "not", "propertyNames",
        "then", "unevaluatedItems", "unevaluatedProperties",
    }
)  # fmt: skip
_LISTS: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_MAPS: Final = frozenset({"$defs", "definitions", "dependentSchemas", "patternProperties"})


class AnnotationError(ValueError):
    """A tool's annotation breaks a rule: over HTTP nobody may use the tool. The message says which."""


@dataclass(frozen=True, slots=True)
class Mirrored:
    """A property that a header repeats. `path` leads to it from the arguments, through objects alone."""

    header: str  # whole, as the schema spells it
    path: tuple[str, ...]
    integer: bool

    @property
    def argument(self) -> str:
        return ".".join(self.path)


def mirrored_by(tool: bytes) -> tuple[Mirrored, ...]:
    """The annotated properties of a tool (the JSON object of a list). Raises AnnotationError."""
    if ANNOTATION.encode() not in tool:  # nearly all
        return ()
    try:
        schema = msgspec.json.decode(tool, type=dict[str, Any]).get("inputSchema")
    except (msgspec.DecodeError, RecursionError):
        return ()
    found: dict[str, Mirrored] = {}
    for path, position in _positions(schema):
        if ANNOTATION in position:
            mirrored = _mirrored(path, position)
            if found.setdefault(mirrored.header.lower(), mirrored) is not mirrored:
                raise AnnotationError(f"{mirrored.header} is claimed by two properties")
    return tuple(found.values())


def _positions(root: Any) -> Iterator[tuple[tuple[str, ...] | None, dict[str, Any]]]:
    """Each schema within a schema, and the path of `properties` that leads there, None where none does.

    References are not followed, and what is data (`default`, `enum`) is not taken for a schema.
    """
    stack: list[tuple[tuple[str, ...] | None, Any]] = [((), root)]
    while stack:
        path, schema = stack.pop()
        if not isinstance(schema, dict):
            continue
        yield path, schema
        for keyword, value in schema.items():
            if keyword == "properties" and isinstance(value, dict):
                inside = None if path is None or len(path) == MAX_DEPTH else path
                stack += [(None if inside is None else (*inside, name), each) for name, each in value.items()]
            elif keyword in _SINGLE:
                stack.append((None, value))
            elif keyword in _LISTS and isinstance(value, list):
                stack += [(None, each) for each in value]
            elif keyword in _MAPS and isinstance(value, dict):
                stack += [(None, each) for each in value.values()]


def _mirrored(path: tuple[str, ...] | None, schema: dict[str, Any]) -> Mirrored:
    if not path:
        raise AnnotationError(f"{ANNOTATION} stands where no chain of `properties` leads")
    name, kind, where = schema[ANNOTATION], schema.get("type"), ".".join(path)
    if not isinstance(name, str) or not _TOKEN.fullmatch(name):
        raise AnnotationError(f"{where}: {ANNOTATION} must be the name of an HTTP header (RFC 9110 token)")
    if not isinstance(kind, str) or kind not in _TYPES:
        raise AnnotationError(f"{where}: {ANNOTATION} needs a property of type {', '.join(_TYPES)}")
    return Mirrored(PREFIX + name, path, integer=kind == "integer")


def headers_for(mirrored: Iterable[Mirrored], arguments: Raw | None) -> tuple[tuple[str, str], ...]:
    """The headers that repeat these arguments, not yet encoded. What is absent or null has none."""
    found = ((each, _value(arguments, each.path)) for each in mirrored)
    texts = ((each.header, _text(_whole(value) if each.integer else value)) for each, value in found)
    return tuple((header, text) for header, text in texts if text is not None)


def check_headers(mirrored: Iterable[Mirrored], arguments: Raw | None, sent: Pairs) -> None:
    """Hold the headers of a request against its arguments. Raises McpError (-32020)."""
    for each in mirrored:
        said = [value for name, value in sent if name == each.header.lower()]
        why = _mismatch(each, said, _value(arguments, each.path))
        if why is not None:
            raise McpError(HEADER_MISMATCH, f"The header {each.header} {why}")


def _mismatch(mirrored: Mirrored, said: list[str], value: Scalar) -> str | None:
    argument, text = f"the argument {mirrored.argument!r}", _text(value)
    if len(said) > 1:
        return "stands twice"
    if not said:
        return None if text is None else f"is missing; {argument} must be repeated there"
    if text is None:
        return f"repeats nothing: {argument} is not in the body"
    header = decode_header_value(said[0]) if _SAFE.fullmatch(said[0]) else None
    if header is None:
        return "cannot be decoded: it must be printable ASCII, or =?base64?...?= around UTF-8"
    if header == text or (mirrored.integer and _is_number(header, _whole(value))):
        return None
    return f"does not say what {argument} in the body says"


def _is_number(header: str, value: Scalar) -> bool:
    """Whether a decimal number in a header is this integer: `42.0` is 42."""
    decimal = _DECIMAL.fullmatch(header)
    try:
        return decimal is not None and type(value) is int and int(decimal[1]) == value
    except ValueError:  # longer than Python reads
        return False


def _whole(value: Scalar) -> Scalar:
    """42.0 is an integer, too."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _value(arguments: Raw | None, path: tuple[str, ...]) -> Scalar:
    """The value at a path; None for what is absent, null, or cannot be said in a header.

    Raises McpError: a member stands twice.
    """
    raw = arguments
    for name in path:
        if raw is None or bytes(raw)[:1] != b"{":
            return None
        raw = decode_members(raw).get(name)
    if raw is None:
        return None
    try:
        value: Scalar = msgspec.json.decode(raw, type=Scalar)
    except (msgspec.DecodeError, RecursionError):  # an object, an array, a number beyond reason
        return None
    return value


def _text(value: Scalar) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return None if value is None else str(value)
