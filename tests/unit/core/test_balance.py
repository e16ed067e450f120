"""Who gets the next call, on small examples; the bounds are proved in tests/properties."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from fairlead.core.balance import (
    LeastConnections,
    ResourceBased,
    RoundRobin,
    Weighted,
    balancer,
    rotation,
)
from fairlead.model.fleet import Strategy


@dataclass(eq=False)
class Place:
    name: str
    in_flight: int = 0
    weight: float = 1.0
    pressure: float = 0.0

    def __repr__(self) -> str:
        return self.name


def places(*names: str, **fields: list[float]) -> list[Place]:
    columns = [dict(zip(fields, row, strict=True)) for row in zip(*fields.values(), strict=True)]
    return [Place(name, **column) for name, column in zip(names, columns or [{} for _ in names], strict=True)]


def picks(chooser, candidates, count: int) -> str:
    return "".join(chooser.pick(candidates).name for _ in range(count))


@pytest.mark.parametrize(
    ("strategy", "kind"),
    [
        ("round-robin", RoundRobin),
        ("least-connections", LeastConnections),
        ("resource-based", ResourceBased),
        ("weighted", Weighted),
    ],
)
def test_each_strategy_has_its_balancer_and_each_call_makes_a_new_one(strategy, kind):
    first, second = balancer(Strategy(strategy)), balancer(Strategy(strategy))
    assert type(first) is kind
    assert first is not second


@pytest.mark.parametrize("strategy", Strategy)
def test_equals_take_turns_under_every_strategy(strategy):
    assert picks(balancer(strategy), places("a", "b", "c"), 301) == "abc" * 100 + "a"


@pytest.mark.parametrize("strategy", Strategy)
@pytest.mark.parametrize("container", [list, tuple])
def test_one_alone_gets_everything_whatever_it_is_like(strategy, container):
    alone = container([Place("a", in_flight=10**6, weight=0.0, pressure=50.0)])
    assert picks(balancer(strategy), alone, 3) == "aaa"


@pytest.mark.parametrize("strategy", Strategy)
def test_a_set_that_shrinks_and_grows_goes_on(strategy):
    a, b, c = places("a", "b", "c")
    chooser = balancer(strategy)
    picks(chooser, [a, b, c], 2)
    assert set(picks(chooser, [a], 2)) == {"a"}
    assert set(picks(chooser, [b, c], 2)) == {"b", "c"}
    assert set(picks(chooser, [a, b, c], 3)) == {"a", "b", "c"}


def test_least_connections_takes_the_fewest_and_turns_among_equals():
    busy = places("a", "b", "c", "d", in_flight=[2, 1, 3, 1])
    assert picks(LeastConnections(), busy, 5) == "bdbdb"


def test_least_connections_looks_anew_each_time():
    a, b = places("a", "b", in_flight=[1, 0])
    chooser = LeastConnections()
    assert chooser.pick([a, b]) is b
    b.in_flight = 2
    assert picks(chooser, [a, b], 2) == "aa"


def test_equals_take_turns_by_who_they_are_not_by_where_they_stand():
    a, b, c = places("a", "b", "c")
    chooser = LeastConnections()
    assert chooser.pick([a, b, c]) is a
    assert chooser.pick([b, a, c]) is c
    assert chooser.pick([c, a, b]) is a


@pytest.mark.parametrize(
    ("in_flight", "pressure", "expected"),
    [
        ([0, 0], [0.9, 0.1], "b"),  # the cooler one of two that are idle
        ([1, 2], [1.0, 0.0], "b"),  # 2 * 2 against 3 * 1
        ([1, 2], [0.4, 0.0], "a"),  # 2 * 1.4 against 3
        ([0, 1], [3.0, 0.0], "b"),  # pressure may be over 1
    ],
)
def test_resource_based_weighs_calls_by_pressure(in_flight, pressure, expected):
    loaded = places("a", "b", in_flight=in_flight, pressure=pressure)
    assert ResourceBased().pick(loaded).name == expected


def test_resource_based_always_picks_even_when_pressures_are_no_numbers():
    assert ResourceBased().pick(places("a", "b", pressure=[float("nan"), float("inf")])).name == "a"


def test_weighted_is_smooth_as_in_nginx():
    assert picks(Weighted(), places("a", "b", "c", weight=[5, 1, 1]), 14) == "aabacaa" * 2


def test_a_weight_of_0_gets_nothing_while_another_is_positive():
    idle, small = places("a", "b", weight=[0.0, 0.001])
    chooser = Weighted()
    assert picks(chooser, [idle, small], 20) == "b" * 20
    small.weight = 0.0
    assert picks(chooser, [idle, small], 4) == "abab"
    small.weight = 0.001
    assert picks(chooser, [idle, small], 3) == "bbb"


def test_credit_does_not_help_against_a_weight_of_0():
    a, b, c = places("a", "b", "c", weight=[3.0, 2.0, 1.0])
    chooser = Weighted()
    picks(chooser, [a, b, c], 1)  # b and c are owed now
    b.weight = 0.0
    assert "b" not in picks(chooser, [a, b, c], 20)


def test_weights_are_carried_over_by_identity_when_the_set_changes():
    a, b, c = places("a", "b", "c", weight=[4.0, 2.0, 3.0])
    chooser = Weighted()
    assert chooser.pick([a, b, c]) is a  # which owes a call, and b and c are owed parts of it
    assert repr(chooser) == "Weighted(credit=[-0.556, 0.222, 0.333])"
    assert chooser.pick([b, a]) is b
    assert repr(chooser) == "Weighted(credit=[-0.444, 0.111])"
    chooser.pick([c, a, b])  # c has come back as a newcomer
    assert repr(chooser) == "Weighted(credit=[0.333, -0.444, -0.222])"


def test_a_list_that_is_changed_in_place_is_noticed():
    a, b, c = places("a", "b", "c", weight=[1.0, 3.0, 1.0])
    members = [a, b]
    chooser = Weighted()
    chooser.pick(members)
    members[:] = [c, a]
    assert set(picks(chooser, members, 4)) == {"a", "c"}
    members.append(b)
    assert picks(chooser, members, 10).count("b") >= 5


def test_a_great_weight_that_goes_leaves_no_debt_in_its_own_units():
    a, b, great = places("a", "b", "g", weight=[1.0, 2.0, 1_000_000.0])
    chooser = Weighted()
    picks(chooser, [a, b, great], 1000)
    assert picks(chooser, [a, b], 30).count("a") == pytest.approx(10, abs=1)
    great.weight = 1.0
    assert picks(chooser, [a, b, great], 40).count("g") == pytest.approx(10, abs=2)


@pytest.mark.parametrize(
    ("alive", "trusted", "panic", "expected"),
    [
        ("11111", "11111", 0.5, ([0, 1, 2, 3, 4], False)),
        ("1111", "1010", 0.5, ([0, 2], False)),  # half is not fewer than half
        ("1111", "1000", 0.5, ([0, 1, 2, 3], True)),
        ("1101", "0111", 0.5, ([1, 3], False)),  # who is dead is not counted, trusted or not
        (
            "1100",
            "0011",
            0.0,
            ([0, 1], True),
        ),  # none is trusted: all that are alive, even without a threshold
        ("1111", "1000", 0.0, ([0], False)),
        ("1111", "1110", 1.0, ([0, 1, 2, 3], True)),
        ("0000", "1111", 0.5, ([], False)),
        ("", "", 0.5, ([], False)),
    ],
)
def test_rotation(alive, trusted, panic, expected):
    assert rotation([x == "1" for x in alive], [x == "1" for x in trusted], panic) == expected


@pytest.mark.parametrize(
    ("good", "count", "percent"), [(7, 100, 7), (29, 100, 29), (3, 10, 30), (57, 100, 57)]
)
def test_rotation_does_not_panic_for_a_rounding_error(good, count, percent):
    trusted = [index < good for index in range(count)]
    assert rotation([True] * count, trusted, percent / 100) == (list(range(good)), False)
    assert rotation([True] * count, [*trusted[1:], False], percent / 100)[1]


@pytest.mark.parametrize("strategy", Strategy)
def test_the_repr_shows_where_it_stands(strategy):
    chooser = balancer(strategy)
    before = repr(chooser)
    chooser.pick(places("a", "b"))
    assert repr(chooser) != before
    assert repr(chooser).startswith(type(chooser).__name__)
