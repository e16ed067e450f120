"""`/metrics` for Prometheus."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from fastapi import APIRouter, Request
from prometheus_client.exposition import choose_encoder
from starlette.responses import Response

from fairlead.orchestrator.metrics import MetricsCollector

_TEXT: Final[dict[str, Any]] = {"schema": {"type": "string"}}
_EXAMPLE: Final = (
    "# HELP fairlead_sessions Live MCP sessions of the legacy era.\n"
    "# TYPE fairlead_sessions gauge\n"
    "fairlead_sessions 3.0\n"
)


def metrics_router(metrics: MetricsCollector) -> APIRouter:
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
