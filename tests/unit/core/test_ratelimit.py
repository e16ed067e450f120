from __future__ import annotations

import pytest

from fairlead.core.ratelimit import Gcra


def test_a_burst_then_the_even_rate():
    bucket = Gcra(60, burst=3)
    assert [bucket.admit(100.0) for _ in range(4)] == [0.0, 0.0, 0.0, pytest.approx(1.0, abs=1e-5)]
    assert bucket.admit(100.5) == pytest.approx(0.5, abs=1e-5)
    assert bucket.admit(101.0) == 0.0
    assert bucket.admit(101.0) > 0.9


def test_a_refusal_costs_nothing():
    bucket = Gcra(60, burst=1)
    assert bucket.admit(0.0) == 0.0
    for _ in range(100):
        assert bucket.admit(0.5) == pytest.approx(0.5, abs=1e-5)
    assert bucket.admit(1.0) == 0.0


def test_a_pause_gives_the_burst_back_and_no_more():
    bucket = Gcra(60, burst=2)
    for _ in range(2):
        bucket.admit(0.0)
    assert [bucket.admit(1e6) == 0.0 for _ in range(3)] == [True, True, False]


def test_a_clock_that_jumps_back_admits_nothing_extra():
    bucket = Gcra(60, burst=1)
    assert bucket.admit(100.0) == 0.0
    assert bucket.admit(0.0) == pytest.approx(101.0, abs=1e-5)


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (-1, 1), (float("inf"), 1), (float("nan"), 1), (60, 0)])
def test_nonsense_is_refused(rate, burst):
    with pytest.raises(ValueError, match="a rate must be over 0"):
        Gcra(rate, burst)


def test_repr_shows_the_state():
    assert repr(Gcra(60, burst=1)) == "Gcra(interval=1, early=0, arrival=-inf)"
