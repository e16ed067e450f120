"""A lane without a socket, over scripted servers: for properties that need thousands of requests."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from fairlead.core.admission import AdmissionPolicy
from fairlead.mcp.eras import META_CAPABILITIES, META_VERSION, NAME_MEMBER
from fairlead.mcp.headers import encode_header_value
from fairlead.mcp.sealing import Sealer
from fairlead.model.fleet import FleetSpec, RateLimiting, ResourceLimits, Security, ServerSpec
from fairlead.orchestrator.gateway.gateway import EdgeTimeouts, Gateway
from fairlead.orchestrator.gateway.lane import Lane
from fairlead.orchestrator.gateway.sessions import SessionTable
from fairlead.orchestrator.metrics import MetricsCollector
from fairlead.orchestrator.orchestrator import MCPOrchestrator
from support.scripted import Script, ScriptedDriver, ScriptedLauncher, ScriptedLink, legacy

TOKEN = "flt_lane-rig-token-0123456789abcdef"
PORT = 3002


class Wire(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", PORT)})
        self.out = b""
        self.closed = False

    def write(self, data: Any) -> None:
        if not self.closed:
            self.out += data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.closed = True

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return 0


@dataclass
class Rig:
    """The gateway over one scripted server named `s`."""

    gateway: Gateway
    fleet: MCPOrchestrator
    driver: ScriptedDriver
    uvicorn: uvicorn.Config

    @property
    def link(self) -> ScriptedLink:
        return self.driver.links[-1]

    def connect(self) -> tuple[Lane, Wire]:
        lane = Lane(gateway=self.gateway, config=self.uvicorn, server_state=ServerState(), app_state={})
        wire = Wire()
        lane.connection_made(wire)
        return lane, wire

    async def session(
        self, path: str = "/mcp", *, capabilities: dict[str, Any] | None = None
    ) -> dict[str, str]:
        """The headers of a new legacy session, whose client can do this."""
        hello = {
            "protocolVersion": "2025-11-25",
            "capabilities": capabilities or {},
            "clientInfo": {"name": "t", "version": "0"},
        }
        lane, wire = self.connect()
        message = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello}
        lane.data_received(request(json.dumps(message).encode(), path=path))
        head = wire.out.partition(b"\r\n\r\n")[0].decode()
        line = next(line for line in head.splitlines() if line.startswith("mcp-session-id"))
        return {"Mcp-Session-Id": line.split(": ")[1], "MCP-Protocol-Version": "2025-11-25"}

    async def ask(self, era: str, method: str, params: dict[str, Any], path: str = "/mcp") -> Any:
        """The answer to a request of a client of this era that can be asked nothing."""
        if era == "modern":
            headers = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": method}
            if (name := params.get(NAME_MEMBER.get(method, ""))) is not None:
                headers["Mcp-Name"] = encode_header_value(name)
            about = {META_VERSION: "2026-07-28", META_CAPABILITIES: {}}
            params = {**params, "_meta": about | params.get("_meta", {})}
        else:
            headers = await self.session(path)
        lane, wire = self.connect()
        message = {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}
        lane.data_received(request(json.dumps(message).encode(), headers, path))
        await self.settle()
        return bodies(wire.out)[-1]

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)


def request(body: bytes, headers: dict[str, str] | None = None, path: str = "/mcp") -> bytes:
    """A POST as clients send it."""
    lines = {
        "Host": f"127.0.0.1:{PORT}",
        "Authorization": f"Bearer {TOKEN}",
        "Accept": "application/json, text/event-stream",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        **(headers or {}),
    }
    text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {path} HTTP/1.1\r\n{text}\r\n".encode() + body


def bodies(out: bytes) -> list[Any]:
    """The JSON bodies of plain answers, in order."""
    found = []
    while out:
        head, _, rest = out.partition(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1])
            for line in head.lower().splitlines()
            if line.startswith(b"content-length")
        )
        found.append(json.loads(rest[:length]) if length else None)
        out = rest[length:]
    return found


async def _nothing(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("the ordinary lane is not part of this")


@contextlib.asynccontextmanager
async def lane_rig(
    script: Script | ScriptedDriver | None = None,
    *,
    concurrent: int = 1000,
    idle: float = 3600.0,
    principals: Mapping[str, str] | None = None,
    **servers: dict[str, Any],
) -> AsyncIterator[Rig]:
    """`servers` are the specs of servers by id; without any there is one plain server `s`.

    `principals` are those beside the usual one, by token; `idle` is when sessions expire, in s.
    """
    driver = script if isinstance(script, ScriptedDriver) else ScriptedDriver(script or legacy())
    metrics = MetricsCollector(list)
    sealer = Sealer(b"k" * 32)
    tokens = {TOKEN: "tester", **(principals or {})}
    policy = AdmissionPolicy.compile(
        {hashlib.sha256(token.encode()).digest(): principal for token, principal in tokens.items()}, PORT
    )
    gateway = Gateway(
        sealer, SessionTable(sealer, "n", limit=1000, idle=idle), metrics, policy, EdgeTimeouts()
    )
    fleet = MCPOrchestrator(ScriptedLauncher(driver), gateway, metrics)
    limits = ResourceLimits(rate_limiting=RateLimiting(enabled=False), max_concurrent_requests=concurrent)
    specs = {name: ServerSpec(**{"id": name, "command": "x", **spec}) for name, spec in servers.items()}
    spec = FleetSpec(
        servers=specs or {"s": ServerSpec(id="s", command="x")}, security=Security(resource_limits=limits)
    )
    config = uvicorn.Config(_nothing, log_config=None, access_log=False, lifespan="off")
    config.load()
    try:
        await fleet.apply(spec)
        while not all(fleet.server(name).tools for name in spec.servers):
            await asyncio.sleep(0)
        yield Rig(gateway, fleet, driver, config)
    finally:
        await gateway.close()
        await fleet.close()
