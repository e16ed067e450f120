"""Which candidate gets the next call, and which candidates there are at all.

`pick` runs for every call, so it reads each candidate once, keeps to local variables and allocates nothing
that lasts. The balancers that compare loads take equals in turn: among the least loaded, the first one after
that which was picked last, in the order given; `seen` says that the scan has passed the last one. All keep
their place between calls, so each group of candidates needs a balancer of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol, TypeVar

from fairlead.model.fleet import Strategy


class Candidate(Protocol):
    """An instance, or a whole server."""

    @property
    def in_flight(self) -> int:
        """Calls in flight now."""
        ...

    @property
    def weight(self) -> float:
        """0 or more."""
        ...

    @property
    def pressure(self) -> float:
        """0 is idle, 1 is all of its CPU or memory (it may be more), as last sampled."""
        ...


C = TypeVar("C", bound=Candidate)


class Balancer(Protocol[C]):
    def pick(self, candidates: Sequence[C]) -> C:
        """One of `candidates`, which are never none; they may be others at each call."""
        ...


class RoundRobin:
    """Each in turn: of any n picks in a row from a fixed set of k, each gets n/k, rounded up or down."""

    __slots__ = ("_next",)

    def __init__(self) -> None:
        self._next = 0

    def __repr__(self) -> str:
        return f"RoundRobin(next={self._next})"

    def pick(self, candidates: Sequence[C]) -> C:
        at = self._next
        if at >= len(candidates):
            at = 0
        self._next = at + 1
        return candidates[at]


class LeastConnections:
    """The fewest calls in flight: never one that has more of them than another.

    While they stay as they are, of any n picks in a row from a fixed set each of the m that have the fewest
    gets n/m, rounded up or down.
    """

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: Candidate | None = None

    def __repr__(self) -> str:
        return f"LeastConnections(last={self._last!r})"

    def pick(self, candidates: Sequence[C]) -> C:
        last = self._last
        chosen = candidates[0]
        least = _INFINITE
        seen = False
        for candidate in candidates:
            load = candidate.in_flight
            if load < least or (seen and load == least):
                least = load
                chosen = candidate
                seen = False
            if candidate is last:
                seen = True
        self._last = chosen
        return chosen


class ResourceBased:
    """The least cost, which is (calls in flight + 1) * (1 + pressure): what a further call would make of it.

    From idle and while calls only come, each one's calls times (1 + pressure) are at most every other's cost:
    calls are shared in inverse proportion to 1 + pressure, to within one call. While costs stay as they are,
    of any n picks in a row from a fixed set each of the m that cost least gets n/m, rounded up or down.
    """

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: Candidate | None = None

    def __repr__(self) -> str:
        return f"ResourceBased(last={self._last!r})"

    def pick(self, candidates: Sequence[C]) -> C:
        last = self._last
        chosen = candidates[0]
        least = _INFINITE
        seen = False
        for candidate in candidates:
            cost = (candidate.in_flight + 1) * (1.0 + candidate.pressure)
            if cost < least or (seen and cost == least):
                least = cost
                chosen = candidate
                seen = False
            if candidate is last:
                seen = True
        self._last = chosen
        return chosen


class Weighted:
    """Smooth weighted round robin, as nginx has it.

    Over n picks from a fixed set of k > 1 with positive weights w that sum to W, each gets more than
    n*w/W - (k-1) and less than n*w/W + 1. A weight of 0 gets nothing while another is positive; when all are
    0 they take turns.

    A candidate's credit is what it is owed, in calls: each pick gives it its share of one call, and takes one
    whole call from the one with the most. Because credit is not in units of weight, it keeps its meaning when
    weights change. When the set changes, those who stay keep their credit and newcomers start with none.
    """

    __slots__ = ("_credit", "_equals", "_members")

    def __init__(self) -> None:
        self._members: Sequence[Candidate] = ()
        self._credit: list[float] = []
        self._equals = RoundRobin()

    def __repr__(self) -> str:
        return f"Weighted(credit={[round(credit, 3) for credit in self._credit]})"

    def pick(self, candidates: Sequence[C]) -> C:
        if candidates != self._members:
            self._carry_over(candidates)
        total = 0.0
        for candidate in candidates:
            total += candidate.weight
        if not total:
            return self._equals.pick(candidates)
        credit = self._credit
        most = -_INFINITE
        chosen = index = 0
        for candidate in candidates:
            weight = candidate.weight
            if weight:
                credit[index] = owed = credit[index] + weight / total
                if owed > most + 1e-9:  # less is only rounding: equals keep their order
                    most = owed
                    chosen = index
            index += 1  # noqa: SIM113 - enumerate makes a pick of two 15 % slower
        credit[chosen] -= 1.0
        return candidates[chosen]

    def _carry_over(self, candidates: Sequence[Candidate]) -> None:
        # The old members are held until here, so an id is nobody else's.
        known = dict(zip(map(id, self._members), self._credit, strict=True))
        self._credit = [known.get(id(candidate), 0.0) for candidate in candidates]
        self._members = candidates[:]  # a list may be changed in place


_INFINITE: Final = float("inf")

_BALANCERS: Final[dict[Strategy, type[Balancer[Any]]]] = {
    Strategy.ROUND_ROBIN: RoundRobin,
    Strategy.LEAST_CONNECTIONS: LeastConnections,
    Strategy.RESOURCE_BASED: ResourceBased,
    Strategy.WEIGHTED: Weighted,
}


def balancer(strategy: Strategy) -> Balancer[Any]:
    """A new balancer that has picked nothing yet."""
    return _BALANCERS[strategy]()


def rotation(alive: Sequence[bool], trusted: Sequence[bool], panic: float) -> tuple[list[int], bool]:
    """The indices that get calls, and whether it panics. Only those alive, ever.

    They are the alive ones that are trusted; but when these are none, or fewer than `panic` (0 to 1) of the
    alive ones, all that are alive: distrust of so many says more about the checks or the load than about
    them, and the few that are left would be overrun. As in Envoy, but never empty while one is alive.
    """
    living = [index for index, lives in enumerate(alive) if lives]
    chosen = [index for index in living if trusted[index]]
    # Quotients, as the product of a share and a count may be rounded to just above the whole number it is.
    if living and (not chosen or len(chosen) / len(living) < panic):
        return living, True
    return chosen, False
