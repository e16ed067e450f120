"""Whether it is worth waiting for an instance, and what those are told who wait in vain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.model.fleet import Sharing
from fairlead.model.status import BreakerState, ServerState

if TYPE_CHECKING:
    from fairlead.orchestrator.pool import ServerPool


def require_hope(pool: ServerPool, key: str, now: float, until: float, *, may_try: bool = False) -> None:
    """Raise ProblemError unless a turn of the session `key` may still come until then; loop time.

    `may_try`: it may wait for an instance while the server is on trial.
    """
    state, keeper = pool.state, pool.keeper
    if not keeper.wanted or state in (ServerState.BLOCKED, ServerState.DISABLED):
        raise unavailable(pool, "not-running", f"is {state}: {pool.shown.message}")
    if state is ServerState.FAILED and not keeper.holds(now, until):
        retry = max(1.0, keeper.not_before - now)
        raise unavailable(pool, "failed", f"cannot start: {pool.shown.message}", retry=retry)
    breaker, leases = pool.breaker, pool.members.leases
    if key in leases and breaker.state is BreakerState.CLOSED:
        breaker = leases[key].instance.breaker
    tries = may_try and breaker.state is BreakerState.HALF_OPEN and pool.circuits.lets_through
    if breaker.state is not BreakerState.CLOSED and not tries:
        retry = breaker.retry_after(now) or 1.0
        what = f"gets no calls for a while, since too many failed ({breaker.reason})"
        raise unavailable(pool, "circuit-open", what, retry=retry)
    stateful = pool.spec.sharing is Sharing.SESSION
    if stateful and key not in leases and len(leases) >= pool.spec.scaling.max_instances:
        raise unavailable(
            pool,
            "no-free-instance",
            f"holds state for each session, and all of its {len(leases)} instances belong to others; end a "
            "session, or raise scaling.maxInstances",
            retry=30.0,
        )


def require_place(pool: ServerPool, waiting: int) -> None:
    """Raise ProblemError when so many wait already that nobody else may."""
    if waiting >= pool.spec.limits.waiting:
        what = f"has {waiting} calls waiting, which is the limit (limits.waiting)"
        raise unavailable(pool, "too-many-waiting", what, retry=2.0, status=429)


def unavailable(
    pool: ServerPool, code: str, what: str, retry: float | None = None, *, status: int = 503
) -> ProblemError:
    """The error that says that a server does or is `what`; `retry` is when it may help to try again, s."""
    detail = f"server {pool.spec.id!r} {what}"
    return ProblemError(Problem(code, "The server is not available", detail, status, Fault.UPSTREAM, retry))
