"""One MCP request that REST routes to a server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class RoutedRequest:
    """What `POST /api/request` asks for. Exactly one of `server` and `capability` is given.

    `timeout` is in seconds, None for the server's own; `principal` is the name of the caller's token.
    """

    server: str | None
    capability: str | None
    method: str
    params: dict[str, Any]
    timeout: float | None
    principal: str
