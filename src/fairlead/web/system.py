"""`/api/system/info`: what runs here, since when, and how it fares."""

from __future__ import annotations

import platform
import time
from typing import Any, Final

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from fairlead.core.access import may_use
from fairlead.orchestrator.metrics import MetricsCollector
from fairlead.web.examples import shown
from fairlead.web.services import EveryService, Services
from fairlead.web.strict import StrictRoute


class ServiceReport(BaseModel):
    """Any service."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    version: str
    python: str
    platform: str
    node_id: str
    pid: int
    started_at: float = Field(description="Unix time, s")
    uptime: float = Field(description="s")
    addresses: dict[str, str] = Field(description="Each service's URL")
    away: dict[str, str] = Field(description="What the service needs and has not (store, bus), and why")


class SystemReport(ServiceReport):
    """The orchestrator."""

    generation: int = Field(description="Counts the fleet specs that were put in force")
    traffic: dict[str, Any] = Field(description="Calls since the start: totals, rates, percentiles")


EXAMPLE: Final[dict[str, Any]] = {
    "version": "0.1.0",
    "python": "3.11.9",
    "platform": "Linux-6.1-x86_64",
    "nodeId": "n1",
    "pid": 4200,
    "startedAt": 1795348800.0,
    "uptime": 3600.0,
    "addresses": {"orchestrator": "http://127.0.0.1:3002"},
    "away": {},
}


def service_report(services: EveryService) -> ServiceReport:
    info = services.info
    return ServiceReport(
        version=info.version,
        python=platform.python_version(),
        platform=platform.platform(),
        node_id=info.node_id,
        pid=info.pid,
        started_at=info.started_at,
        uptime=max(0.0, time.time() - info.started_at),
        addresses=dict(info.addresses),
        away=dict(services.away()),
    )


def system_router(services: Services) -> APIRouter:
    router = APIRouter(tags=["system"], route_class=StrictRoute)
    example = EXAMPLE | {
        "generation": 1,
        "traffic": MetricsCollector(list, clock=iter((0.0, 3600.0)).__next__).summary(),
    }

    @router.get("/api/system/info", summary="About this service", responses={200: shown(info=example)})
    async def get_system_info(request: Request) -> SystemReport:
        """Version, addresses, uptime, and the calls since the start."""
        grants, traffic = request.state.caller.grants, services.metrics.summary()
        traffic["servers"] = {id_: each for id_, each in traffic["servers"].items() if may_use(grants, id_)}
        return SystemReport(
            **service_report(services).model_dump(), generation=services.fleet.generation, traffic=traffic
        )

    return router
