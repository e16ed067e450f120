"""What stands behind the web app in its tests: a fleet in memory that does what it says, and its clients."""

from __future__ import annotations

import asyncio
import difflib
import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx

from fairlead.core.admission import AdmissionPolicy, Limits
from fairlead.core.ratelimit import Gcra
from fairlead.model.errors import Fault, InputRequired, Problem, ProblemError, RpcError
from fairlead.model.request import RoutedRequest
from fairlead.model.status import InstanceStatus, ServerState, ServerStatus
from fairlead.orchestrator.metrics import MetricsCollector
from fairlead.web.app import create_app
from fairlead.web.services import Services, SystemInfo

TOKEN = "a-token-of-the-tests"
HOST = "127.0.0.1:3002"
AUTHORIZED = {"authorization": f"Bearer {TOKEN}"}


def server(server_id: str, state: ServerState = ServerState.READY, **members: Any) -> ServerStatus:
    """A server with one instance while it is ready, and none otherwise."""
    instances = (
        [InstanceStatus(id=f"{server_id}-1", state="ready", pid=1)] if state is ServerState.READY else []
    )
    return ServerStatus(
        id=server_id,
        state=state,
        message=members.pop("message", state.value),
        conditions=[],
        instances=instances,
        source="command:true",
        sharing="shared",
        weight=1.0,
        capabilities=members.pop("capabilities", []),
        **members,
    )


def problem(code: str, status: int, detail: str = "as the test wants it") -> ProblemError:
    return ProblemError(Problem(code=code, title=code, detail=detail, status=status, fault=Fault.CLIENT))


class MemoryFleet:
    """Servers that only have a state. A request to one is answered by what its method says."""

    def __init__(self, *servers: ServerStatus) -> None:
        self._servers = {s.id: s for s in servers}
        self.generation = 1
        self.requests: list[RoutedRequest] = []

    def servers(self) -> list[ServerStatus]:
        return list(self._servers.values())

    def server(self, server_id: str) -> ServerStatus:
        if server_id in self._servers:
            return self._servers[server_id]
        near = difflib.get_close_matches(server_id, self._servers, 1)
        raise problem("unknown-server", 404, f"there is no server {server_id!r}; did you mean {near}?")

    def _become(self, server_id: str, state: ServerState, **changes: Any) -> ServerStatus:
        status = self.server(server_id)
        if status.state is ServerState.BLOCKED:
            raise problem("server-blocked", 409, status.message)
        fresh = server(server_id, state, capabilities=status.capabilities, **changes)
        self._servers[server_id] = fresh
        return fresh

    async def start(self, server_id: str) -> ServerStatus:
        return self._become(server_id, ServerState.READY)

    async def stop(self, server_id: str) -> ServerStatus:
        return self._become(server_id, ServerState.STOPPED)

    async def restart(self, server_id: str) -> ServerStatus:
        return self._become(server_id, ServerState.READY, restarts=self.server(server_id).restarts + 1)

    async def request(self, request: RoutedRequest) -> dict[str, Any]:
        self.requests.append(request)
        if request.server is not None:
            self.server(request.server)
        match request.method:
            case "echo":
                return {"echo": request.params}
            case "rpc/error":
                raise RpcError(-32000, "it went wrong", {"why": "because"})
            case "rpc/unknown":
                raise RpcError(-32601, "Method not found")
            case "ask":
                raise InputRequired({"resultType": "input_required", "requestState": "s"})
            case "busy":
                refused = problem("server-not-ready", 503).problem
                raise ProblemError(replace(refused, retry_after=1.5))
            case "wait":
                await asyncio.Event().wait()
        msg = "a secret detail of the inside"
        raise RuntimeError(msg)


class MemoryConfig:
    """A fleet file that can be made bad."""

    def __init__(self) -> None:
        self.problems: list[dict[str, Any]] = []

    def current(self) -> dict[str, Any]:
        return {"version": "1", "servers": {"magic": {"environment": {"KEY": "${KEY}"}}}}

    async def reload(self) -> dict[str, Any]:
        if self.problems:
            bad = problem("invalid-config", 422).problem
            raise ProblemError(replace(bad, extra={"problems": self.problems}))
        return {"changed": ["magic"]}


def policy(port: int = 3002, **bounds: Any) -> AdmissionPolicy:
    return AdmissionPolicy.compile(
        {hashlib.sha256(TOKEN.encode()).digest(): "ada"},
        port,
        origins=["https://dash.example"],
        limits=Limits(**bounds),
    )


def services(
    fleet: MemoryFleet | None = None,
    *,
    admits: AdmissionPolicy | None = None,
    limiter: Callable[[str], Gcra | None] = lambda _: None,
    config: MemoryConfig | None = None,
) -> Services:
    fleet = fleet or MemoryFleet(
        server("filesystem", capabilities=["file-operations"]),
        server("magic", ServerState.BLOCKED, message="needs TWENTYFIRST_API_KEY"),
    )
    admits = admits or policy()
    return Services(
        fleet=fleet,
        config=config or MemoryConfig(),
        metrics=MetricsCollector(fleet.servers),
        policy=lambda: admits,
        info=SystemInfo("1.2.3", 1_700_000_000.0, os.getpid(), "node-1", {"orchestrator": f"http://{HOST}"}),
        limiter=limiter,
    )


def client(of: Services, **headers: str) -> httpx.AsyncClient:
    """A client without a network. It sends no token unless `headers` has one."""
    transport = httpx.ASGITransport(create_app(of), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url=f"http://{HOST}", headers=headers)
