"""GCRA, the generic cell rate algorithm: a token bucket that is one number; alone, or shared by processes.

The number is the theoretical arrival time: when the next request would come if all came evenly spaced. A
request may be early by the burst, no more. How far the arrival lies ahead of now is the *backlog*, in
seconds: 0 when the whole burst is free, the *capacity* (burst times interval) when nothing is.

Several processes share a bucket by way of a centre that all can reach, which has the true arrival and no
other state (`settled`). About ten times a second each process tells it how many requests it admitted since it
told the last time, and hears the backlog, and how many processes use the bucket now (`told`). In between it
decides alone: it takes the backlog as its own, and its *share* of whatever is free or comes in. What one
leaves is there for all again at the next telling, so that one process alone gets everything, and two never
more than there is, but for what was admitted in between on old news; that is owed, and stays in the backlog
until it is paid. A process that has heard nothing of a bucket yet, or cannot reach the centre, has the share
of one among all processes, whether they use the bucket or not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_ROUNDING: Final = 1e-6  # s; a wait this short is only the rounding of `now`
RECENT: Final = 2.0  # s for which a process counts as a user of a bucket after it was asked for it
MOST_OWED: Final = 60.0  # s of requests beyond the burst; more is forgiven, whatever clocks and processes do


@dataclass(frozen=True, slots=True)
class Rate:
    """So many requests in a minute, and up to `burst` (1 or more) at once after a pause."""

    per_minute: float
    burst: int

    def __post_init__(self) -> None:
        if not 0 < self.per_minute < float("inf") or self.burst < 1:
            msg = f"a rate must be over 0 and a burst at least 1, not {self.per_minute} and {self.burst}"
            raise ValueError(msg)

    @property
    def interval(self) -> float:
        """Seconds from one request to the next at the even rate."""
        return 60.0 / self.per_minute

    @property
    def capacity(self) -> float:
        """Seconds of requests at the even rate that may come at once."""
        return self.interval * self.burst


@dataclass(frozen=True, slots=True)
class Use:
    """What a process tells the centre of one bucket: it admitted `spent` requests in the last `seconds`."""

    rate: Rate
    spent: int
    seconds: float


class Gcra:
    """One bucket. `now` is any clock in seconds, the same for all calls of one object.

    What it admits must be admitted by the bucket `above` as well, where it has one.
    """

    __slots__ = (
        "_arrival", "_early", "_interval", "_since", "_spent", "_used",
        "above", "asked", "fresh", "rate", "taken",
    )  # fmt: skip

    def __init__(self, rate: Rate, *, share: float = 1.0) -> None:
        self.rate = rate
        self.above: Gcra | None = None
        self.taken = 0  # requests that were admitted
        self.asked = 0  # and that were refused
        self.fresh = True  # others may have begun to use it at the same time, and not told of it yet
        self._arrival = float("-inf")
        self._spent = 0  # of `taken`, what the centre knows of
        self._since: float | None = None  # from when on it does not
        self._used = float("-inf")  # when there was something to tell last
        self.set_share(share)

    def __repr__(self) -> str:
        return f"Gcra(interval={self._interval:g}, early={self._early:g}, arrival={self._arrival:g})"

    def admit(self, now: float) -> float:
        """0.0 when the request is admitted, else the seconds after which it would be."""
        arrival = self._arrival
        wait = arrival - now - self._early
        if wait > _ROUNDING:
            self.asked += 1
            return wait
        if self.above is not None and (wait := self.above.admit(now)) > 0.0:
            return wait
        self._arrival = (arrival if arrival > now else now) + self._interval  # noqa: FURB136 - no call here
        self.taken += 1
        return 0.0

    @property
    def held(self) -> bool:
        """Whether it is in use though no request comes."""
        return False

    def owes(self, now: float) -> bool:
        """Whether any of the burst is used up."""
        return self._arrival > now

    def change(self, rate: Rate) -> None:
        """Another rate from now on; what is used up of the burst stays so, in seconds."""
        share = self.rate.interval / self._interval
        self.rate = rate
        self.set_share(share)

    # -- shared by processes -----------------------------------------------------------------------------

    def set_share(self, share: float) -> None:
        """Admit this part (0 < `share` <= 1) of what the rate allows."""
        self._interval = self.rate.interval / share
        self._early = max(0.0, self.rate.capacity - self._interval)

    def use(self, now: float) -> Use | None:
        """What there is to tell the centre, be it nothing new; None when nobody came for a while."""
        if self.taken > self._spent or self.asked or self.held:
            self._used = now
        elif now >= self._used + RECENT:
            self._since, self.fresh = now, True
            return None
        if self._since is None:
            self._since = now
        return Use(self.rate, self.taken - self._spent, now - self._since)

    def told(self, use: Use, backlog: float, share: float, now: float) -> None:
        """The centre's answer to `use`: the backlog, s, in which that is counted."""
        self._spent += use.spent
        self.set_share(share)
        arrival = now + backlog + (self.taken - self._spent) * self._interval
        # What is free may be so only because others have not told yet that they began.
        self._arrival = max(arrival, self._arrival) if self.fresh else arrival
        self._since, self.asked, self.fresh = now, 0, False


def settled(arrival: float, use: Use, now: float) -> float:
    """The arrival at the centre after a process has told its use; both in seconds of the centre's clock."""
    arrival = max(arrival, now - use.seconds) + use.spent * use.rate.interval
    return min(arrival, now + use.rate.capacity + MOST_OWED)
