"""A pool as REST and the command line show it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fairlead.core.breaker import Breaker
from fairlead.model.fleet import ServerSpec
from fairlead.model.reports import BreakerScope, BreakerStatus, Member, ServerBalance
from fairlead.model.status import Condition, ServerStatus

if TYPE_CHECKING:
    from fairlead.orchestrator.instance import MCPServerInstance
    from fairlead.orchestrator.pool import ServerPool


def status_of(pool: ServerPool) -> ServerStatus:
    """State, conditions and instances, those that are still coming included."""
    spec, last = pool.spec, pool.members.last
    server = last.negotiated.server if last is not None and last.negotiated is not None else {}
    items = pool.catalogue.items
    return ServerStatus(
        id=spec.id,
        state=pool.state,
        message=pool.shown.message,
        conditions=[
            *(pool.shown.ready, pool.shown.complete, pool.shown.circuit, pool.contracts.condition),
            *_sandboxed(spec, last),
        ],
        instances=[i.status(in_rotation=pool.gives_calls_to(i)) for i in pool.known_instances()],
        source=spec.source,
        sharing=spec.sharing.value,
        capabilities=list(spec.capabilities),
        weight=spec.weight,
        tools=len(items("tools")),
        resources=len(items("resources")),
        prompts=len(items("prompts")),
        restarts=pool.restarts,
        strategy=pool.rotation.strategy,
        breaker=pool.breaker.state,
        panicking=pool.rotation.panicking,
        wanted_instances=pool.keeper.target if pool.keeper.wanted else 0,
        min_instances=spec.scaling.min_instances,
        max_instances=spec.scaling.max_instances,
        calls_waiting=pool.calls_waiting,
        contract_changes=pool.contracts.changes,
        revision=pool.members.key.environment,
        server_name=_text(server.get("name")),
        server_version=_text(server.get("version")),
    )


def _sandboxed(spec: ServerSpec, last: MCPServerInstance | None) -> Iterator[Condition]:
    """How the latest instance is held, since it started; nothing of a server that runs elsewhere."""
    if last is None or spec.url is not None:
        return
    held, since = last.confinement, last.started_at or 0.0
    if held is None:
        status, reason = False, "Off"
        message = "`security.sandbox` is off: it may do what the user may who started Fairlead"
    else:
        status, reason = not held.missing, "Partly" if held.missing else "Enforced"
        message = "; ".join(held.missing) or f"by {held.by}"
    yield Condition(type="Sandboxed", status=status, reason=reason, message=message, since=since)


def balance_of(pool: ServerPool) -> ServerBalance:
    """How calls are spread over the instances now."""
    return ServerBalance(
        id=pool.spec.id,
        strategy=pool.rotation.strategy,
        weight=pool.spec.weight,
        panicking=pool.rotation.panicking,
        calls_waiting=pool.calls_waiting,
        instances=[
            Member(
                id=instance.id,
                weight=instance.weight,
                in_rotation=pool.gives_calls_to(instance),
                calls_in_flight=instance.calls_in_flight,
                limit=instance.limit,
                pressure=instance.pressure,
                calls_total=instance.calls_total,
            )
            for instance in pool.members
        ],
    )


def breakers_of(pool: ServerPool, now: float) -> list[BreakerStatus]:
    """The server's own breaker, then those of its instances. `now` is loop time."""
    server = pool.spec.id
    return [
        _breaker(server, BreakerScope.SERVER, server, pool.breaker, now),
        *(_breaker(i.id, BreakerScope.INSTANCE, server, i.breaker, now) for i in pool.members.present()),
    ]


def _breaker(
    breaker_id: str, scope: BreakerScope, server: str, breaker: Breaker, now: float
) -> BreakerStatus:
    calls, failures, slow = breaker.counts()
    return BreakerStatus(
        id=breaker_id,
        scope=scope,
        server=server,
        state=breaker.state,
        calls=calls,
        failures=failures,
        slow=slow,
        opened_total=breaker.opened_total,
        retry_after=breaker.retry_after(now),
        reason=breaker.reason,
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
