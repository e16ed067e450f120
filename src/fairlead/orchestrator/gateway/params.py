"""Single members of a request's params."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from fairlead.mcp import eras
from fairlead.mcp.errors import INVALID_PARAMS, McpError
from fairlead.mcp.messages import decode_any


def mirrored_name(method: str, members: dict[str, Raw]) -> str | None:
    """The value that `Mcp-Name` must repeat, where the method has one."""
    member = eras.NAME_MEMBER.get(method)
    if member is None or member not in members:
        return None
    value = decode_any(members[member])
    return value if isinstance(value, str) else None


def text_member(members: dict[str, Raw], name: str) -> str:
    """A member that must be there as a string. Raises McpError (-32602)."""
    try:
        return msgspec.json.decode(members[name], type=str)
    except (KeyError, msgspec.DecodeError):
        raise McpError(INVALID_PARAMS, f"params.{name} must be a string") from None
