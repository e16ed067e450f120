"""What stands behind the web app in its tests: a fleet in memory that does what it says, and its clients."""

from __future__ import annotations

import asyncio
import difflib
import hashlib
import json
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import fields, replace
from functools import lru_cache, reduce
from typing import Any

import httpx
from fastapi import FastAPI

from fairlead.access.credentials import Credentials
from fairlead.access.login import Logins
from fairlead.audit.recorder import AuditTrail
from fairlead.buses.memory import MemoryBus
from fairlead.core.admission import AdmissionPolicy, Limits
from fairlead.core.overrides import REMOVED, Edit, apply, key_text
from fairlead.core.ratelimit import Gcra
from fairlead.events.feed import Feed
from fairlead.model.access import Grant
from fairlead.model.errors import Fault, InputRequired, Problem, ProblemError, RpcError
from fairlead.model.fleet import Strategy
from fairlead.model.reports import (
    BalancerStatus,
    BreakerScope,
    BreakerStatus,
    Change,
    CheckResult,
    FleetStatus,
    Member,
    Origin,
    Override,
    Owner,
    ServerBalance,
    ToolsetStatus,
)
from fairlead.model.request import RoutedRequest
from fairlead.model.status import BreakerState, InstanceStatus, ServerState, ServerStatus
from fairlead.orchestrator.metrics import MetricsCollector
from fairlead.orchestrator.trends import Trends
from fairlead.web.app import create_app
from fairlead.web.gitops_app import create_gitops_app
from fairlead.web.gitops_services import GitOpsServices
from fairlead.web.live import Door, Live, LiveLimits
from fairlead.web.live_fleet import fleet_table
from fairlead.web.services import BrowserLogins, EveryService, Services, SystemInfo
from support.audit_logs import MemoryAuditLog
from support.event_logs import MemoryEventLog
from support.trend_stores import MemoryTrendStore

TOKEN = "a-token-of-the-tests"
HOST = "127.0.0.1:3002"
AUTHORIZED = {"authorization": f"Bearer {TOKEN}"}
INFO = SystemInfo("1.2.3", 1_700_000_000.0, os.getpid(), "node-1", {"orchestrator": f"http://{HOST}"})


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
        weight=members.pop("weight", 1.0),
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
        self.strategy = Strategy.RESOURCE_BASED
        self.instance_weights: dict[str, float] = {}
        self.open: set[str] = set()  # breakers
        self.drained: list[tuple[str, str | None]] = []
        self.shown_toolsets: list[ToolsetStatus] = []

    def servers(self) -> list[ServerStatus]:
        return list(self._servers.values())

    def server(self, server_id: str) -> ServerStatus:
        if server_id in self._servers:
            return self._servers[server_id]
        near = difflib.get_close_matches(server_id, self._servers, 1)
        raise problem("unknown-server", 404, f"there is no server {server_id!r}; did you mean {near}?")

    def change(self, server_id: str, **members: Any) -> None:
        self._servers[server_id] = self._servers[server_id].model_copy(update=members)

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

    async def drain(self, server_id: str, instance_id: str | None) -> ServerStatus:
        status = self.server(server_id)
        if instance_id not in {None, *(instance.id for instance in status.instances)}:
            raise problem("unknown-instance", 404, f"{server_id} has no instance {instance_id!r}")
        self.drained.append((server_id, instance_id))
        return self._become(server_id, ServerState.STOPPED) if instance_id is None else status

    async def check_health(self, server_id: str | None) -> list[CheckResult]:
        asked = self.servers() if server_id is None else [self.server(server_id)]
        instances = [(server.id, instance.id) for server in asked for instance in server.instances]
        return [CheckResult(server=s, instance=i, passed=True, seconds=0.001) for s, i in instances]

    def balancer_status(self) -> BalancerStatus:
        return BalancerStatus(
            strategy=self.strategy, servers=[self._balance(s) for s in self.servers()], capabilities=[]
        )

    def _balance(self, server: ServerStatus) -> ServerBalance:
        members = [
            Member(
                id=instance.id,
                weight=self.instance_weights.get(instance.id, 1.0),
                in_rotation=True,
                calls_in_flight=0,
                limit=64,
                pressure=0.0,
                calls_total=0,
            )
            for instance in server.instances
        ]
        return ServerBalance(
            id=server.id,
            strategy=server.strategy,
            weight=server.weight,
            panicking=False,
            calls_waiting=0,
            instances=members,
        )

    def set_instance_weights(self, weights: Mapping[str, float]) -> None:
        self.instance_weights |= weights

    def breakers(self) -> list[BreakerStatus]:
        own = [(server.id, BreakerScope.SERVER, server.id) for server in self.servers()]
        inner = [(i.id, BreakerScope.INSTANCE, s.id) for s in self.servers() for i in s.instances]
        return [
            BreakerStatus(
                id=breaker,
                scope=scope,
                server=server_id,
                state=BreakerState.OPEN if breaker in self.open else BreakerState.CLOSED,
                calls=0,
                failures=0,
                slow=0,
                opened_total=0,
            )
            for breaker, scope, server_id in own + inner
        ]

    def reset_breaker(self, breaker_id: str, scope: BreakerScope | None = None) -> BreakerStatus:
        found = [each for each in self.breakers() if each.id == breaker_id and scope in {None, each.scope}]
        if len(found) > 1:
            raise problem("ambiguous-breaker", 409)
        if found:
            self.open.discard(breaker_id)
            return found[0].model_copy(update={"state": BreakerState.CLOSED})
        raise problem("unknown-breaker", 404, f"nothing is called {breaker_id!r}")

    def toolsets(self, grants: tuple[Grant, ...] = ()) -> list[ToolsetStatus]:
        return self.shown_toolsets

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
    """A fleet document in memory, and live edits on it; those that a fleet can show, it shows."""

    def __init__(self, fleet: MemoryFleet | None = None) -> None:
        self.document: dict[str, Any] = {
            "version": "1",
            "servers": {"magic": {"environment": {"KEY": "${KEY}"}}},
        }
        self.generation = 7
        self.owner = Owner.FILE
        self.overrides: dict[str, Override] = {}
        self.edits: list[tuple[str, list[Edit]]] = []  # who, what
        self.replaced: list[dict[str, Any]] = []
        self.problems: list[str] = []
        self.refusal: ProblemError | None = None
        self._fleet = fleet

    @property
    def tag(self) -> str:
        return f"run-{self.generation}"

    def current(self) -> dict[str, Any]:
        return self.document

    def status(self) -> FleetStatus:
        return FleetStatus(
            owner=self.owner,
            generation=self.generation,
            observed_generation=self.generation,
            conditions=[],
            overrides=list(self.overrides.values()),
            spec=self.document,
        )

    async def replace(
        self,
        document: bytes,
        *,
        expected: str | None,
        dry_run: bool,
        origin: Origin,
        by: str,
        keep: Sequence[str],
        gone: Callable[[], Awaitable[bool]],
    ) -> Change:
        self.replaced.append(
            {
                "document": document,
                "expected": expected,
                "dry_run": dry_run,
                "origin": origin,
                "by": by,
                "keep": keep,
            }
        )
        self._check()
        if not dry_run:
            self.document = json.loads(document)
        return self._changed(dry_run=dry_run)

    async def edit(self, edits: Sequence[Edit], *, by: str) -> Change:
        self._check()
        self.edits.append((by, list(edits)))
        self.document = apply(self.document, edits)
        for edit in edits:
            key, removed = key_text(edit.key), edit.value is REMOVED
            value = None if removed else edit.value
            self.overrides[key] = Override(key=key, value=value, removed=removed, by=by, at=1.0)
            if self._fleet is not None:
                _show(self._fleet, edit)
        return self._changed()

    async def drop_overrides(self, keys: Sequence[str] | None) -> Change:
        wanted = list(self.overrides) if keys is None else keys
        if unknown := [key for key in wanted if key not in self.overrides]:
            raise problem("unknown-override", 404, f"no live edit has the key {unknown[0]}")
        for key in wanted:
            del self.overrides[key]
        return self._changed()

    async def release(self) -> Change:
        self.owner = Owner.FILE
        return self._changed()

    async def reload(self) -> Change:
        self._check()
        return self._changed(adjusted=("magic",))

    def _check(self) -> None:
        if self.problems:
            bad = problem("fleet-file-invalid", 422).problem
            raise ProblemError(replace(bad, extra={"problems": self.problems}))
        if self.refusal is not None:
            raise self.refusal

    def _changed(self, *, dry_run: bool = False, **members: Any) -> Change:
        self.generation += not dry_run
        return Change(generation=self.generation, dry_run=dry_run, **members)


def _show(fleet: MemoryFleet, edit: Edit) -> None:
    match edit.key:
        case ("servers", server_id, "scaling", "minInstances"):
            fleet.change(server_id, min_instances=edit.value)
        case ("servers", server_id, "scaling", "maxInstances"):
            fleet.change(server_id, max_instances=edit.value)
        case ("servers", server_id, "strategy"):
            fleet.change(server_id, strategy=fleet.strategy if edit.value is REMOVED else edit.value)
        case ("loadBalancing", "strategy"):
            fleet.strategy = Strategy(edit.value)
        case ("loadBalancing", "weights", server_id):
            fleet.change(server_id, weight=edit.value)


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
    live: Live | None = None,
    browsers: BrowserLogins | None = None,
    credentials: Credentials | None = None,
    audit: AuditTrail | None = None,
    away: Callable[[], Mapping[str, str]] = dict,
) -> Services:
    fleet = fleet or MemoryFleet(
        server("filesystem", capabilities=["file-operations"]),
        server("magic", ServerState.BLOCKED, message="needs TWENTYFIRST_API_KEY"),
    )
    admits = admits or policy()
    metrics = MetricsCollector(fleet.servers, fleet.breakers)
    return Services(
        fleet=fleet,
        config=config or MemoryConfig(fleet),
        metrics=metrics,
        policy=lambda: admits,
        info=INFO,
        limiter=limiter,
        live=live or a_live(fleet, lambda: admits, limiter),
        browsers=browsers,
        credentials=credentials,
        audit=audit or AuditTrail(MemoryAuditLog()),
        trends=Trends(metrics, fleet.servers, MemoryTrendStore(), "node-1"),
        away=away,
    )


def a_live(
    fleet: MemoryFleet,
    policy: Callable[[], AdmissionPolicy],
    limiter: Callable[[str], Gcra | None] = lambda _: None,
    *,
    limits: LiveLimits | None = None,
) -> Live:
    """Live readers over a feed whose events are in memory: `live.feed` has them."""
    table = fleet_table(fleet, MemoryConfig(fleet), MetricsCollector(fleet.servers, fleet.breakers))
    feed = Feed(MemoryEventLog(), MemoryBus())
    door = Door(policy, limiter, AuditTrail(MemoryAuditLog()), dict)
    return Live(feed, table, door, node="node-1", limits=limits or LiveLimits())


_ASKED: ContextVar[EveryService] = ContextVar("the services that the request of now is for")


class _Asked:
    """A part of the services, or a method of one: that of the request of now."""

    def __init__(self, *path: str) -> None:
        self._path = path

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        if _ASKED.get(None) is None:  # the app is being made
            return _Asked(*self._path, attribute)
        return getattr(self._it(), attribute)

    def __call__(self, *arguments: Any) -> Any:
        return self._it()(*arguments)

    def _it(self) -> Any:
        return reduce(getattr, self._path, _ASKED.get())


@lru_cache(maxsize=8)
def _shared_app(kind: type[EveryService], there: frozenset[str], _logins: Logins | None) -> FastAPI:
    """One app for all that have the same parts: to make one costs FastAPI more than most tests do.

    The login pages count attempts, so that each test of them has an app of its own.
    """
    parts: dict[str, Any] = {name: _Asked(name) for name in there}
    if kind is GitOpsServices:
        return create_gitops_app(GitOpsServices(**parts | {"info": INFO}))
    return create_app(Services(**parts | {"info": INFO}))


def client(of: EveryService, **headers: str) -> httpx.AsyncClient:
    """A client without a network. It sends no token unless `headers` has one."""
    assert of.info is INFO, "it is the shared app's"
    there = frozenset(one.name for one in fields(of) if getattr(of, one.name) is not None)
    app = _shared_app(type(of), there, of.browsers and of.browsers.logins)

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        asked = _ASKED.set(of)
        try:
            await app(scope, receive, send)
        finally:
            _ASKED.reset(asked)

    transport = httpx.ASGITransport(serve, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url=f"http://{HOST}", headers=headers)
