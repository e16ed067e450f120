"""How many instances a server should have.

What is needed follows from the calls (in flight and waiting, at `target_calls` for each instance), from the
CPU (the sum of what the instances use, at `target_cpu` each) and from calls that wait too long. More is
wanted at once, with a pause of `UP_COOLDOWN` after each change. Less is wanted only when less would do even
at `SLACK` of the targets, for `down_after` without a break, and then as many as the most that was needed in
that time. The band between the two is the hysteresis: at `SLACK` of the targets a load never needs fewer
instances than at the targets themselves, so a constant load comes to rest.

Instances that belong to sessions are not counted in what is wanted. A server of that kind keeps spare ones,
as many as there are sessions that wait for one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil
from typing import Final

from fairlead.model.fleet import Scaling

UP_COOLDOWN: Final = 3.0  # s between two changes, the second of which is upwards
LONG_WAIT: Final = 1.0  # s; a call that waits longer needs another instance
SLACK: Final = 0.7  # share of the targets below which an instance is too many


@dataclass(frozen=True, slots=True)
class ScalePolicy:
    """Bounds and targets. Times are in seconds."""

    enabled: bool
    minimum: int  # 0: it may go idle
    maximum: int
    target_calls: int  # of one instance, in flight
    target_cpu: float  # of one instance, as a share of its `resources.cpu`
    down_after: float
    idle_after: float
    per_session: bool = False  # `sharing: session`: each caller has an instance of its own

    @classmethod
    def of(cls, spec: Scaling, *, calls_per_instance: int = 1000, per_session: bool = False) -> ScalePolicy:
        """`calls_per_instance` is the bound on calls in flight: a target above it would never be met."""
        return cls(
            enabled=spec.enabled,
            minimum=spec.min_instances,
            maximum=spec.max_instances,
            target_calls=min(spec.target_calls_in_flight, calls_per_instance),
            target_cpu=spec.target_cpu_utilization / 100,
            down_after=spec.scale_down_after,
            idle_after=spec.idle_after,
            per_session=per_session,
        )

    @property
    def floor(self) -> int:
        """The least that a server has which is not idle."""
        return max(1, self.minimum)


@dataclass(frozen=True, slots=True)
class Load:
    """What there is and what it has to do, now."""

    instances: int  # ready or coming
    in_flight: int  # calls
    waiting: int  # calls, or sessions, that wait for an instance
    longest_wait: float  # s
    cpu: float | None  # mean share of `resources.cpu` that the ready ones use; None: not known
    leased: int  # instances that belong to sessions
    last_call: float  # loop time, s; before the first call, when it was started
    coming: int = 0  # of `instances`: not ready yet

    def quiet(self, policy: ScalePolicy, now: float) -> bool:
        """Whether the server may go idle, or stay so."""
        busy = self.in_flight or self.waiting or self.leased
        return policy.minimum == 0 and not busy and now - self.last_call >= policy.idle_after


@dataclass(frozen=True, slots=True)
class ScaleState:
    """How many are wanted and, for a person, why. Times are loop time in seconds."""

    wanted: int
    changed_at: float
    low_since: float | None = None  # since when less would do
    reason: str = ""
    low_peak: int = 0  # the most that was needed since then

    @classmethod
    def initial(cls, policy: ScalePolicy, now: float) -> ScaleState:
        """One first start even where the minimum is 0: it shows what the server offers."""
        return cls(policy.floor, now)


def scale(load: Load, state: ScaleState, policy: ScalePolicy, now: float) -> ScaleState:
    """What is wanted from now on; to be called about once a second."""
    wanted, floor = state.wanted, policy.floor
    if load.quiet(policy, now):
        if wanted == 0:
            return state
        if load.instances > load.coming:  # it has been up
            return ScaleState(0, now, reason=f"no call for {policy.idle_after:g} s")
    elif wanted == 0:
        return ScaleState(floor, now, reason="a call came" if policy.minimum == 0 else _bound("min", floor))
    if not policy.enabled:
        return state if wanted == floor else ScaleState(floor, now, reason="scaling is off")
    if wanted < floor:
        return ScaleState(floor, now, reason=_bound("min", floor))
    if wanted > policy.maximum:
        return ScaleState(policy.maximum, now, reason=_bound("max", policy.maximum))
    needed, why = _needed(load, wanted, policy, share=1.0)
    if needed > wanted:
        cool = now - state.changed_at >= UP_COOLDOWN
        return ScaleState(needed, now, reason=why) if cool else replace(state, low_since=None)
    return _lower(state, _needed(load, wanted, policy, share=SLACK)[0], policy, now)


def _needed(load: Load, wanted: int, policy: ScalePolicy, *, share: float) -> tuple[int, str]:
    """How many the load needs at `share` of the targets, within the bounds, and why."""
    calls = load.waiting if policy.per_session else load.in_flight + load.waiting
    target = 1 if policy.per_session else policy.target_calls * share
    needs = [(ceil(calls / target), f"{calls} {'waiting' if policy.per_session else 'calls at a time'}")]
    if load.cpu is not None and calls and not policy.per_session:
        used = load.cpu * (load.instances - load.coming)
        needs.append((ceil(used / (policy.target_cpu * share)), f"CPU at {load.cpu:.0%}"))
    if load.waiting and load.longest_wait > LONG_WAIT:
        # Another one helps only where all that were wanted are there.
        more = load.instances >= wanted and not load.coming and not policy.per_session
        needs.append((wanted + more, f"a call waits for {load.longest_wait:.1f} s"))
    needed, why = max(needs)
    return min(max(needed, policy.floor), policy.maximum), why


def _lower(state: ScaleState, needed: int, policy: ScalePolicy, now: float) -> ScaleState:
    """Less is wanted when less would have done for long enough."""
    if needed >= state.wanted:
        return state if state.low_since is None else replace(state, low_since=None)
    if state.low_since is None:
        return replace(state, low_since=now, low_peak=needed)
    peak = max(state.low_peak, needed)
    if now - state.low_since >= policy.down_after:
        return ScaleState(peak, now, reason=f"less is needed for {policy.down_after:g} s")
    return replace(state, low_peak=peak)


def _bound(which: str, value: int) -> str:
    return f"{which}Instances is {value}"
