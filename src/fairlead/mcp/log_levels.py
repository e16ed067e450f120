"""The levels of `notifications/message`, as syslog has them."""

from __future__ import annotations

from typing import Final

import msgspec

from fairlead.mcp.errors import INVALID_PARAMS, McpError

LEVELS: Final = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")


class _Message(msgspec.Struct):
    level: str = ""


_decode = msgspec.json.Decoder(_Message).decode


def require_level(level: object) -> str:
    """A level that a client asks for. Raises McpError (-32602)."""
    if isinstance(level, str) and level in LEVELS:
        return level
    raise McpError(INVALID_PARAMS, f"the log level must be one of {', '.join(LEVELS)}")


def is_heard(message: bytes, wanted: str) -> bool:
    """Whether who wants to hear from `wanted` on hears this; `message` is a notification's params."""
    try:
        level = _decode(message).level
    except (msgspec.DecodeError, RecursionError):
        return False
    return level in LEVELS and LEVELS.index(level) >= LEVELS.index(wanted)


def more_verbose(level: str, than: str | None) -> bool:
    return than is None or LEVELS.index(level) < LEVELS.index(than)
