"""What an endpoint says of itself, in the handshake of each era."""

from __future__ import annotations

from typing import Any, Final

from msgspec import Raw

from fairlead.mcp import eras
from fairlead.mcp.caching import OURS, CacheHint
from fairlead.mcp.eras import Era
from fairlead.mcp.messages import encode_json
from fairlead.orchestrator.carrier import offers_updates
from fairlead.orchestrator.gateway.extensions import extensions_of
from fairlead.orchestrator.gateway.views import View
from fairlead.orchestrator.negotiation import GATEWAY_INFO

_CHANGING: Final = {"listChanged": True}
_CAPABILITIES: Final[dict[str, Any]] = {
    "tools": _CHANGING,
    "prompts": _CHANGING,
    "resources": {"subscribe": True, **_CHANGING},
    "completions": {},
    "logging": {},
}
_HOW_TO_SEARCH: Final = (
    "Only two tools are listed: find the others by words with search_tools, then call them with call_tool."
)


def initialize_result(view: View, version: str) -> bytes:
    """The result of `initialize`, as JSON."""
    answer: dict[str, Any] = {"protocolVersion": version, **_about(view, Era.LEGACY)}
    answer["serverInfo"] = Raw(GATEWAY_INFO)
    return encode_json(answer)


def discover_result(view: View) -> bytes:
    """The result of `server/discover`, as JSON."""
    about = encode_json(
        {
            "resultType": "complete",
            "supportedVersions": [*eras.MODERN_VERSIONS, *eras.LEGACY_VERSIONS],
            **_about(view, Era.MODERN),
            "_meta": {eras.RESERVED + "serverInfo": Raw(GATEWAY_INFO)},
        }
    )
    return about[:-1] + b"," + _kept(view).members() + b"}"


def _kept(view: View) -> CacheHint:
    """How long that may be kept: of a single server as long as it allows, too."""
    last = None if view.merged else view.pools[view.endpoint].members.last
    said = None if last is None or last.negotiated is None else last.negotiated.kept
    return OURS if said is None else CacheHint(min(said.ttl, OURS.ttl), said.public)


def _about(view: View, era: Era) -> dict[str, Any]:
    """Capabilities and instructions of an endpoint: of a single server its own."""
    about = _own(view)
    extensions = extensions_of(view, era)
    if extensions:
        about["capabilities"] = {**about["capabilities"], "extensions": extensions}
    return about


def _own(view: View) -> dict[str, Any]:
    about: dict[str, Any] = {"capabilities": capabilities_of(view)}
    if view.merged:
        return {**about, "instructions": _instructions(view)}
    last = view.pools[view.endpoint].members.last
    if last is not None and last.negotiated is not None and last.negotiated.instructions is not None:
        about["instructions"] = last.negotiated.instructions
    return about


def capabilities_of(view: View) -> dict[str, Any]:
    """What an endpoint offers; a single server that has not come up yet counts as offering everything."""
    last = None if view.merged else view.pools[view.endpoint].members.last
    if last is None or last.negotiated is None:
        return _CAPABILITIES
    offered = {k: v for k, v in _CAPABILITIES.items() if last.supports(k)}
    if "resources" in offered and not offers_updates(last):
        offered["resources"] = _CHANGING
    return offered


def _instructions(view: View) -> str:
    servers = ", ".join(view.pools)
    about = (
        f"Fairlead joins these MCP servers: {servers}. Tools and prompts are named server__name; "
        "resource URIs begin with fairlead://server/."
    )
    return " ".join(filter(None, (view.description, about, _HOW_TO_SEARCH if view.searches else "")))
