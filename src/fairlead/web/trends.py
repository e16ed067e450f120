"""`/api/metrics/trends`: how the metrics went."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from fairlead.model.errors import ProblemError
from fairlead.orchestrator.trends import HOUR, MINUTE, Trends
from fairlead.ports import StoreAwayError
from fairlead.web.examples import SINCE, shown
from fairlead.web.live_following import problem_of
from fairlead.web.permissions import require
from fairlead.web.problems import FieldError, documented, validation_problem
from fairlead.web.strict import Id, StrictRoute

MAX_POINTS: Final = 2000
_DEFAULT_POINTS: Final = 200
_STEPS: Final = (MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 6 * HOUR, 24 * HOUR)
_TOO_MANY: Final = validation_problem(
    [FieldError(where="query.step", what=f"it makes more than {MAX_POINTS} points", how="give a longer step")]
)

Moment = Annotated[float | None, Query(ge=0, le=1e11, allow_inf_nan=False)]


class TrendPoint(BaseModel):
    """One step. Seconds are null where there was no call."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    at: float = Field(description="Its start: Unix time, s")
    requests: int
    errors: int
    mean_seconds: float | None
    p50_seconds: float | None
    p95_seconds: float | None
    p99_seconds: float | None
    gauges: dict[str, float] = Field(
        description="Highest values: sessions, connections, memoryBytes, readyInstances, wantedInstances; "
        "and sums: refused, cpuSeconds"
    )


class TrendLine(BaseModel):
    server: str | None = Field(description="null: the service")
    step: int = Field(description="s")
    points: list[TrendPoint] = Field(description="Steps in which nothing was counted are left out")


def trends_router(trends: Trends) -> APIRouter:
    router = APIRouter(tags=["metrics"], route_class=StrictRoute)

    @router.get(
        "/api/metrics/trends",
        summary="How the metrics went",
        responses={
            200: shown(trend=_example()),
            **documented(_TOO_MANY, problem_of(StoreAwayError("orchestrator.db: disk full"))),
        },
    )
    async def get_trends(
        *,
        request: Request,
        server: Annotated[Id | None, Query(description="One server; by default the service")] = None,
        since: Moment = None,
        until: Moment = None,
        step: Annotated[
            int | None, Query(ge=MINUTE, le=24 * HOUR, multiple_of=MINUTE, description="s")
        ] = None,
    ) -> TrendLine:
        """Calls, errors, latency and load, of all nodes together; by default of the last hour.

        Whole minutes are told, so the last one comes when it is over. Without `step` there are at most 200
        points.
        """
        require(request.state.caller, "GET", "/api/metrics/trends", server)
        end = time.time() if until is None else until
        start = end - HOUR if since is None else since
        if step is None:
            step = next((each for each in _STEPS if (end - start) / each <= _DEFAULT_POINTS), _STEPS[-1])
        if (end - start) / step > MAX_POINTS:
            raise ProblemError(_TOO_MANY)
        try:
            points = await trends.read(server or "", since=start, until=end, step=step)
        except StoreAwayError as away:
            raise ProblemError(problem_of(away)) from None
        return TrendLine(
            server=server, step=step, points=[TrendPoint.model_validate(asdict(point)) for point in points]
        )

    return router


def _example() -> dict[str, Any]:
    point = TrendPoint(
        at=SINCE,
        requests=1280,
        errors=2,
        mean_seconds=0.0021,
        p50_seconds=0.0018,
        p95_seconds=0.0047,
        p99_seconds=0.0093,
        gauges={"readyInstances": 2, "wantedInstances": 2},
    )
    return TrendLine(server="filesystem", step=MINUTE, points=[point]).model_dump(by_alias=True)
