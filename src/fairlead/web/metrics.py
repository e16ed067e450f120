"""`/metrics` for Prometheus, and `/api/metrics` for people."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from fastapi import APIRouter, Request
from prometheus_client.exposition import choose_encoder
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from starlette.responses import Response

from fairlead.model.status import InstanceStatus, ServerStatus
from fairlead.orchestrator.metrics import MetricsCollector, Outcome
from fairlead.web.examples import FILESYSTEM, INVALID_ID, UNKNOWN_SERVER, as_json, shown
from fairlead.web.problems import documented
from fairlead.web.servers import ServerId
from fairlead.web.services import Fleet, WebMetrics
from fairlead.web.strict import StrictRoute

_TEXT: Final[dict[str, Any]] = {"schema": {"type": "string"}}
_EXAMPLE: Final = (
    "# HELP fairlead_sessions Live MCP sessions of the legacy era.\n"
    "# TYPE fairlead_sessions gauge\n"
    "fairlead_sessions 3.0\n"
)


class Calls(BaseModel):
    """Calls since the start. Percentiles are read off buckets; null where there was no call."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    requests: int
    errors: int = Field(description="Those with any outcome but ok")
    requests_per_minute: float
    mean_seconds: float | None
    p50_seconds: float | None
    p95_seconds: float | None
    p99_seconds: float | None
    latency_counts: list[int] = Field(
        description="Calls by how long they took, as in the buckets of fairlead_request_duration_seconds"
    )
    outcomes: dict[str, int] = Field(description="How many ended so")


class Traffic(Calls):
    """The calls of all servers."""

    uptime_seconds: float
    sessions: int = Field(description="Live sessions of the legacy era")
    refused: dict[str, int] = Field(description="Requests refused at the door, by reason")
    servers: dict[str, Calls]
    methods: dict[str, Calls]


class ServerTraffic(Calls):
    """The calls of one server, and its instances as they are now."""

    id: str
    uptime_seconds: float
    methods: dict[str, Calls]
    replays: dict[str, int] = Field(
        description="Calls whose instance failed: replayed on another one, or refused"
    )
    health_checks: dict[str, int] = Field(description="passed and failed")
    instances: list[InstanceStatus]


def server_traffic(server: ServerStatus, metrics: MetricsCollector) -> ServerTraffic:
    """What was counted of a server, and what is there of it now."""
    summary = metrics.server_summary(server.id)
    return ServerTraffic.model_validate({**summary, "id": server.id, "instances": server.instances})


def _example() -> MetricsCollector:
    metrics = MetricsCollector(list, clock=iter((0.0, 3600.0, 3600.0)).__next__)
    for seconds, outcome in ((0.0021, Outcome.OK), (0.0034, Outcome.OK), (0.0189, Outcome.TOOL_ERROR)):
        metrics.calls(FILESYSTEM.id, "tools/call").record(seconds, outcome)
    metrics.checked(FILESYSTEM.id, True)
    return metrics


def summaries_router(metrics: MetricsCollector, fleet: Fleet) -> APIRouter:
    router = APIRouter(prefix="/api/metrics", tags=["metrics"], route_class=StrictRoute)
    example = _example()
    summary = Traffic.model_validate(example.summary())
    one = server_traffic(FILESYSTEM, example)

    @router.get("/summary", summary="Calls of all servers", responses={200: shown(traffic=as_json(summary))})
    async def get_metrics_summary() -> Traffic:
        """The calls since the start: in all, by server and by method."""
        return Traffic.model_validate(metrics.summary())

    @router.get(
        "/servers/{id}",
        summary="Calls of one server",
        responses={200: shown(traffic=as_json(one)), **documented(UNKNOWN_SERVER, INVALID_ID)},
    )
    async def get_server_metrics(id: ServerId) -> ServerTraffic:  # noqa: A002 - the path's own name
        """The calls since the start, by method, with replays, health checks, and the instances of now."""
        return server_traffic(fleet.server(id), metrics)

    return router


def metrics_router(metrics: WebMetrics) -> APIRouter:
    router = APIRouter(tags=["metrics"])

    @router.get(
        "/metrics",
        summary="Metrics for Prometheus",
        response_class=Response,
        responses={
            200: {
                "content": {
                    "text/plain": {**_TEXT, "examples": {"gauge": {"value": _EXAMPLE}}},
                    "application/openmetrics-text": {
                        **_TEXT,
                        "examples": {"gauge": {"value": _EXAMPLE + "# EOF\n"}},
                    },
                }
            }
        },
    )
    async def get_metrics(request: Request) -> Response:
        """In Prometheus' text format, or as OpenMetrics when Accept asks for it."""
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        # In a thread: a thousand servers take half a second to write out.
        text = await asyncio.to_thread(encode, metrics.snapshot())
        return Response(text, headers={"content-type": media_type})

    return router
