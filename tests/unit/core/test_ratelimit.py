from __future__ import annotations

import pytest

from fairlead.core.ratelimit import Gcra, Rate, Use, settled


def test_a_burst_then_the_even_rate():
    bucket = Gcra(Rate(60, burst=3))
    assert [bucket.admit(100.0) for _ in range(4)] == [0.0, 0.0, 0.0, pytest.approx(1.0, abs=1e-5)]
    assert bucket.admit(100.5) == pytest.approx(0.5, abs=1e-5)
    assert bucket.admit(101.0) == 0.0
    assert bucket.admit(101.0) > 0.9


def test_a_refusal_costs_nothing():
    bucket = Gcra(Rate(60, burst=1))
    assert bucket.admit(0.0) == 0.0
    for _ in range(100):
        assert bucket.admit(0.5) == pytest.approx(0.5, abs=1e-5)
    assert bucket.admit(1.0) == 0.0


def test_a_pause_gives_the_burst_back_and_no_more():
    bucket = Gcra(Rate(60, burst=2))
    for _ in range(2):
        bucket.admit(0.0)
    assert [bucket.admit(1e6) == 0.0 for _ in range(3)] == [True, True, False]


def test_a_clock_that_jumps_back_admits_nothing_extra():
    bucket = Gcra(Rate(60, burst=1))
    assert bucket.admit(100.0) == 0.0
    assert bucket.admit(0.0) == pytest.approx(101.0, abs=1e-5)


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (-1, 1), (float("inf"), 1), (float("nan"), 1), (60, 0)])
def test_nonsense_is_refused(rate, burst):
    with pytest.raises(ValueError, match="a rate must be over 0"):
        Gcra(Rate(rate, burst))


def test_repr_shows_the_state():
    assert repr(Gcra(Rate(60, burst=1))) == "Gcra(interval=1, early=0, arrival=-inf)"


def test_what_is_admitted_must_be_admitted_above_as_well():
    above = Gcra(Rate(60, burst=2))
    one, other = Gcra(Rate(60, burst=5)), Gcra(Rate(60, burst=5))
    one.above = other.above = above
    assert [one.admit(0.0), other.admit(0.0)] == [0.0, 0.0]
    for _ in range(50):
        assert one.admit(0.0) == pytest.approx(1.0, abs=1e-5)
    assert one.admit(1.0) == 0.0  # those that were refused above cost nothing here
    assert other.admit(10.0) == 0.0


def test_who_is_refused_by_its_own_bucket_costs_those_above_nothing():
    above = Gcra(Rate(60, burst=2))
    one, other = Gcra(Rate(60, burst=1)), Gcra(Rate(60, burst=1))
    one.above = other.above = above
    assert one.admit(0.0) == 0.0
    assert one.admit(0.0) > 0.0
    assert other.admit(0.0) == 0.0


def test_a_share_is_that_part_of_burst_and_rate():
    bucket = Gcra(Rate(60, burst=8), share=0.25)
    assert [bucket.admit(0.0) == 0.0 for _ in range(3)] == [True, True, False]
    assert bucket.admit(3.9) > 0.0
    assert bucket.admit(4.0) == 0.0


def test_a_share_of_less_than_one_request_still_admits_one():
    bucket = Gcra(Rate(60, burst=1), share=0.25)
    assert bucket.admit(0.0) == 0.0
    assert bucket.admit(3.9) > 0.0
    assert bucket.admit(4.0) == 0.0


def test_there_is_nothing_to_tell_of_a_bucket_that_nobody_used():
    bucket = Gcra(Rate(60, burst=8))
    assert bucket.use(0.0) is None
    bucket.admit(4.0)
    assert bucket.use(5.0) == Use(bucket.rate, 1, 5.0)
    bucket.told(Use(bucket.rate, 1, 5.0), 0.5, 1.0, 5.0)
    assert bucket.use(6.9) == Use(bucket.rate, 0, pytest.approx(1.9))  # to hear what others use
    bucket.told(Use(bucket.rate, 0, 1.9), 0.0, 1.0, 6.9)
    assert not bucket.fresh
    assert bucket.use(7.0) is None
    assert bucket.fresh


def test_who_was_only_refused_is_told_of_too():
    bucket = Gcra(Rate(60, burst=1))
    bucket.told(Use(bucket.rate, 0, 0.0), 10.0, 1.0, 0.0)
    assert bucket.admit(1.0) == pytest.approx(9.0, abs=1e-5)
    assert bucket.use(2.0) == Use(bucket.rate, 0, 2.0)


def test_the_backlog_that_is_told_holds_with_what_came_meanwhile():
    bucket = Gcra(Rate(60, burst=10))
    bucket.admit(0.0)
    use = bucket.use(0.0)
    assert use is not None
    bucket.admit(0.1)  # on its way
    bucket.told(use, 4.0, 0.5, 0.2)  # 6 of 10 are left; half of those, less the one that came meanwhile
    assert [bucket.admit(0.2) == 0.0 for _ in range(3)] == [True, True, False]
    assert bucket.use(0.3) == Use(bucket.rate, 3, pytest.approx(0.1))


def test_what_is_owed_is_paid():
    bucket = Gcra(Rate(60, burst=10))
    bucket.told(Use(bucket.rate, 0, 0.0), 25.0, 1.0, 0.0)
    assert bucket.owes(24.9)
    assert not bucket.owes(25.0)
    assert bucket.admit(0.0) == pytest.approx(16.0, abs=1e-5)
    assert bucket.admit(16.0) == 0.0


def test_another_rate_keeps_the_share_and_what_is_used_up():
    bucket = Gcra(Rate(60, burst=10), share=0.5)
    for _ in range(4):
        bucket.admit(0.0)
    bucket.change(Rate(600, burst=100))  # the same 10 s of burst; 8 of them are used up
    assert [bucket.admit(0.0) == 0.0 for _ in range(11)] == [True] * 10 + [False]


def test_the_centre_counts_what_came_over_a_time_as_evenly_spread():
    rate = Rate(60, burst=10)
    assert settled(float("-inf"), Use(rate, 30, 30.0), now=100.0) == 100.0
    assert settled(float("-inf"), Use(rate, 5, 0.0), now=100.0) == 105.0
    assert settled(104.0, Use(rate, 5, 30.0), now=100.0) == 109.0


def test_the_centre_forgives_what_can_only_be_a_fault():
    assert settled(1e12, Use(Rate(60, burst=10), 1, 0.0), now=100.0) == 170.0
