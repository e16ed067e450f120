"""Calls that any instance will do for, or their session's own one: who gets which, and who waits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fairlead.model.fleet import Sharing
from fairlead.model.status import BreakerState
from fairlead.orchestrator.exclusive import PATIENCE
from fairlead.orchestrator.hope import require_hope, require_place, unavailable
from fairlead.orchestrator.instance import MCPServerInstance
from fairlead.orchestrator.members import Lease, is_hung
from fairlead.orchestrator.waiting import WaitingRoom

if TYPE_CHECKING:
    from fairlead.orchestrator.pool import ServerPool


class Turns:
    """Of one pool."""

    def __init__(self, pool: ServerPool) -> None:
        self.waiting = WaitingRoom()
        self._choosy = WaitingRoom()  # who wants a healthy instance; others need not wait behind them
        self._pool = pool
        self._leases = pool.members.leases
        self._loop = asyncio.get_running_loop()

    def __repr__(self) -> str:
        return f"<Turns {self.waiting} choosy={self._choosy}>"

    @property
    def _stateful(self) -> bool:
        return self._pool.spec.sharing is Sharing.SESSION

    def pick_own(self, key: str) -> MCPServerInstance | None:
        """A session's own instance for a call of it, if it may have one now."""
        lease = self._leases.get(key)
        if lease is None or self._pool.breaker.state is not BreakerState.CLOSED:
            return None
        lease.used = self._loop.time()
        return self._if_room(lease.instance)

    async def take(
        self,
        key: str,
        *,
        timeout: float,  # noqa: ASYNC109
        until: float,
        healthy: bool,
    ) -> MCPServerInstance:
        """An instance, in turn, before `until` (loop time). Raises ProblemError."""
        pool = self._pool
        room = self._choosy if healthy else self.waiting
        since = now = self._loop.time()
        behind = bool(self.waiting.queue) and key not in self._leases  # who has one waits for nobody's
        instance = None if behind else self._find(key, now, healthy=healthy)
        number: int | None = None  # in the queue
        while instance is None:
            pool.wake_up(now)
            require_hope(pool, key, now, until)
            if number is None:
                require_place(pool, len(room) + room.called)  # who was called keeps the place until served
                number = room.number()
            for member in pool.members:
                member.watched = True  # each answer may make room
            try:
                await room.wait(until, since=since, number=number)
            except TimeoutError:
                what = f"was not ready within {timeout:g} s"
                raise unavailable(pool, "not-ready", what, retry=1.0) from None
            now = self._loop.time()
            self._make_way(key, now)
            instance = self._find(key, now, healthy=healthy)
        return instance

    def _make_way(self, key: str, now: float) -> None:
        """A call that waits for its client keeps a principal's instance only for so long from others."""
        lease = self._leases.get(key)
        since = None if lease is None else lease.instance.parked_since
        if lease is not None and since is not None and since + PATIENCE <= now:
            self._pool.give_way(lease.instance)

    def _find(self, key: str, now: float, *, healthy: bool) -> MCPServerInstance | None:
        pool = self._pool
        if not pool.circuits.lets_through:
            return None
        if healthy:
            return pool.rotation.pick_healthy()
        if self._stateful:
            if pool.members.in_flight >= pool.spec.limits.calls:
                return None
            lease = self._leases.get(key)
            if lease is None:
                return self._lease(key)
            lease.used = now
            return self._if_room(lease.instance)
        return pool.rotation.first() if pool.breaker.limit else pool.rotation.pick()

    def _if_room(self, instance: MCPServerInstance) -> MCPServerInstance | None:
        """A session's own instance; its calls wait while it or the server is full, or it looks hung."""
        if is_hung(instance) or instance.breaker.limit == 0 or instance.room <= 0:
            return None
        limits = self._pool.spec.limits
        many = len(self._leases) * limits.calls_per_instance > limits.calls
        return None if many and self._pool.members.in_flight >= limits.calls else instance

    def _lease(self, key: str) -> MCPServerInstance | None:
        instance = self._pool.rotation.first()
        if instance is None or len(self._leases) >= self._pool.spec.scaling.max_instances:
            return None
        self.lease(key, instance)
        return instance

    def lease(self, key: str, instance: MCPServerInstance) -> None:
        """From now on it is this session's own."""
        instance.leased_to = key
        self._leases[key] = Lease(instance, self._loop.time())
        self._pool.rule(instance)
        self._pool.refresh()
        self._pool.keeper.wake()

    def unused(self, before: float) -> list[str]:
        """Principals that have used their instance last before `before` (loop time), and need it no more."""
        now = self._loop.time()
        return [
            key
            for key, lease in self._leases.items()
            if key.startswith("principal:") and lease.used < before
            if not (lease.instance.in_flight or lease.instance.has_tasks(now) or self._pool.watch.wants(key))
        ]

    def call(self) -> None:
        """Let as many try again as there is room for."""
        waiting = self.waiting
        waiting.call(len(waiting) if self._stateful else self._pool.rotation.room() - waiting.called)
        self._choosy.call_all()

    def call_all(self) -> None:
        """Let everybody look again whether there is hope."""
        self.waiting.call_all()
        self._choosy.call_all()
