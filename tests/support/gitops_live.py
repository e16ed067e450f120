"""The GitOps controller's web app on a real socket, with its WebSocket, over a controller in memory."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import httpx
import uvicorn
from websockets.asyncio.client import connect

from fairlead.buses.memory import MemoryBus
from fairlead.events.feed import Feed
from fairlead.events.journal import Journal
from fairlead.model.access import Grant, Role
from fairlead.ports import Recorder
from fairlead.web.gitops_app import create_gitops_app
from fairlead.web.gitops_services import GitOpsServices
from fairlead.web.live_socket import UVICORN, LiveSocket
from support.event_logs import MemoryEventLog
from support.gitops_web import BEARER, GitOpsRig, gitops_services, policy
from support.live_service import Audit

_ROLES = {role: headers["authorization"] for role, headers in BEARER.items()}


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self):
        yield


@dataclass
class GitOpsLive:
    port: int
    rig: GitOpsRig
    services: GitOpsServices
    audit: Audit
    away: dict[str, str]

    def connect(self, role: Role = Role.ADMIN, **options: Any) -> connect:
        return connect(
            f"ws://127.0.0.1:{self.port}/ws",
            additional_headers={"Authorization": _ROLES[role]},
            compression=None,
            **options,
        )

    def http(self, role: Role = Role.ADMIN) -> httpx.AsyncClient:
        headers = {"Authorization": _ROLES[role]}
        return httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", headers=headers, timeout=60)


class _Both:
    """Implements `ports.Recorder`."""

    def __init__(self, *recorders: Recorder) -> None:
        self._recorders = recorders

    def note(self, event_type: Any, subject: str, data: Any) -> None:
        for recorder in self._recorders:
            recorder.note(event_type, subject, data)


@contextlib.asynccontextmanager
async def gitops_live(rig: GitOpsRig, *, grants: tuple[Grant, ...] = ()) -> AsyncIterator[GitOpsLive]:
    """`rig` has not been started yet; what it notes is told."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    port = listener.getsockname()[1]
    audit, away = Audit(), dict[str, str]()
    log, bus = MemoryEventLog(), MemoryBus()
    feed = Feed(log, bus)
    admits = policy(port, grants)
    services = gitops_services(rig, admits=admits, away=lambda: away, audit=audit, feed=feed)
    journal = Journal(log, feed, bus, "urn:fairlead:gitops:node-1")
    rig.also(_Both(journal, services.metrics))
    services = replace(services, settled=journal.settled)
    server = _Server(
        uvicorn.Config(
            create_gitops_app(services), ws=LiveSocket, log_config=None, lifespan="off", access_log=False,
            server_header=False, timeout_graceful_shutdown=4, **UVICORN,
        )
    )  # fmt: skip
    running = [
        asyncio.ensure_future(work) for work in (server.serve(sockets=[listener]), feed.run(), journal.run())
    ]
    try:
        async with rig.running():
            while not server.started or feed.latest is None:
                await asyncio.sleep(0.01)
            await journal.settled()
            yield GitOpsLive(port, rig, services, audit, away)
    finally:
        services.live.close()
        server.should_exit = True
        await running[0]
        await services.live.aclose()
        for task in running[1:]:
            task.cancel()
        await asyncio.gather(*running[1:], return_exceptions=True)
