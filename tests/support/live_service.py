"""The web app with its WebSocket on a real socket, through uvicorn and the lane, over events in memory."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import httpx
import uvicorn
from websockets.asyncio.client import ClientConnection, connect

from fairlead.buses.memory import MemoryBus
from fairlead.core.access import KnownTokens
from fairlead.core.admission import AdmissionPolicy
from fairlead.core.ratelimit import Gcra
from fairlead.events.feed import Feed
from fairlead.mcp.sealing import Sealer
from fairlead.model.access import Caller, Grant, Role
from fairlead.model.audit import AuditRecord
from fairlead.model.events import Event, EventType, StoredEvent
from fairlead.orchestrator.gateway.gateway import EdgeTimeouts, Gateway
from fairlead.orchestrator.gateway.lane import make_lane
from fairlead.orchestrator.gateway.sessions import SessionTable
from fairlead.web.app import create_app
from fairlead.web.live import Door, Live, LiveLimits
from fairlead.web.live_fleet import fleet_table
from fairlead.web.live_socket import UVICORN, LiveSocket
from support.event_logs import MemoryEventLog
from support.web_services import MemoryConfig, MemoryFleet, server, services

TOKENS = {role: f"a-token-of-the-role-{role.word}" for role in Role}


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self):
        yield


@dataclass
class LiveService:
    """What runs, and ways to speak to it."""

    port: int
    live: Live
    log: MemoryEventLog
    fleet: MemoryFleet
    gateway: Gateway
    server: _Server
    revoked: set[str]  # names of principals
    audited: list[AuditRecord]
    away: dict[str, str]

    @property
    def feed(self) -> Feed:
        return self.live.feed

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def happen(self, *events: Event) -> list[StoredEvent]:
        """Keep events, and tell of them."""
        stored = await self.log.append(events)
        self.feed.offer(stored)
        return stored

    def connect(self, role: Role | None = Role.ADMIN, **options: Any) -> connect:
        headers = {} if role is None else {"Authorization": f"Bearer {TOKENS[role]}"}
        options.setdefault("compression", None)
        return connect(
            f"ws://127.0.0.1:{self.port}{options.pop('path', '/ws')}", additional_headers=headers, **options
        )

    def http(self, role: Role = Role.ADMIN) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {TOKENS[role]}"}
        return httpx.AsyncClient(base_url=self.origin, headers=headers, timeout=20)

    async def raw(self, *lines: str, body: bytes = b"") -> bytes:
        """What comes back for a request in so many words, until the connection is closed."""
        async with asyncio.timeout(20):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
            answer = await reader.read()
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            return answer

    def handshake(
        self, *more: str, path: str = "/ws", role: Role | None = Role.ADMIN, **replaced: str
    ) -> list[str]:
        """The lines of a handshake; `replaced` by header name with _ for -, empty to leave it out."""
        headers = {
            "host": f"127.0.0.1:{self.port}",
            "upgrade": "websocket",
            "connection": "Upgrade",
            "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
            "sec-websocket-version": "13",
        }
        if role is not None:
            headers["authorization"] = f"Bearer {TOKENS[role]}"
        headers |= {name.replace("_", "-"): value for name, value in replaced.items() if name != "method"}
        lines = [f"{name}: {value}" for name, value in headers.items() if value]
        return [f"{replaced.get('method', 'GET')} {path} HTTP/1.1", *lines, *more]


class Audit:
    """Implements `ports.Auditor`."""

    def __init__(self) -> None:
        self.records: list[AuditRecord] = []

    def called(self, call: Any) -> None:
        raise AssertionError

    def note(self, record: AuditRecord) -> None:
        self.records.append(record)

    refused = note


class _Identities(KnownTokens):
    """Principals that a test can revoke."""

    def __init__(self, revoked: set[str], grants: tuple[Grant, ...]) -> None:
        digests = {hashlib.sha256(token.encode()).digest(): role for role, token in TOKENS.items()}
        super().__init__({digest: Caller(role.word, role, grants) for digest, role in digests.items()})
        self._revoked = revoked

    def is_valid(self, caller: Caller) -> bool:
        return caller.name not in self._revoked


@contextlib.asynccontextmanager
async def live_service(
    *,
    limits: LiveLimits | None = None,
    limiter: Callable[[str], Gcra | None] = lambda _: None,
    sweeps: bool = True,
    grants: tuple[Grant, ...] = (),
) -> AsyncIterator[LiveService]:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(1024)
    port = listener.getsockname()[1]
    revoked: set[str] = set()
    policy = AdmissionPolicy.compile(_Identities(revoked, grants), port, origins=["https://dash.example"])
    fleet = MemoryFleet(server("filesystem"), server("magic"))
    log = MemoryEventLog()
    audit = Audit()
    behind = services(fleet, admits=policy, limiter=limiter)
    feed = Feed(log, MemoryBus())
    table = fleet_table(fleet, MemoryConfig(fleet), behind.metrics)
    away: dict[str, str] = {}
    door = Door(behind.policy, limiter, audit, lambda: away)
    live = Live(feed, table, door, node="node-1", limits=limits or LiveLimits())
    app = create_app(services(fleet, admits=policy, limiter=limiter, live=live))
    sealer = Sealer(bytes(32))
    gateway = Gateway(
        sealer,
        SessionTable(sealer, "node-1", limit=10, idle=60.0),
        behind.metrics,
        policy,
        EdgeTimeouts(10.0, 10.0, 75.0),
    )
    uvicorn_server = _Server(
        uvicorn.Config(
            app, http=make_lane(gateway), ws=LiveSocket, log_config=None, lifespan="off",
            access_log=False, server_header=False, timeout_graceful_shutdown=4, **UVICORN,
        )
    )  # fmt: skip
    running = [
        asyncio.ensure_future(uvicorn_server.serve(sockets=[listener])),
        asyncio.ensure_future(feed.run()),
    ]
    while not uvicorn_server.started or feed.latest is None:
        await asyncio.sleep(0.01)
    if sweeps:
        running.append(asyncio.ensure_future(_sweep(live)))
    try:
        yield LiveService(port, live, log, fleet, gateway, uvicorn_server, revoked, audit.records, away)
    finally:
        live.close()
        uvicorn_server.should_exit = True
        await running[0]
        await live.aclose()
        for task in running[1:]:
            task.cancel()
        await asyncio.gather(*running[1:], return_exceptions=True)


async def _sweep(live: Live) -> None:
    while True:
        await asyncio.sleep(0.1)
        live.sweep()


async def ask(client: ClientConnection, **message: Any) -> dict[str, Any]:
    """Send a message and take the next one that comes."""
    await client.send(json.dumps(message))
    return await told(client)


async def told(client: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(20):
        message: dict[str, Any] = json.loads(await client.recv())
    return message


def bearer(token: str) -> str:
    return "fairlead.bearer." + base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")


def scaled(number: int, *, server_id: str = "filesystem", size: int = 0) -> Event:
    data = {"server": server_id, "before": number, "instances": number + 1, "reason": "x" * size}
    return Event(EventType.SERVER_SCALED, "/test", server_id, data, float(number))
