"""One MCP request that REST routes to a server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fairlead.model.access import Caller


@dataclass(frozen=True, slots=True)
class RoutedRequest:
    """What `POST /api/request` asks for. Exactly one of `server` and `capability` is given.

    `timeout` is in seconds, None for the server's own; `principal` is the name of its `caller`.
    """

    server: str | None
    capability: str | None
    method: str
    params: dict[str, Any]
    timeout: float | None
    principal: str
    caller: Caller | None = None

    @property
    def target(self) -> str:
        """The tool, prompt or resource that it names, or nothing."""
        named = self.params.get("uri" if self.method == "resources/read" else "name")
        return named if isinstance(named, str) else ""
