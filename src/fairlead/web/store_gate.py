"""While the database is away nothing is changed: what was changed could not be kept, nor told.

MCP goes on, and so does all reading. What only asks the servers something is no change.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Final

from starlette.requests import HTTPConnection

from fairlead.model.errors import Fault, Problem, ProblemError

STORE: Final = "store"
LOOKING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
NO_CHANGES: Final = frozenset(
    {
        ("POST", "/api/request"),
        ("POST", "/api/health/check"),
        ("POST", "/api/drift/check"),
        ("POST", "/api/config/validate"),
        ("POST", "/webhooks/{source}"),
    }
)
"""Methods and route templates that change nothing that is kept."""

Away = Callable[[], Mapping[str, str]]
"""What the service needs and has not, and why; see `events.standing`."""

Settled = Callable[[], Awaitable[None]]
"""Returns when all events that were noted until now are kept, or the database is away."""


async def nothing_to_settle() -> None:
    """Where no events are kept."""


def store_away(reason: str) -> Problem:
    """The answer to a change, for now."""
    return Problem(
        code="store-unavailable",
        title="Nothing can be changed just now",
        detail=f"The database is away: {reason}. What was asked for may not have been done; it can be asked "
        "for again. MCP calls and reading go on.",
        status=503,
        fault=Fault.GATEWAY,
        retry_after=1.0,
    )


def store_slow(reason: str) -> Problem:
    """The answer to a question that was too much for the database just now."""
    return Problem(
        code="store-slow",
        title="The database took too long",
        detail=f"{reason}. Ask for less at a time, or try again.",
        status=504,
        fault=Fault.GATEWAY,
        retry_after=1.0,
    )


def is_change(method: str, route: str) -> bool:
    """Whether a request changes what is kept. `route` is its template."""
    return method not in LOOKING and (method, route) not in NO_CHANGES


def require_store(away: Mapping[str, str], method: str, route: str) -> None:
    """Refuse (ProblemError, 503) a change while the database is away."""
    if STORE in away and is_change(method, route):
        raise ProblemError(store_away(away[STORE]))


def store_gate(away: Away, settled: Settled) -> Callable[[HTTPConnection], AsyncIterator[None]]:
    """A dependency of the whole app, around each handler: a change is answered when it has been told of."""

    async def gate(connection: HTTPConnection) -> AsyncIterator[None]:
        scope = connection.scope
        if scope["type"] != "http" or not is_change(scope["method"], scope["route"].path):
            yield
            return
        require_store(away(), scope["method"], scope["route"].path)
        yield
        await settled()

    return gate
