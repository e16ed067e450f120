"""The values of MCP's HTTP headers (`Mcp-Name`, `Mcp-Param-*`): plain where that is safe, else base64.

`=?base64?...?=` carries UTF-8; only its canonical form is accepted, so that a value has one spelling.
"""

from __future__ import annotations

import base64
import binascii
import re

_PLAIN = re.compile(r"[\x20-\x7e]*")
_WRAPPED = re.compile(r"=\?base64\?(.*)\?=")


def encode_header_value(value: str) -> str:
    """`value` as it can stand in a header. The result is printable ASCII whatever goes in."""
    if _PLAIN.fullmatch(value) and value == value.strip() and not _WRAPPED.fullmatch(value):
        return value
    # A lone surrogate has no UTF-8: it goes out as bytes that no receiver takes for another name.
    packed = base64.b64encode(value.encode("utf-8", "surrogatepass"))
    return f"=?base64?{packed.decode('ascii')}?="


def decode_header_value(value: str) -> str | None:
    """What `value` stands for, white space around it aside; None for a malformed wrapping."""
    value = value.strip(" \t")
    wrapped = _WRAPPED.fullmatch(value)
    if wrapped is None:
        return value
    packed = wrapped[1].encode("ascii", "replace")
    try:
        raw = base64.b64decode(packed, validate=True)
        text = raw.decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return text if base64.b64encode(raw) == packed else None
