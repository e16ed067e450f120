"""`/health` for probes, and `/api/health/servers` for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum

from fastapi import APIRouter
from pydantic import BaseModel, Field

from fairlead.model.status import Condition, ServerState, ServerStatus
from fairlead.web.examples import FILESYSTEM, MAGIC, shown
from fairlead.web.services import Fleet


class Overall(StrEnum):
    """One word for the fleet. What a person stopped, disabled or has yet to give a key to does not count."""

    OK = "ok"
    DEGRADED = "degraded"  # a server failed; it is tried again
    STARTING = "starting"  # a server is being installed or started


class Health(BaseModel):
    status: Overall
    version: str


class ServerHealth(BaseModel):
    id: str
    healthy: bool = Field(description="Whether it answers calls now")
    state: ServerState
    message: str
    instances: int
    conditions: list[Condition]


class FleetHealth(BaseModel):
    """The health of every server."""

    status: Overall
    counts: dict[ServerState, int] = Field(description="Servers in each state that occurs")
    servers: list[ServerHealth]


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
                healthy=server.state is ServerState.READY,
                state=server.state,
                message=server.message,
                instances=len(server.instances),
                conditions=server.conditions,
            )
            for server in servers
        ],
    )


def health_router(fleet: Fleet, version: str) -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.head("/health", include_in_schema=False)
    @router.get(
        "/health",
        summary="Is the service there?",
        responses={200: shown(ok={"status": "ok", "version": "0.1.0"})},
        openapi_extra={"security": []},
    )
    async def get_health() -> Health:
        """Needs no token. 200 for as long as the service answers, whatever state its servers are in."""
        return Health(status=overall(fleet.servers()), version=version)

    example = fleet_health([FILESYSTEM, MAGIC]).model_dump(mode="json", by_alias=True)

    @router.get("/api/health/servers", summary="Health of the servers", responses={200: shown(fleet=example)})
    async def get_servers_health() -> FleetHealth:
        """Which servers answer, and why the others do not."""
        return fleet_health(fleet.servers())

    return router
