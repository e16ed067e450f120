"""Keeps calls from an instance or a server that fails, and finds out when it no longer does.

Closed, it counts calls, failures and slow calls in a sliding window: a ring of ten slots, the oldest of which
is emptied as the newest begins, so that an event counts for nine to ten tenths of the window. Good answers
are not reported one by one, which would be felt on the hot path: whoever reports anything passes the number
of good answers so far, and what it has grown by since the last time are new successes. When too much fails it
opens and lets nothing through; after a while it is half-open and lets a few trials through. When enough of
them are answered it closes with an empty window; when one fails or is slow it opens again, for longer. Calls
from before that are no trials: its owner keeps their failures from it, and says so of their answers.

Only `advance` moves it on as time passes, so its owner calls that about once a second, and after each answer
while it is not closed.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final, Self

from fairlead.core.lifecycle import IllegalTransitionError
from fairlead.model.fleet import CircuitBreaker
from fairlead.model.status import BreakerState

_S = BreakerState

TRANSITIONS: Final[dict[BreakerState, frozenset[BreakerState]]] = {
    _S.CLOSED: frozenset({_S.OPEN, _S.CLOSED}),
    _S.OPEN: frozenset({_S.HALF_OPEN, _S.CLOSED}),
    _S.HALF_OPEN: frozenset({_S.OPEN, _S.CLOSED}),
}
"""Into closed a person may move it from anywhere; by itself it gets there from half-open only."""

SLOTS: Final = 10
LONGEST: Final = 10.0  # times `open_for`


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When a breaker opens and closes. Durations in s, rates as shares of the calls, 0 to 1."""

    enabled: bool
    window: float
    minimum_calls: int
    failure_rate: float
    slow_call: float
    slow_rate: float
    consecutive_failures: int
    open_for: float
    trials: int

    @classmethod
    def of(cls, spec: CircuitBreaker) -> Self:
        return cls(
            enabled=spec.enabled,
            window=spec.window,
            minimum_calls=spec.minimum_calls,
            failure_rate=spec.failure_rate / 100,
            slow_call=spec.slow_call,
            slow_rate=spec.slow_rate / 100,
            consecutive_failures=spec.consecutive_failures,
            open_for=spec.open_for,
            trials=spec.trials,
        )


class Breaker:
    """One breaker. `now` is any clock in s, `answers` the good answers so far; neither ever goes back."""

    __slots__ = (
        "_answers",
        "_in_a_row",
        "_last_failure",
        "_opened_at",
        "_passed",
        "_policy",
        "_relapses",
        "_window",
        "opened_total",
        "reason",
        "state",
    )

    def __init__(self, policy: BreakerPolicy) -> None:
        self.state = BreakerState.CLOSED
        self.opened_total = 0
        self.reason = ""  # why it opened last
        self._policy = policy
        self._window = _Window()
        self._answers = 0  # as last told
        self._in_a_row = 0  # failures without a good answer between
        self._last_failure = ""
        self._opened_at = 0.0
        self._relapses = 0  # trials that failed, in a row
        self._passed = 0  # good answers since it is half-open

    def __repr__(self) -> str:
        calls, failures, slow = self.counts()
        return f"Breaker({self.state}, calls={calls}, failures={failures}, slow={slow}, {self.reason!r})"

    def failed(self, now: float, answers: int, reason: str) -> None:
        """A call failed by a fault of the server. `reason` says how, for a person."""
        self._last_failure = reason
        self._count(now, answers, failures=1)
        if self.state is BreakerState.HALF_OPEN:
            self._relapse(now, f"failed again when it was tried: {reason}")
        elif self.state is BreakerState.CLOSED:
            self._judge(now)
        # While it is open, what fails was sent before that and says nothing new.

    def slow(self, now: float, answers: int, count: int = 1) -> None:
        """`count` calls have become slow: each is told once, answered or not."""
        self._count(now, answers, slow=count)
        if self.state is BreakerState.HALF_OPEN:
            self._relapse(now, "was slow again when it was tried")
        elif self.state is BreakerState.CLOSED:
            self._judge(now)

    def advance(self, now: float, answers: int, *, trial: bool = True) -> bool:
        """Time has passed or answers have come. True when this has changed `state`.

        `trial` is false of answers to calls from before it let trials through: they say nothing of now.
        """
        before = self.state
        self._count(now, answers, trial=trial)
        if before is BreakerState.CLOSED:
            self._judge(now)
        elif before is BreakerState.OPEN:
            if now >= self._opened_at + self._pause():
                self._passed = 0
                self._move(BreakerState.HALF_OPEN)
        elif self._passed >= self._policy.trials:
            self._close()
        return self.state is not before

    @property
    def limit(self) -> int | None:
        """Calls in flight that are allowed; None is any number. Half-open, only those sent since count."""
        if self.state is BreakerState.CLOSED:
            return None
        return 0 if self.state is BreakerState.OPEN else self._policy.trials

    def retry_after(self, now: float) -> float | None:
        """Seconds until it is tried again, while it is open."""
        if self.state is not BreakerState.OPEN:
            return None
        return max(0.0, self._opened_at + self._pause() - now)

    def reset(self, now: float, answers: int) -> None:
        """Close it and forget the past, by order of a person."""
        self._count(now, answers)
        self._close()

    def adopt(self, policy: BreakerPolicy) -> None:
        """Judge by other thresholds from now on. What was counted stays."""
        self._policy = policy
        if not policy.enabled:
            self._move(BreakerState.CLOSED)

    def counts(self) -> tuple[int, int, int]:
        """Calls, failures and slow calls of the window.

        Slow calls that hang have no answer yet, so calls are the answers or the slow ones, if these are more.
        """
        good, failures, slow = self._window.totals
        return max(good + failures, slow), failures, slow

    def _count(
        self, now: float, answers: int, *, failures: int = 0, slow: int = 0, trial: bool = True
    ) -> None:
        good = answers - self._answers
        self._answers = answers
        if good:
            self._in_a_row = 0
            if trial:
                self._passed += good
        self._in_a_row += failures
        self._window.add(now, self._policy.window, good, failures, slow)

    def _judge(self, now: float) -> None:
        """Closed: open if it must."""
        verdict = self._verdict() if self._policy.enabled else None
        if verdict:
            self._relapses = 0
            self._open(now, verdict)

    def _verdict(self) -> str | None:
        policy = self._policy
        if self._in_a_row >= policy.consecutive_failures:
            return f"{self._in_a_row} failures in a row; the last: {self._last_failure}"
        calls, failures, slow = self.counts()
        if calls < policy.minimum_calls:
            return None
        of_calls = f"of {calls} calls within {policy.window:g} s"
        if failures / calls >= policy.failure_rate:
            return f"{failures} {of_calls} failed; the last: {self._last_failure}"
        if slow / calls >= policy.slow_rate:
            return f"{slow} {of_calls} took over {policy.slow_call:g} s"
        return None

    def _pause(self) -> float:
        return self._policy.open_for * min(LONGEST, 2.0 ** min(self._relapses, 4))

    def _relapse(self, now: float, reason: str) -> None:
        """Half-open: the trial has failed."""
        self._relapses += 1
        self._open(now, reason)

    def _open(self, now: float, reason: str) -> None:
        self._move(BreakerState.OPEN)
        self._opened_at = now
        self.opened_total += 1
        self.reason = reason

    def _close(self) -> None:
        self._move(BreakerState.CLOSED)
        self._window.clear()
        self._in_a_row = 0

    def _move(self, target: BreakerState) -> None:
        if target not in TRANSITIONS[self.state]:
            raise IllegalTransitionError(f"a breaker cannot go from {self.state} to {target}")
        self.state = target


class _Window:
    """Sums of the good answers, failures and slow calls of late."""

    __slots__ = ("_newest_ends", "_slots", "totals")

    def __init__(self) -> None:
        self._newest_ends = float("-inf")
        self.clear()

    def clear(self) -> None:
        self.totals = (0, 0, 0)
        self._slots = deque([(0, 0, 0)] * SLOTS)

    def add(self, now: float, length: float, good: int, failures: int, slow: int) -> None:
        """Count in the slot of `now`, after those that are now older than `length` s are forgotten."""
        self._turn(now, length / SLOTS)
        if good or failures or slow:
            self._slots[-1] = _plus(self._slots[-1], good, failures, slow)
            self.totals = _plus(self.totals, good, failures, slow)

    def _turn(self, now: float, slot: float) -> None:
        if now >= self._newest_ends + (SLOTS - 1) * slot:  # all are too old
            self.clear()
            self._newest_ends = now + slot
        while now >= self._newest_ends:
            good, failures, slow = self._slots.popleft()
            self._slots.append((0, 0, 0))
            self.totals = _plus(self.totals, -good, -failures, -slow)
            self._newest_ends += slot


_Sums = tuple[int, int, int]


def _plus(sums: _Sums, good: int, failures: int, slow: int) -> _Sums:
    return sums[0] + good, sums[1] + failures, sums[2] + slow
