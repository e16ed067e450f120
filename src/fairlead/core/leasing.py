"""Which call gets which of the instances that cannot be shared by all, in turn.

Some calls need an instance that was told what their client can be asked (its `profile`), and some an instance
of their `owner` alone. There may only be so many, so calls wait: first come, first served over all profiles.
The first one gets an instance that suits it and has room, else one that is on its way, else a place for a
new one, else the place of an idle instance that suits others; where nothing of that is there, the instance
with the fewest calls is kept from getting more, until it is idle. Those behind it get what is left, which is
nothing that it could use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Claim:
    """What a call that waits needs. `owner` is empty where anybody may share its instance."""

    profile: str
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """An instance that is there. `owner` is empty while it belongs to nobody; `used` is loop time, s."""

    profile: str
    owner: str
    calls: int  # in flight
    room: int  # how many more it may take; 0 where it must not take any
    used: float
    leaving: bool = False  # it ends after its calls


@dataclass(frozen=True, slots=True)
class Coming:
    """An instance that is being started, and how many calls it will take."""

    profile: str
    owner: str
    room: int


@dataclass(frozen=True, slots=True)
class Decision:
    """By index: of claims, of places."""

    given: dict[int, int]  # claim -> place
    starts: tuple[int, ...]  # claims for whom an instance is started
    ends: tuple[int, ...]  # idle places that end, so that others get theirs
    short: int  # claims for whom there is nothing yet


def decide(
    claims: Sequence[Claim],
    places: Sequence[Place],
    coming: Sequence[Coming],
    *,
    free: int,
    room: int,
) -> Decision:
    """What happens now. `claims` are in the order in which they came.

    `free` is how many instances may be started, `room` how many calls each of these will take.
    """
    table = _Table(places, coming, free, room)
    given: dict[int, int] = {}
    starts: list[int] = []
    short = 0
    for number, claim in enumerate(claims):
        if table.exhausted:
            short += len(claims) - number
            break
        place = table.take(claim)
        if place is not None:
            given[number] = place
        elif table.await_one(claim):
            continue
        elif table.start(claim):
            starts.append(number)
        elif not table.make_room():
            short += 1
    return Decision(given, tuple(starts), tuple(table.ends), short)


def suits(claim: Claim, place: Place) -> bool:
    """Whether this instance is of the kind that a call needs."""
    return _suits(claim, place.profile, place.owner)


class _Table:
    """What is left for those behind."""

    def __init__(self, places: Sequence[Place], coming: Sequence[Coming], free: int, room: int) -> None:
        self.ends: list[int] = []
        self._places = places
        self._owners = [place.owner for place in places]
        self._calls = [place.calls for place in places]
        self._rooms = [0 if place.leaving else place.room for place in places]
        self._coming = [(one.profile, one.owner, one.room) for one in coming]
        self._free = max(0, free)
        self._room = room  # of a new one
        self._ending = sum(place.leaving and not place.calls for place in places)

    @property
    def exhausted(self) -> bool:
        """Nothing is left for anybody."""
        rooms = self._free or self._ending or any(self._rooms) or any(room for *_, room in self._coming)
        return not rooms and not self._idle()

    def take(self, claim: Claim) -> int | None:
        """The place that suits best: one of its owner, then of the fewest calls, then the last used."""
        fits = [
            index
            for index, place in enumerate(self._places)
            if self._rooms[index] > 0 and _suits(claim, place.profile, self._owners[index])
        ]
        if not fits:
            return None
        best = max(fits, key=lambda i: (bool(self._owners[i]), -self._calls[i], self._places[i].used))
        self._rooms[best] -= 1
        self._calls[best] += 1
        self._owners[best] = claim.owner
        return best

    def await_one(self, claim: Claim) -> bool:
        """Whether one that suits is on its way."""
        for index, (profile, owner, room) in enumerate(self._coming):
            if room > 0 and _suits(claim, profile, owner):
                self._coming[index] = (profile, claim.owner, room - 1)
                return True
        return False

    def start(self, claim: Claim) -> bool:
        """Whether another one may be started."""
        if self._free == 0:
            return False
        self._free -= 1
        self._coming.append((claim.profile, claim.owner, self._room - 1))
        return True

    def make_room(self) -> bool:
        """Whether a place becomes free at once; else the one that is the nearest to it gets no more calls."""
        if self._ending:
            self._ending -= 1
            return True
        if idle := self._idle():
            oldest = min(idle, key=lambda index: self._places[index].used)
            self.ends.append(oldest)
            self._rooms[oldest] = 0
            return True
        if with_room := [index for index, room in enumerate(self._rooms) if room > 0]:
            self._rooms[min(with_room, key=self._calls.__getitem__)] = 0
        return False

    def _idle(self) -> list[int]:
        """Places that can end at once."""
        return [
            index
            for index, place in enumerate(self._places)
            if not (self._calls[index] or place.leaving or index in self.ends)
        ]


def _suits(claim: Claim, profile: str, owner: str) -> bool:
    return claim.profile == profile and owner in ("", claim.owner)
