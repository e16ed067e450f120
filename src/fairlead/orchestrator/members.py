"""The instances that a pool has, and whose they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from fairlead.core.lifecycle import InstanceState
from fairlead.model.status import BreakerState, Standing
from fairlead.orchestrator.instance import MCPServerInstance, PoolKey

SAMPLE_EVERY: Final = 2.0  # s, between looks at how busy the instances are


@dataclass(slots=True)
class Lease:
    """A session's own instance. `used` is loop time in seconds."""

    instance: MCPServerInstance
    used: float


class Members:
    """All instances that were ready once and have not ended, of the present version or an older one."""

    def __init__(self, key: PoolKey) -> None:
        self._key = key
        self.leases: dict[str, Lease] = {}
        self.last: MCPServerInstance | None = None  # that came up
        self._all: list[MCPServerInstance] = []
        self._answers_before = 0  # good ones, of instances that do not count any more
        self._calls_gone = 0
        self._sampled_at = float("-inf")

    def __repr__(self) -> str:
        return f"<Members {self._all} leases={len(self.leases)}>"

    def __iter__(self) -> Iterator[MCPServerInstance]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def __contains__(self, instance: MCPServerInstance) -> bool:
        return instance in self._all

    @property
    def key(self) -> PoolKey:
        """Of the present version."""
        return self._key

    @key.setter
    def key(self, key: PoolKey) -> None:
        answers = self.answers
        self._key = key
        self._answers_before += answers - self.answers  # the count goes on from there

    def add(self, instance: MCPServerInstance) -> None:
        self._all.append(instance)
        if not instance.exclusive:
            self.last = instance

    def remove(self, instance: MCPServerInstance) -> None:
        """It has ended; its numbers stay."""
        self._all.remove(instance)
        self._answers_before += instance.answers if instance.key.same_version(self._key) else 0
        self._calls_gone += instance.calls_total
        self.unlease(instance)

    def unlease(self, instance: MCPServerInstance) -> None:
        """It belongs to no session any more."""
        key, instance.leased_to = instance.leased_to, None
        if key is not None and (lease := self.leases.get(key)) is not None and lease.instance is instance:
            del self.leases[key]

    def drain(self, instance: MCPServerInstance) -> None:
        """It takes no new calls, whoever's it was."""
        self.unlease(instance)
        if instance.state is InstanceState.READY:
            instance.drain()

    def ready(self) -> list[MCPServerInstance]:
        """Those of the present version that take calls, hung ones among them; not the exclusive ones."""
        return [i for i in self.present() if not i.exclusive]

    def present(self) -> list[MCPServerInstance]:
        """The same with the exclusive ones."""
        return [i for i in self._all if i.state is InstanceState.READY and i.key.same_version(self._key)]

    def free(self) -> list[MCPServerInstance]:
        """Those of the ready ones that belong to nobody."""
        return [i for i in self.ready() if i.leased_to is None]

    def staying(self) -> list[MCPServerInstance]:
        """The free ones that may get calls: those that retire only while no other one is sound."""
        free = self.free()
        staying = [i for i in free if not i.retiring]
        return staying if any(map(_is_sound, staying)) else free

    def leaving(self) -> list[MCPServerInstance]:
        """Those that end when their calls have."""
        return [i for i in self._all if i.state is InstanceState.DRAINING or is_hung(i)]

    @property
    def in_flight(self) -> int:
        return sum(instance.in_flight for instance in self._all)

    @property
    def calls_in_flight(self) -> int:
        return sum(instance.calls_in_flight for instance in self._all)

    @property
    def answers(self) -> int:
        """Good answers so far; only grows. What an older version still answers does not count."""
        return self._answers_before + sum(i.answers for i in self._all if i.key.same_version(self._key))

    @property
    def calls_total(self) -> int:
        """Calls so far; only grows."""
        return self._calls_gone + sum(instance.calls_total for instance in self._all)

    @property
    def pressure(self) -> float:
        """Mean of the instances', as last sampled."""
        return sum(i.pressure for i in self._all) / len(self._all) if self._all else 0.0

    def sample(self, now: float, cores: float) -> None:
        """Look now and then how busy the instances are; each may use so many `cores`. `now` is loop time."""
        if now - self._sampled_at >= SAMPLE_EVERY:
            for instance in self._all:
                instance.sample(now - self._sampled_at, cores)
            self._sampled_at = now


def is_hung(instance: MCPServerInstance) -> bool:
    return instance.health.standing is Standing.UNHEALTHY


def _is_sound(instance: MCPServerInstance) -> bool:
    return instance.health.standing is Standing.HEALTHY and instance.breaker.state is BreakerState.CLOSED
