"""Which of a server's instances get calls, and which one gets the next.

`pick` is on the hot path. All that it needs is worked out beforehand, whenever something changes: the tuple
of instances in rotation, how many calls each may have in flight, and whether anybody must be told of answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fairlead.core.balance import Balancer, balancer, rotation
from fairlead.core.breaker import Breaker
from fairlead.model.fleet import CallLimits, Strategy
from fairlead.model.status import BreakerState, Standing
from fairlead.orchestrator.instance import MCPServerInstance


class Rotation:
    """The instances that anybody may use, as `refresh` found them last."""

    __slots__ = ("_balancer", "_bound", "_eligible", "_members", "_strategy", "_trials", "panicking")

    def __init__(self, strategy: Strategy) -> None:
        self._strategy = strategy
        self._balancer: Balancer[Any] = balancer(strategy)
        self._members: tuple[MCPServerInstance, ...] = ()  # those that `pick` chooses from
        self._eligible: tuple[MCPServerInstance, ...] = ()  # the same, but also while the server is on trial
        self._trials = False  # some of them have a breaker that is half-open
        self._bound = 0  # of calls in flight over all, where the instances' own bounds do not imply it
        self.panicking = False

    def __repr__(self) -> str:
        return f"<Rotation {self._strategy} of {len(self._eligible)}>"

    def __contains__(self, instance: MCPServerInstance) -> bool:
        return instance in self._eligible

    def __len__(self) -> int:
        return len(self._eligible)

    @property
    def strategy(self) -> Strategy:
        return self._strategy

    def use(self, strategy: Strategy) -> None:
        if strategy is not self._strategy:
            self._strategy, self._balancer = strategy, balancer(strategy)

    def refresh(
        self,
        ready: Sequence[MCPServerInstance],
        limits: CallLimits,
        server: Breaker,
        *,
        panic: float,
    ) -> None:
        """Work out who gets calls among `ready`, the instances that belong to nobody; `panic` is 0..1."""
        alive = [instance.health.standing is not Standing.UNHEALTHY for instance in ready]
        trusted = [
            instance.health.standing is Standing.HEALTHY and instance.breaker.limit != 0 for instance in ready
        ]
        chosen, self.panicking = rotation(alive, trusted, panic)
        self._eligible = tuple(ready[index] for index in chosen)
        self._members = self._eligible if server.state is BreakerState.CLOSED else ()
        self._trials = any(i.breaker.state is BreakerState.HALF_OPEN for i in self._eligible)
        for instance in self._eligible:
            instance.limit = limits.calls_per_instance
        implied = len(self._eligible) * limits.calls_per_instance
        self._bound = limits.calls if implied > limits.calls else 0

    def pick(self) -> MCPServerInstance | None:
        """The instance for the next call, or None when none has room."""
        members = self._members
        if not members or (self._bound and self._full()):
            return None
        instance: MCPServerInstance = members[0] if len(members) == 1 else self._balancer.pick(members)
        room = instance.room if self._trials else instance.limit - instance.in_flight
        if room > 0 and instance.writable:
            return instance
        return self._with_room(members)

    def pick_healthy(self) -> MCPServerInstance | None:
        """One that is not even suspect, though all may get calls."""
        if self._full():
            return None
        healthy = [i for i in self._members if i.health.standing is Standing.HEALTHY]
        return self._with_room(healthy)

    def first(self) -> MCPServerInstance | None:
        """The least loaded one: to lease, or for a call that shows whether the server works again."""
        return None if self._full() else self._with_room(self._eligible)

    def _full(self) -> bool:
        return bool(self._bound) and self._in_flight() >= self._bound

    def _in_flight(self) -> int:
        return sum(instance.in_flight for instance in self._eligible)

    def _with_room(self, members: Sequence[MCPServerInstance]) -> MCPServerInstance | None:
        """The one with the fewest calls among those that may have more and read what they are sent."""
        free = [i for i in members if i.room > 0 and not i.overloaded]
        return min(free, key=lambda instance: (not instance.writable, instance.in_flight), default=None)

    def room(self) -> int:
        """How many more calls the instances may take now."""
        room = sum(max(0, instance.room) for instance in self._members)
        return min(room, max(0, self._bound - self._in_flight())) if self._bound else room
