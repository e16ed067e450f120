"""Single decisions about who gets which instance; what holds for all of them is in the properties."""

from fairlead.core.leasing import Claim, Coming, Decision, Place, decide, suits

A, B = Claim("a"), Claim("b")


def place(profile="a", owner="", *, calls=0, room=1, used=0.0, leaving=False):
    return Place(profile, owner, calls, room, used, leaving)


def decided(claims, places=(), coming=(), *, free=0, room=1):
    return decide(claims, places, coming, free=free, room=room)


def test_nothing_happens_where_nobody_waits():
    assert decided([], [place()], free=3) == Decision({}, (), (), 0)


def test_a_call_gets_an_idle_instance_of_its_profile():
    assert decided([A], [place("b"), place("a")], free=1) == Decision({0: 1}, (), (), 0)


def test_one_is_started_where_there_may_be_another_one():
    assert decided([A, B, A], [place("a", calls=1, room=0)], free=2) == Decision({}, (0, 1), (), 1)


def test_one_that_is_on_its_way_is_waited_for():
    assert decided([A, A], coming=[Coming("a", "", 1)], free=5) == Decision({}, (1,), (), 0)
    assert decided([A, A, A], coming=[Coming("a", "", 2)], free=5) == Decision({}, (2,), (), 0)


def test_a_new_one_serves_as_many_as_it_may():
    assert decided([A] * 5, free=9, room=2) == Decision({}, (0, 2, 4), (), 0)


def test_the_idle_one_of_others_that_was_used_longest_ago_ends():
    places = [place("b", used=5.0), place("c", used=3.0), place("d", calls=1, room=0, used=1.0)]
    assert decided([A], places) == Decision({}, (), (1,), 0)


def test_one_that_must_not_be_used_any_more_ends_first_when_it_is_idle():
    assert decided([A], [place("a", room=0)]) == Decision({}, (), (0,), 0)


def test_one_that_ends_is_waited_for_by_one_call():
    leaving = place("b", room=0, leaving=True)
    assert decided([A], [leaving, place("c")]) == Decision({}, (), (), 0)
    assert decided([A, A], [leaving, place("c")]) == Decision({}, (), (1,), 0)


def test_who_comes_later_does_not_get_what_the_first_one_could_use():
    assert decided([A, B], [place("b")]) == Decision({}, (), (0,), 1), "its place is for the first one"


def test_who_comes_later_may_overtake_while_the_first_one_waits_for_its_own():
    assert decided([A, B], [place("b")], [Coming("a", "", 1)]) == Decision({1: 0}, (), (), 0)


def test_a_busy_one_with_room_gets_no_more_calls_while_somebody_needs_its_place():
    busy = place("b", calls=1, room=63)
    assert decided([B], [busy]).given == {0: 0}
    assert decided([A, B], [busy]) == Decision({}, (), (), 2)
    busier = place("b", calls=2, room=62)
    assert decided([A, B], [busier, busy]) == Decision({1: 0}, (), (), 1), "the one with the fewest is kept"


def test_an_owner_has_an_instance_alone():
    mine, other = Claim("a", "me"), Claim("a", "you")
    assert decided([mine], [place("a", "you")], free=1).starts == (0,)
    assert decided([mine], [place("a", ""), place("a", "me")]).given == {0: 1}
    assert decided([mine, other], [place("a", room=2)], free=1, room=2) == Decision({0: 0}, (1,), (), 0)
    assert decided([mine, other], coming=[Coming("a", "", 2)], free=1) == Decision({}, (1,), (), 0)


def test_calls_are_spread_over_instances():
    places = [place(calls=1, room=1), place(room=2), place(room=2, used=9.0)]
    assert decided([A, A, A], places).given == {0: 2, 1: 1, 2: 2}


def test_less_than_nothing_may_be_started_is_nothing():
    assert decided([A], free=-2) == Decision({}, (), (), 1)


def test_what_suits():
    assert suits(A, place("a"))
    assert not suits(A, place("b"))
    assert not suits(A, place("a", "me"))
    assert suits(Claim("a", "me"), place("a", "me"))
