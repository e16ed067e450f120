"""The handshake with a server: which era it speaks, and what it says of itself.

The era is probed once, with `server/discover`, before anything else: a server locks its era at the first
request. Whatever is not positive evidence of the modern era falls back to `initialize`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final, Protocol

from msgspec import Raw

from fairlead import __version__
from fairlead.mcp import eras
from fairlead.mcp.caching import CacheHint, hint_of
from fairlead.mcp.eras import Era
from fairlead.mcp.errors import UNSUPPORTED_PROTOCOL_VERSION, McpError
from fairlead.mcp.messages import decode_any, encode_json
from fairlead.mcp.profiles import Profile

PROBE_TIMEOUT: Final = 10.0  # s, for server/discover
GATEWAY_INFO: Final = encode_json({"name": "fairlead", "title": "Fairlead", "version": __version__})


@dataclass(frozen=True, slots=True)
class Negotiated:
    """What the handshake settled. `capabilities`, `server` and `instructions` are the server's own words."""

    era: Era
    version: str
    capabilities: dict[str, Any]
    server: dict[str, Any]
    instructions: str | None
    kept: CacheHint | None = None  # how long that may be kept, as a modern server says


class Server(Protocol):
    """What a handshake needs of an instance."""

    def speak(self, era: Era, version: str) -> None:
        """From now on, in this version of the protocol."""
        ...

    @property
    def gone(self) -> bool:
        """The connection is lost."""
        ...

    async def ask(self, method: str, members: dict[str, Any], *, timeout: float) -> bytes:  # noqa: ASYNC109
        """Raises McpError, TimeoutError."""
        ...

    def initialized(self) -> None:
        """Tell it that the legacy handshake is done."""
        ...


async def negotiate(server: Server, profile: Profile, timeout: float) -> Negotiated:  # noqa: ASYNC109
    """Settle the era, within `timeout` seconds. Raises McpError, TimeoutError."""
    loop = asyncio.get_running_loop()
    until = loop.time() + timeout
    discovered = await _discover(server, until)
    if discovered is not None:
        return _from_discovery(discovered)
    server.speak(Era.LEGACY, eras.LATEST_LEGACY)
    hello = {
        "protocolVersion": eras.LATEST_LEGACY,
        "capabilities": Raw(profile.capabilities),
        "clientInfo": Raw(GATEWAY_INFO),
    }
    answer = decode_any(await server.ask("initialize", hello, timeout=until - loop.time()))
    version = answer.get("protocolVersion") if isinstance(answer, dict) else None
    if version not in eras.LEGACY_VERSIONS:
        raise McpError(UNSUPPORTED_PROTOCOL_VERSION, f"it answered with protocol version {version!r}")
    server.speak(Era.LEGACY, version)
    server.initialized()
    return _settled(Era.LEGACY, version, answer)


async def _discover(server: Server, until: float) -> dict[str, Any] | None:
    """What a modern server says of itself; None where nothing shows that it is one.

    One that refuses a version that it names itself is asked once more: it may have been warming up.
    """
    server.speak(Era.MODERN, eras.LATEST_MODERN)
    for may_repeat in (True, False):
        left = until - asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(PROBE_TIMEOUT):
                discovered = decode_any(await server.ask("server/discover", {}, timeout=left))
        except TimeoutError:
            return None  # a legacy server may be silent about what it does not know
        except McpError as refused:
            supported = _supported(refused)
            if not server.gone and may_repeat and eras.LATEST_MODERN in supported:
                continue
            if server.gone or (supported and not any(v in eras.LEGACY_VERSIONS for v in supported)):
                raise  # a real incompatibility, no cause to fall back
            return None
        return discovered if _speaks_modern(discovered) else None
    return None


def _supported(refused: McpError) -> list[Any]:
    """The versions that a refusal (-32022) names; none where it is another one."""
    data = refused.tree() if refused.code == UNSUPPORTED_PROTOCOL_VERSION else None
    supported = data.get("supported") if isinstance(data, dict) else None
    return supported if isinstance(supported, list) else []


def _speaks_modern(discovered: Any) -> bool:
    versions = discovered.get("supportedVersions") if isinstance(discovered, dict) else None
    return isinstance(versions, list) and eras.LATEST_MODERN in versions


def _from_discovery(discovered: dict[str, Any]) -> Negotiated:
    meta = discovered.get("_meta")
    server = meta.get(eras.RESERVED + "serverInfo") if isinstance(meta, dict) else None
    return _settled(Era.MODERN, eras.LATEST_MODERN, {"serverInfo": server, **discovered})


def _settled(era: Era, version: str, answer: dict[str, Any]) -> Negotiated:
    capabilities = answer.get("capabilities")
    server = answer.get("serverInfo")
    instructions = answer.get("instructions")
    return Negotiated(
        era=era,
        version=version,
        capabilities=capabilities if isinstance(capabilities, dict) else {},
        server=server if isinstance(server, dict) else {},
        instructions=instructions if isinstance(instructions, str) else None,
        kept=hint_of(answer.get("ttlMs"), answer.get("cacheScope")) if era is Era.MODERN else None,
    )
