"""Balancers pick only from what they are given and stay within the bounds that their docstrings state."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.balance import LeastConnections, ResourceBased, RoundRobin, Weighted, balancer, rotation
from fairlead.model.fleet import Strategy


@dataclass(eq=False)
class Place:
    in_flight: int = 0
    weight: float = 1.0
    pressure: float = 0.0


IN_FLIGHT = st.integers(0, 3)
PRESSURES = st.sampled_from([0.0, 0.5, 1.0]) | st.floats(0, 4)
POSITIVE = st.sampled_from([0.001, 0.5, 0.8, 1.0, 1.2, 1_000_000.0]) | st.floats(1e-6, 1e6)
WEIGHTS = st.just(0.0) | POSITIVE
PLACES = st.builds(Place, IN_FLIGHT, WEIGHTS, PRESSURES)
COUNTS = st.integers(1, 60)


def sets(place=PLACES, smallest=1):
    return st.lists(place, min_size=smallest, max_size=8)


@st.composite
def histories(draw):
    """Up to eight candidates, and what a balancer may have been asked before: subsets, and how often."""
    everyone = draw(sets())
    subset = st.lists(st.sampled_from(everyone), min_size=1, unique_by=id)
    return everyone, draw(st.lists(st.tuples(subset, st.integers(1, 8)), max_size=6))


def replay(chooser, history):
    for subset, count in history:
        for _ in range(count):
            chooser.pick(subset)


def assert_in_turn(picked, expected):
    """Each of the expected, and nobody else, has n/m, rounded up or down, of any n picks in a row."""
    turns = picked[: len(expected)]
    assert {id(place) for place in turns} <= {id(place) for place in expected}
    assert len({id(place) for place in turns}) == len(turns)
    assert all(place is turns[index % len(expected)] for index, place in enumerate(picked))


@given(st.sampled_from(Strategy), sets(), st.data())
def test_only_what_is_given_is_picked_however_all_changes(strategy, everyone, data):
    chooser = balancer(strategy)
    members = list(everyone)
    for _ in range(data.draw(st.integers(1, 20))):
        # In place, as a pool may do it.
        members[:] = data.draw(st.lists(st.sampled_from(everyone), min_size=1, unique_by=id))
        for place in members:
            place.in_flight, place.weight = data.draw(IN_FLIGHT), data.draw(WEIGHTS)
        given_ = data.draw(st.sampled_from([list, tuple, lambda same: same]))(members)
        picked = chooser.pick(given_)
        assert any(picked is place for place in members)
        if strategy is Strategy.WEIGHTED and any(place.weight for place in members):
            assert picked.weight > 0


@given(histories(), COUNTS)
def test_round_robin_gives_each_its_turn(history, count):
    everyone, before = history
    chooser = RoundRobin()
    replay(chooser, before)
    assert_in_turn([chooser.pick(everyone) for _ in range(count)], everyone)


@pytest.mark.parametrize(
    ("kind", "cost"),
    [
        (LeastConnections, lambda place: place.in_flight),
        (ResourceBased, lambda place: (place.in_flight + 1) * (1 + place.pressure)),
    ],
)
@given(history=histories(), count=COUNTS)
def test_the_least_loaded_take_turns(kind, cost, history, count):
    everyone, before = history
    chooser = kind()
    replay(chooser, before)
    least = min(map(cost, everyone))
    assert_in_turn(
        [chooser.pick(everyone) for _ in range(count)], [place for place in everyone if cost(place) == least]
    )


@given(sets(), st.lists(st.integers(0, 7), max_size=80))
def test_least_connections_never_picks_one_with_more_than_another(everyone, ends):
    chooser = LeastConnections()
    for end in ends:
        picked = chooser.pick(everyone)
        assert picked.in_flight == min(place.in_flight for place in everyone)
        picked.in_flight += 1
        ended = everyone[end % len(everyone)]
        ended.in_flight = max(0, ended.in_flight - 1)


@given(sets(st.builds(Place, st.just(0), st.just(1.0), PRESSURES)), st.integers(0, 100))
def test_resource_based_shares_calls_in_inverse_proportion_to_pressure_to_within_one(everyone, calls):
    chooser = ResourceBased()
    for _ in range(calls):
        chooser.pick(everyone).in_flight += 1
        cheapest = min((place.in_flight + 1) * (1 + place.pressure) for place in everyone)
        assert all(place.in_flight * (1 + place.pressure) <= cheapest for place in everyone)


@given(sets(st.builds(Place, weight=POSITIVE), smallest=2), st.integers(1, 200))
def test_weighted_stays_within_its_bound_at_every_pick(everyone, calls):
    chooser, total, k = Weighted(), sum(place.weight for place in everyone), len(everyone)
    got = Counter()
    for n in range(1, calls + 1):
        got[id(chooser.pick(everyone))] += 1
        for place in everyone:
            due = n * place.weight / total
            assert due - (k - 1) < got[id(place)] < due + 1


@given(sets(st.builds(Place, weight=WEIGHTS)), st.integers(1, 100))
def test_weights_of_0_get_nothing_beside_others_and_turns_among_themselves(everyone, calls):
    chooser = Weighted()
    picked = [chooser.pick(everyone) for _ in range(calls)]
    if any(place.weight for place in everyone):
        assert all(place.weight for place in picked)
    else:
        assert_in_turn(picked, everyone)


@given(histories(), st.lists(POSITIVE, min_size=8, max_size=8), st.integers(1, 100))
def test_whatever_was_before_changes_what_anybody_gets_by_a_few_calls_at_most(history, weights, calls):
    everyone, before = history
    chooser = Weighted()
    replay(chooser, before)
    for place, weight in zip(everyone, weights, strict=False):
        place.weight = weight
    got = Counter(id(chooser.pick(everyone)) for _ in range(calls))
    total = sum(place.weight for place in everyone)
    assert all(abs(got[id(place)] - calls * place.weight / total) < 2 * len(everyone) for place in everyone)


@given(
    st.lists(st.tuples(st.booleans(), st.booleans()), max_size=12),
    st.integers(0, 100),
)
def test_rotation_is_alive_never_empty_while_one_lives_and_panics_only_below_its_threshold(flags, percent):
    alive, trusted = [flag[0] for flag in flags], [flag[1] for flag in flags]
    chosen, panics = rotation(alive, trusted, percent / 100)
    living = [index for index, lives in enumerate(alive) if lives]
    good = [index for index in living if trusted[index]]
    assert set(chosen) <= set(living)
    assert bool(chosen) == bool(living)
    assert chosen == (living if panics else good)
    assert panics == (bool(living) and (not good or len(good) * 100 < percent * len(living)))
