"""What an endpoint says of itself, in the handshake of each era."""

from __future__ import annotations

from typing import Any, Final

from msgspec import Raw

from fairlead.mcp import eras
from fairlead.mcp.messages import encode_json
from fairlead.orchestrator.gateway.views import View
from fairlead.orchestrator.instance import GATEWAY_INFO

DISCOVERY_TTL: Final = 30_000  # ms that a modern client may keep the answer
_CHANGING: Final = {"listChanged": True}
_CAPABILITIES: Final[dict[str, Any]] = {
    "tools": _CHANGING,
    "prompts": _CHANGING,
    "resources": {"subscribe": True, **_CHANGING},
    "completions": {},
    "logging": {},
}


def initialize_result(view: View, version: str) -> bytes:
    """The result of `initialize`, as JSON."""
    answer: dict[str, Any] = {"protocolVersion": version, **_about(view)}
    answer["serverInfo"] = Raw(GATEWAY_INFO)
    return encode_json(answer)


def discover_result(view: View) -> bytes:
    """The result of `server/discover`, as JSON."""
    return encode_json(
        {
            "resultType": "complete",
            "supportedVersions": [*eras.MODERN_VERSIONS, *eras.LEGACY_VERSIONS],
            **_about(view),
            "ttlMs": DISCOVERY_TTL,
            "cacheScope": "private",
            "_meta": {eras.RESERVED + "serverInfo": Raw(GATEWAY_INFO)},
        }
    )


def _about(view: View) -> dict[str, Any]:
    """Capabilities and instructions of an endpoint: of a single server its own."""
    if view.merged:
        return {"capabilities": _CAPABILITIES, "instructions": _instructions(view)}
    about: dict[str, Any] = {"capabilities": _CAPABILITIES}
    last = view.pools[view.endpoint].members.last
    if last is not None and last.negotiated is not None:
        about["capabilities"] = {k: v for k, v in _CAPABILITIES.items() if last.supports(k)}
        if last.negotiated.instructions is not None:
            about["instructions"] = last.negotiated.instructions
    return about


def _instructions(view: View) -> str:
    servers = ", ".join(view.pools)
    return (
        f"Fairlead joins these MCP servers: {servers}. Tools and prompts are named server__name; "
        "resource URIs begin with fairlead://server/."
    )
