"""`/api/circuit-breakers`: which servers and instances get no calls for a while, and ending that early."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel

from fairlead.core.access import may_use
from fairlead.model.access import Caller
from fairlead.model.errors import Fault, Problem
from fairlead.model.reports import BreakerScope, BreakerStatus
from fairlead.model.status import BreakerState
from fairlead.web.examples import INVALID_ID, as_json, shown
from fairlead.web.permissions import require
from fairlead.web.problems import documented
from fairlead.web.services import Fleet
from fairlead.web.strict import StrictRoute

BreakerId = Annotated[
    str, Path(description="The id of a server or of an instance", max_length=128, examples=["filesystem-1"])
]


class BreakerList(BaseModel):
    """The breakers of all servers and of all instances."""

    breakers: list[BreakerStatus]


_OPEN: Final = BreakerStatus(
    id="filesystem-1",
    scope=BreakerScope.INSTANCE,
    server="filesystem",
    state=BreakerState.OPEN,
    calls=40,
    failures=24,
    slow=0,
    opened_total=1,
    retry_after=7.5,
    reason="24 of 40 calls failed within 30 s",
)
_CLOSED: Final = BreakerStatus(
    id="filesystem",
    scope=BreakerScope.SERVER,
    server="filesystem",
    state=BreakerState.CLOSED,
    calls=412,
    failures=24,
    slow=0,
    opened_total=0,
)
_RESET: Final = _OPEN.model_copy(
    update={"state": BreakerState.CLOSED, "calls": 0, "failures": 0, "retry_after": None}
)
_UNKNOWN: Final = Problem(
    code="unknown-breaker",
    title="There is no such circuit breaker",
    detail="Nothing is called 'filesytem-1'. Did you mean 'filesystem-1'?",
    status=404,
    fault=Fault.CLIENT,
)
_AMBIGUOUS: Final = Problem(
    code="ambiguous-breaker",
    title="Which breaker?",
    detail="A server and an instance are called 'a-1'; add ?scope=server or =instance.",
    status=409,
    fault=Fault.CLIENT,
)


def require_breaker(caller: Caller, fleet: Fleet, breaker: str, scope: BreakerScope | None) -> None:
    """Refuse (ProblemError, 403) who may not reset what has this id, be it a server's or an instance's."""
    named = [each for each in fleet.breakers() if each.id == breaker and scope in (None, each.scope)]
    for server in {each.server for each in named} or {breaker}:
        require(caller, "POST", "/api/circuit-breakers/{id}/reset", server)


def breakers_router(fleet: Fleet) -> APIRouter:
    router = APIRouter(prefix="/api/circuit-breakers", tags=["balancing"], route_class=StrictRoute)

    @router.get(
        "",
        summary="List the circuit breakers",
        responses={200: shown(breakers=as_json(BreakerList(breakers=[_CLOSED, _OPEN])))},
    )
    async def list_breakers(request: Request) -> BreakerList:
        """State and counts of each whose server the caller was granted, and why it opened last."""
        grants = request.state.caller.grants
        return BreakerList(breakers=[each for each in fleet.breakers() if may_use(grants, each.server)])

    @router.post(
        "/{id}/reset",
        summary="Close a circuit breaker",
        responses={200: shown(closed=as_json(_RESET)), **documented(_UNKNOWN, _AMBIGUOUS, INVALID_ID)},
    )
    async def reset_breaker(
        request: Request,
        id: BreakerId,  # noqa: A002 - the path's own name
        scope: Annotated[
            BreakerScope | None, Query(description="Whose it is, where a server and an instance have one id")
        ] = None,
    ) -> BreakerStatus:
        """Let calls through again at once, and forget the failures that were counted."""
        require_breaker(request.state.caller, fleet, id, scope)
        return fleet.reset_breaker(id, scope)

    return router
