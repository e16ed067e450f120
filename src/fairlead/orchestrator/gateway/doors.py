"""What is served at an address: MCP, the rest (REST, events, pages), or both."""

from __future__ import annotations

from enum import Flag
from typing import Final

from fairlead.model.errors import Fault, Problem

_EVERYWHERE: Final = b"/health"
_MCP_METADATA: Final = b"/.well-known/oauth-protected-resource"


class Door(Flag):
    MCP = 1
    APP = 2
    BOTH = 3

    def leads_to(self, path: bytes, *, mcp: bool) -> bool:
        """Whether `path`, raw and without its query, is served here; `mcp` says that it is an endpoint."""
        if self is Door.BOTH or path == _EVERYWHERE:
            return True
        if mcp or path.startswith(_MCP_METADATA):
            return Door.MCP in self
        return Door.APP in self


NOT_HERE: Final = Problem(
    "not-here",
    "Not served at this address",
    "MCP and the rest (REST, events, pages) have an address each here: see `fairlead config`",
    404,
    Fault.CLIENT,
)
