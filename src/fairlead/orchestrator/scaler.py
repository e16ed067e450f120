"""Scaler: works out how many instances each pool should have, and tells the pool.

It is level-based: the pool is told at every tick, since it changes its aim by itself, too: a call wakes it, a
person stops and starts it, its spec is edited.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol
from weakref import WeakKeyDictionary

from fairlead.core.autoscale import Load, ScalePolicy, ScaleState, scale
from fairlead.model.fleet import ServerSpec, Sharing


class ScaledPool(Protocol):
    """What the scaler needs of a `ServerPool`."""

    @property
    def spec(self) -> ServerSpec: ...

    def load(self, now: float) -> Load: ...

    def scale_to(self, count: int, reason: str) -> None:
        """Aim at so many instances; nothing happens when it does already.

        Of a `sharing: session` server these are the ones that no session has yet; it keeps all of them
        together within `maxInstances`. `reason` is why the count changed last, for a person.
        """
        ...


class Scaler:
    """Scales all pools; each is looked at about once a second."""

    def __init__(self, pools: Callable[[], Iterable[ScaledPool]]) -> None:
        self._pools = pools
        self._states: WeakKeyDictionary[ScaledPool, ScaleState] = WeakKeyDictionary()

    def __repr__(self) -> str:
        wanted = ", ".join(f"{pool.spec.id}={state.wanted}" for pool, state in self._states.items())
        return f"<Scaler {wanted}>"

    def tick(self, now: float) -> None:
        """Look at all pools. `now` is loop time."""
        for pool in self._pools():
            self.look_at(pool, now)

    def look_at(self, pool: ScaledPool, now: float) -> None:
        """Look at a pool's load, and scale it if need be."""
        policy = _policy(pool.spec)
        before = self._states.get(pool) or ScaleState.initial(policy, now)
        state = self._states[pool] = scale(pool.load(now), before, policy, now)
        pool.scale_to(state.wanted, state.reason)


def _policy(spec: ServerSpec) -> ScalePolicy:
    return ScalePolicy.of(
        spec.scaling,
        calls_per_instance=spec.limits.calls_per_instance,
        per_session=spec.sharing is Sharing.SESSION,
    )
