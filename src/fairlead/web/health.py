"""`/health` for probes, `/api/health/servers` for people, and `/api/health/check` to look at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Annotated, Final

from fastapi import APIRouter, Body, Depends, Request
from pydantic import BaseModel, Field

from fairlead.core.access import may_use
from fairlead.model.reports import CheckResult
from fairlead.model.status import Condition, ServerState, ServerStatus
from fairlead.web.examples import FILESYSTEM, INVALID_BODY, MAGIC, UNKNOWN_SERVER, as_json, shown
from fairlead.web.permissions import require
from fairlead.web.problems import documented
from fairlead.web.services import Fleet
from fairlead.web.store_gate import Away
from fairlead.web.strict import NOT_JSON, Id, StrictBody, StrictRoute, require_json


class Overall(StrEnum):
    """One word for the fleet. What a person stopped, disabled or has yet to give a key to does not count."""

    OK = "ok"
    DEGRADED = "degraded"  # a server failed, which is tried again; or the database or the bus is away
    STARTING = "starting"  # a server is being installed or started


class Health(BaseModel):
    status: Overall
    version: str
    away: list[str] = Field(default=[], description="What the service needs and has not: store, bus")


class ServerHealth(BaseModel):
    id: str
    healthy: bool = Field(description="Whether it answers calls now; an idle one starts for the next call")
    state: ServerState
    message: str
    instances: int
    conditions: list[Condition]


class FleetHealth(BaseModel):
    """The health of every server."""

    status: Overall
    counts: dict[ServerState, int] = Field(description="Servers in each state that occurs")
    servers: list[ServerHealth]


class CheckBody(StrictBody):
    """Which servers are checked."""

    server: Id | None = Field(default=None, description="A server's id; without it, all servers")


class CheckList(BaseModel):
    """A result for each instance that was checked."""

    results: list[CheckResult]


_HEALTHY: Final = frozenset({ServerState.READY, ServerState.IDLE})


def overall(servers: Iterable[ServerStatus]) -> Overall:
    """The fleet in one word: a failure counts more than a start."""
    states = {server.state for server in servers}
    if ServerState.FAILED in states:
        return Overall.DEGRADED
    if states & {ServerState.INSTALLING, ServerState.STARTING}:
        return Overall.STARTING
    return Overall.OK


def fleet_health(servers: list[ServerStatus]) -> FleetHealth:
    """The health of every server, from their states."""
    return FleetHealth(
        status=overall(servers),
        counts=Counter(server.state for server in servers),
        servers=[
            ServerHealth(
                id=server.id,
                healthy=server.state in _HEALTHY,
                state=server.state,
                message=server.message,
                instances=len(server.instances),
                conditions=server.conditions,
            )
            for server in servers
        ],
    )


def health_router(status: Callable[[], Overall], version: str, away: Away) -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.head("/health", include_in_schema=False)
    @router.get(
        "/health",
        summary="Is the service there?",
        responses={200: shown(ok={"status": "ok", "version": "0.1.0", "away": []})},
        openapi_extra={"security": []},
    )
    async def get_health() -> Health:
        """Needs no token. 200 for as long as the service answers, whatever it says of itself."""
        missing = sorted(away())
        return Health(status=Overall.DEGRADED if missing else status(), version=version, away=missing)

    return router


_PASSED: Final = CheckResult(server="filesystem", instance="filesystem-1", passed=True, seconds=0.0016)
_LATE: Final = CheckResult(
    server="context7",
    instance="context7-2",
    passed=False,
    seconds=5.0,
    message="no answer to ping within 5 s",
)


def servers_health_router(fleet: Fleet) -> APIRouter:
    router = APIRouter(prefix="/api/health", tags=["health"], route_class=StrictRoute)
    example = as_json(fleet_health([FILESYSTEM, MAGIC]))

    @router.get("/servers", summary="Health of the servers", responses={200: shown(fleet=example)})
    async def get_servers_health(request: Request) -> FleetHealth:
        """Which servers answer, of those that the caller was granted, and why the others do not."""
        grants = request.state.caller.grants
        return fleet_health([server for server in fleet.servers() if may_use(grants, server.id)])

    @router.post(
        "/check",
        summary="Check the servers now",
        dependencies=[Depends(require_json)],
        responses={
            200: shown(checked=as_json(CheckList(results=[_PASSED, _LATE]))),
            **documented(UNKNOWN_SERVER, NOT_JSON, INVALID_BODY),
        },
    )
    async def check_health(
        request: Request,
        body: Annotated[
            CheckBody | None,
            Body(
                openapi_examples={
                    "one": {"summary": "One server", "value": {"server": "filesystem"}},
                    "all": {"summary": "All servers", "value": {}},
                }
            ),
        ] = None,
    ) -> CheckList:
        """Check every instance of a server, or of all, and answer with the outcomes.

        They count as any other check does: an instance that fails is checked again, and then replaced.
        """
        server = body.server if body else None
        require(request.state.caller, "POST", "/api/health/check", server)
        return CheckList(results=await fleet.check_health(server))

    return router
