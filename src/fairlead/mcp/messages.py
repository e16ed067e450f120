"""JSON-RPC messages, read no deeper than routing needs.

`id`, `params` and `result` stay raw slices of what came in, so a call costs no tree of objects and unknown
members pass through unharmed. Raw slices are also an injection path, so everything that leaves is built anew
from these parts by the functions here, and three things hold for each part: it is valid JSON (msgspec checks
the syntax while it skips), valid UTF-8 (checked here, since msgspec does not), and on one line (CR and LF can
stand only between tokens, where a space means the same).

Duplicate members that decide about routing are refused, because two readers could understand them in two
ways. Looking for them in every message would cost more than the rest of the parse. Instead the lengths are
added up: when the members that were found account for every byte of a compact message, no second copy can be
hiding in it. Only an object that is not compact is gone along member by member.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from fairlead.mcp.errors import INVALID_PARAMS, INVALID_REQUEST, PARSE_ERROR, McpError

_ENVELOPE_BYTES: Final = len('{"jsonrpc":"2.0","method":""}')
_ID_BYTES: Final = len(',"id":')
_PARAMS_BYTES: Final = len(',"params":')
_CALL_BYTES: Final = len('{"name":,"arguments":}')
_META_BYTES: Final = len(',"_meta":')
_ONE_LINE: Final = bytes.maketrans(b"\r\n", b"  ")
_KEY: Final = re.compile(rb'[ \t\r\n]*[{,][ \t\r\n]*"(?:[^"\\]|\\.)*+"[ \t\r\n]*:[ \t\r\n]*')
_END: Final = re.compile(rb"[ \t\r\n]*}[ \t\r\n]*")
_EMPTY: Final = re.compile(rb"[ \t\r\n]*{[ \t\r\n]*}[ \t\r\n]*")
MAX_ID_BYTES: Final = 512


class Incoming(msgspec.Struct, gc=False):
    """A message from a client. `id` is None for a notification; without `method` it is an answer."""

    jsonrpc: str
    id: Raw | UnsetType = UNSET
    method: str | UnsetType = UNSET
    params: Raw | UnsetType = UNSET
    result: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET


class CallParams(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """The parameters of `tools/call` in their usual form; others take the slower way."""

    name: Raw
    arguments: Raw | UnsetType = UNSET
    meta: Raw | UnsetType = msgspec.field(default=UNSET, name="_meta")


class FromServer(msgspec.Struct, gc=False):
    """A message from a server: an answer (`result` or `error`), a notification or a request."""

    id: int | str | UnsetType | None = UNSET
    result: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET
    method: str | UnsetType = UNSET
    params: Raw | UnsetType = UNSET


_decode_incoming = msgspec.json.Decoder(Incoming).decode
_decode_call = msgspec.json.Decoder(CallParams).decode
_decode_from_server = msgspec.json.Decoder(FromServer).decode
_decode_any = msgspec.json.Decoder().decode
_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode
encode_json = msgspec.json.Encoder().encode


def decode_incoming(body: bytes) -> Incoming:
    """Parse a client's message; raises McpError (-32700, -32600) that says what is wrong."""
    if not body.isascii():
        require_utf8(body)
    try:
        message = _decode_incoming(body)
    except msgspec.ValidationError as error:
        raise McpError(INVALID_REQUEST, _invalid_request(body, error), status=400) from None
    except msgspec.DecodeError as error:
        raise McpError(PARSE_ERROR, f"Parse error: {error}", status=400) from None
    except RecursionError:
        raise McpError(PARSE_ERROR, "Parse error: the JSON is nested too deeply", status=400) from None
    size = _ENVELOPE_BYTES
    if message.id is not UNSET:
        size += _ID_BYTES + len(bytes(message.id))
    if message.params is not UNSET:
        size += _PARAMS_BYTES + len(bytes(message.params))
    if message.method is UNSET or size + len(message.method) != len(body):
        _require_unique_members(body, _decode_object(body))
    if message.jsonrpc != "2.0":
        raise McpError(INVALID_REQUEST, 'Invalid request: "jsonrpc" must be "2.0"', status=400)
    return message


def _invalid_request(body: bytes, error: msgspec.ValidationError) -> str:
    if body.lstrip()[:1] == b"[":
        return "Invalid request: batches are not supported, send one JSON-RPC message"
    return f"Invalid request: {error}"


def require_utf8(data: bytes) -> None:
    """Raise McpError (-32700) unless `data` is UTF-8."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        raise McpError(PARSE_ERROR, f"Parse error: not UTF-8 at byte {error.start}", status=400) from None


def _require_unique_members(raw: bytes, members: dict[str, Raw]) -> None:
    """Refuse an object in which a member stands twice; `members` is what a reader made of it.

    Goes along the object: each member's value must stand where the next one in order is expected. A second
    copy leaves a value that nobody remembers, or members after the last one.
    """
    place = 0
    for value in members.values():
        key = _KEY.match(raw, place)
        text = bytes(value)
        if key is None or not raw.startswith(text, key.end()):
            break
        place = key.end() + len(text)
    if not (_END.fullmatch(raw, place) if members else _EMPTY.fullmatch(raw)):
        raise McpError(
            INVALID_REQUEST, "Invalid request: a member stands twice in the same object", status=400
        )


def request_id(message: Incoming) -> bytes:
    """The request's id as it was written: a JSON string or integer. Raises McpError otherwise."""
    raw = b"null" if message.id is UNSET else bytes(message.id)
    first = raw[:1]
    if len(raw) <= MAX_ID_BYTES and (
        first == b'"' or (first in b"-0123456789" and raw.lstrip(b"-").isdigit())
    ):
        return raw
    raise McpError(
        INVALID_REQUEST, "Invalid request: an id must be a string or an integer, of bounded length"
    )


def decode_call(params: bytes) -> CallParams | None:
    """The parameters of `tools/call` if they have the usual compact form, else None."""
    try:
        call = _decode_call(params)
    except (msgspec.DecodeError, RecursionError):
        return None
    size = _CALL_BYTES + len(bytes(call.name))
    size += len(bytes(call.arguments)) if call.arguments is not UNSET else -len(',"arguments":')
    if call.meta is not UNSET:
        size += _META_BYTES + len(bytes(call.meta))
    return call if size == len(params) else None


def decode_members(raw: bytes | Raw | UnsetType) -> dict[str, Raw]:
    """The members of an object, each still raw; an absent one counts as empty.

    Raises McpError (-32600) when it is not an object, or a member stands twice.
    """
    if raw is UNSET:
        return {}
    try:
        members = _decode_object(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise McpError(INVALID_REQUEST, f"Invalid request: params: {error}", status=400) from None
    whole = bytes(raw)
    size = sum(len(name) + len(bytes(value)) for name, value in members.items())
    if size + max(2, 1 + len(members) * len('"":,')) != len(whole):
        _require_unique_members(whole, members)
    return members


def decode_any(raw: bytes | Raw) -> Any:
    """The whole tree, for the slow paths. Raises McpError (-32602): a number too large, too deep."""
    try:
        return _decode_any(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise McpError(INVALID_PARAMS, f"Invalid params: {error}") from None


def decode_from_server(frame: bytes) -> FromServer | None:
    """Parse a server's message; None for what is not a JSON-RPC message at all."""
    try:
        if not frame.isascii():
            frame.decode()
        return _decode_from_server(frame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _decode_lenient(frame)


def _decode_lenient(frame: bytes) -> FromServer | None:
    """Answers that a strict reader refuses, though their server meant well: broken UTF-8, half surrogates."""
    try:
        tree = json.loads(frame.decode(errors="replace"))
        text = json.dumps(tree, ensure_ascii=False, allow_nan=False)
        return _decode_from_server(text.encode(errors="replace"))
    except (ValueError, RecursionError, msgspec.DecodeError):
        return None


def one_line(raw: bytes) -> bytes:
    """The same JSON without CR and LF."""
    if b"\n" in raw or b"\r" in raw:
        return raw.translate(_ONE_LINE)
    return raw


def join_members(members: dict[str, Raw | bytes]) -> bytes:
    """An object of raw members, on one line."""
    return one_line(
        b"{" + b",".join(encode_json(name) + b":" + bytes(value) for name, value in members.items()) + b"}"
    )


def notification(method: str, params: bytes = b"") -> bytes:
    """A notification; `params` is an object as JSON, or nothing."""
    tail = b',"params":' + params if params else b""
    return b'{"jsonrpc":"2.0","method":' + encode_json(method) + tail + b"}"


def result(request: bytes, raw: bytes) -> bytes:
    """The answer to the request with the id `request` (as JSON)."""
    return b'{"jsonrpc":"2.0","id":' + request + b',"result":' + raw + b"}"


def error(request: bytes | None, raw: bytes) -> bytes:
    """The error answer to the request with the id `request` (as JSON; None where it is not known)."""
    return b'{"jsonrpc":"2.0","id":' + (request or b"null") + b',"error":' + raw + b"}"
