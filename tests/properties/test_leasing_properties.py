"""Whoever waits for an instance of their own kind gets one, in turn, and there are never too many."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.leasing import Claim, Coming, Decision, Place, decide, suits

PROFILES = st.sampled_from("abc")
OWNERS = st.sampled_from(["", "", "x", "y"])
CLAIMS = st.builds(Claim, PROFILES, OWNERS)


@st.composite
def places(draw):
    calls = draw(st.integers(0, 3))
    leaving = draw(st.booleans())
    room = 0 if leaving else draw(st.integers(0, 2))
    return Place(draw(PROFILES), draw(OWNERS), calls, room, draw(st.floats(0, 9)), leaving)


@given(
    st.lists(CLAIMS, max_size=8),
    st.lists(places(), max_size=6),
    st.lists(st.builds(Coming, PROFILES, OWNERS, st.integers(1, 2)), max_size=3),
    st.integers(-2, 4),
    st.integers(1, 2),
)
def test_a_decision_gives_nothing_twice_and_takes_nothing_from_who_came_first(
    claims, there, coming, free, room
):
    got = decide(claims, there, coming, free=free, room=room)
    assert len(got.starts) <= max(0, free)
    assert got.short <= len(claims) - len(got.given) - len(got.starts)
    assert not set(got.starts) & set(got.given)
    for number, index in got.given.items():
        assert suits(claims[number], there[index])
    for index, place in enumerate(there):
        takers = [number for number, where in got.given.items() if where == index]
        assert len(takers) <= (0 if place.leaving else place.room)
        owners = {claims[number].owner for number in takers} | {place.owner}
        assert len(owners - {""}) <= 1, "one owner"
    for index in got.ends:
        assert not there[index].calls
        assert not there[index].leaving
        assert index not in got.given.values()
    assert len(set(got.ends)) == len(got.ends)
    _nothing_of_use_is_left_over(claims, there, got, free)


def _nothing_of_use_is_left_over(claims, there, got, free):
    for number, claim in enumerate(claims):
        if number in got.given or number in got.starts:
            continue
        for later in range(number + 1, len(claims)):
            if claims[later] == claim:
                assert later not in got.given, "equal claims are served in turn"
    if got.short:
        assert len(got.starts) == max(0, free), "nobody goes short while another one may be started"
        idle = [i for i, place in enumerate(there) if not place.calls and not place.leaving]
        assert all(i in got.ends or i in got.given.values() for i in idle), "or while one is idle"


# -- a life ----------------------------------------------------------------------------------------------


@dataclass
class Instance:
    place: Place
    calls: list[int] = field(default_factory=list)  # how long each still takes


@dataclass
class World:
    """A server with so many places, and what comes of the decisions. A round is the time of a short call."""

    maximum: int
    limit: int
    start: int  # rounds that a start takes
    waiting: list[tuple[int, Claim]] = field(default_factory=list)  # when it came
    instances: list[Instance] = field(default_factory=list)
    coming: list[list] = field(default_factory=list)  # what, rounds left
    served: list[tuple[int, Claim]] = field(default_factory=list)
    now: int = 0

    def places(self):
        return [
            replace(one.place, calls=len(one.calls), room=max(0, self.limit - len(one.calls)))
            for one in self.instances
        ]

    def decide(self) -> Decision:
        free = self.maximum - len(self.instances) - len(self.coming)
        claims = [claim for _, claim in self.waiting]
        coming = [one for one, _ in self.coming]
        return decide(claims, self.places(), coming, free=free, room=self.limit)

    def round(self, takes) -> None:
        self.now += 1
        for one in self.instances:
            one.calls = [left - 1 for left in one.calls if left > 1]
        for one in self.coming:
            one[1] -= 1
        for what, _ in [one for one in self.coming if one[1] <= 0]:
            place = Place(what.profile, what.owner, 0, self.limit, self.now)
            self.instances.append(Instance(place))
        self.coming = [one for one in self.coming if one[1] > 0]
        got = self.decide()
        for number, index in got.given.items():
            claim = self.waiting[number][1]
            one = self.instances[index]
            one.place = replace(one.place, owner=claim.owner, used=self.now)
            one.calls.append(takes(number))
        for number in got.starts:
            claim = self.waiting[number][1]
            self.coming.append([Coming(claim.profile, claim.owner, self.limit), self.start])
        self.served += [self.waiting[number] for number in got.given]
        self.waiting = [one for number, one in enumerate(self.waiting) if number not in got.given]
        self.instances = [one for index, one in enumerate(self.instances) if index not in got.ends]
        assert len(self.instances) + len(self.coming) <= self.maximum
        assert all(len(one.calls) <= self.limit for one in self.instances)


@given(
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(1, 5),
    st.lists(st.lists(CLAIMS, max_size=3), max_size=30),
    st.data(),
)
def test_everybody_is_served_though_others_keep_coming(maximum, limit, start, arrivals, data):
    world = World(maximum, limit, start)
    first, rival = Claim("z"), data.draw(CLAIMS)
    longest = 4
    for claims in arrivals:
        world.waiting += [(world.now, claim) for claim in claims]
        world.round(lambda _: data.draw(st.integers(1, longest)))
    world.waiting.append((world.now, first))
    ahead = len(world.waiting)
    bound = (ahead + 1) * (longest + start + 3) + 10
    for _ in range(bound):
        world.waiting += [(world.now, rival)] * maximum * limit  # as many as could keep all busy for ever
        world.round(lambda _: longest)
        if any(claim is first for _, claim in world.served):
            break
    assert any(claim is first for _, claim in world.served), "it must not starve"
    for _ in range((len(world.waiting) + 1) * (longest + start + 3)):
        if not world.waiting:
            break
        world.round(lambda _: longest)
    assert not world.waiting
