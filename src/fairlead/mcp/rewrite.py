"""Puts a server's resource URIs into their wrapper wherever a result or notification carries them.

Only the levels that can hold a URI are opened; everything else is passed on as the bytes that came.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from msgspec import Raw

from fairlead.mcp.messages import encode_json, join_members
from fairlead.mcp.names import wrap_uri

_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_list = msgspec.json.Decoder(list[Raw]).decode
_decode_string = msgspec.json.Decoder(str).decode

Edit = Callable[[Raw], bytes]


def edit_member(raw: bytes | Raw, name: str, edit: Edit) -> bytes:
    """The object with one member edited; whatever is not of the expected shape stays as it is."""
    try:
        members: dict[str, Raw | bytes] = dict(_decode_object(raw))
        if name not in members:
            return bytes(raw)
        members[name] = edit(members[name])  # type: ignore[arg-type] # still Raw here
    except (msgspec.DecodeError, RecursionError):
        return bytes(raw)
    return join_members(members)


def edit_items(raw: bytes | Raw, edit: Edit) -> bytes:
    """The array with each item edited."""
    return b"[" + b",".join(edit(item) for item in _decode_list(raw)) + b"]"


def wrap_uris(method: str, result: bytes, server: str) -> bytes:
    """A result of `method` with the URIs of `server` wrapped."""
    if b'"uri' not in result:
        return result

    def uri(raw: Raw) -> bytes:
        return encode_json(wrap_uri(server, _decode_string(raw)))

    def block(raw: Raw) -> bytes:  # a content block: resource_link has `uri`, an embedded one `resource.uri`
        inner = edit_member(raw, "resource", lambda resource: edit_member(resource, "uri", uri))
        return edit_member(inner, "uri", uri)

    def blocks(raw: Raw) -> bytes:  # one block, or a list of them
        return edit_items(raw, block) if bytes(raw)[:1] == b"[" else block(raw)

    if method == "tools/call":
        return edit_member(result, "content", blocks)
    if method == "prompts/get":
        return edit_member(
            result, "messages", lambda raw: edit_items(raw, lambda m: edit_member(m, "content", blocks))
        )
    if method == "resources/read":
        return edit_member(
            result, "contents", lambda raw: edit_items(raw, lambda c: edit_member(c, "uri", uri))
        )
    return result
