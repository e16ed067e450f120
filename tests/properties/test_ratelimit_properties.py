"""GCRA: never more than the burst and the rate allow in any window, and nobody waits longer than told."""

from __future__ import annotations

from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.ratelimit import Gcra, Rate

RATES = st.floats(1, 60_000)  # a minute
BURSTS = st.integers(1, 50)
STARTS = st.floats(0, 1e7)
PAUSES = st.lists(st.one_of(st.just(0.0), st.floats(0, 0.1), st.floats(0, 100)), min_size=1, max_size=120)
ROUNDING = 1e-5  # s


@given(RATES, BURSTS, STARTS, PAUSES)
def test_never_more_than_the_burst_and_the_rate_in_any_window(rate, burst, start, pauses):
    bucket = Gcra(Rate(rate, burst))
    times = [start + offset for offset in accumulate(pauses)]
    admitted = [now for now in times if bucket.admit(now) == 0.0]
    for first in range(len(admitted)):
        for last in range(first, len(admitted)):
            window = admitted[last] - admitted[first] + ROUNDING
            assert last - first + 1 <= burst + rate / 60 * window + 1e-6


@given(RATES, BURSTS, STARTS, PAUSES)
def test_who_waits_as_long_as_told_is_admitted(rate, burst, start, pauses):
    bucket = Gcra(Rate(rate, burst))
    now = start
    for pause in pauses:
        now += pause
        if wait := bucket.admit(now):
            assert 0 < wait <= 60 / rate + ROUNDING
            now += wait
            assert bucket.admit(now) == 0.0


@given(RATES, BURSTS, STARTS, st.floats(0, 10), st.floats(0, 10))
def test_the_wait_only_shrinks_with_time(rate, burst, start, earlier, later):
    bucket = Gcra(Rate(rate, burst))
    while bucket.admit(start) == 0.0:
        pass
    earlier, later = sorted((earlier, later))
    first = bucket.admit(start + earlier)
    if first > 0.0:
        assert bucket.admit(start + later) <= first


@given(RATES, BURSTS, STARTS)
def test_a_caller_at_the_even_rate_is_never_refused(rate, burst, start):
    bucket = Gcra(Rate(rate, burst))
    assert all(bucket.admit(start + number * 60 / rate) == 0.0 for number in range(200))
