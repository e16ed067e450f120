"""While the database is away nothing is changed: what was changed could not be kept, nor told.

MCP goes on, and so does all reading. What only asks the servers something is no change.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from starlette.requests import HTTPConnection

from fairlead.model.errors import Fault, Problem, ProblemError

STORE: Final = "store"
LOOKING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
NO_CHANGES: Final = frozenset({("POST", "/api/request"), ("POST", "/api/health/check")})
"""Methods and route templates that change nothing that is kept."""

Away = Callable[[], Mapping[str, str]]
"""What the service needs and has not, and why; see `events.standing`."""


def store_away(reason: str) -> Problem:
    """The answer to a change, for now."""
    return Problem(
        code="store-unavailable",
        title="Nothing can be changed just now",
        detail=f"The database is away: {reason}. What was asked for may not have been done; it is safe to ask "
        "again. MCP calls and reading go on.",
        status=503,
        fault=Fault.GATEWAY,
        retry_after=1.0,
    )


def require_store(away: Mapping[str, str], method: str, route: str) -> None:
    """Refuse (ProblemError, 503) a change while the database is away. `route` is its template."""
    if method not in LOOKING and (method, route) not in NO_CHANGES and STORE in away:
        raise ProblemError(store_away(away[STORE]))


def store_gate(away: Away) -> Callable[[HTTPConnection], Awaitable[None]]:
    """A dependency of the whole app."""

    async def gate(connection: HTTPConnection) -> None:
        scope = connection.scope
        if scope["type"] == "http":
            require_store(away(), scope["method"], scope["route"].path)

    return gate
