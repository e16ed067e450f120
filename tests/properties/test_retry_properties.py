"""The retry budget: replays never multiply the load, and a server that may replay again finds that out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.retry import MAX_REPLAYS, REFILL, RetryBudget, refusal

RATIOS = st.sampled_from([0.0, 0.25]) | st.floats(0, 2)
RESERVES = st.floats(1, 300)
STEPS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.01]) | st.floats(0, 50), st.integers(0, 500), st.integers(0, 40)),
    max_size=40,
)
"""Seconds that pass, calls that come in, replays that are asked for."""
ROUNDING = 1e-6


@given(RATIOS, RESERVES, st.floats(0, 1e6), STEPS)
def test_over_any_span_there_are_no_more_replays_than_reserve_calls_and_time_allow(
    ratio, reserve, start, steps
):
    budget, now, calls = RetryBudget(ratio, reserve), start, 0
    seen = []  # before each step: when, calls, replays so far
    replays = 0
    for pause, more, asked in steps:
        seen.append((now, calls, replays))
        now, calls = now + pause, calls + more
        replays += sum(budget.withdraw(now, calls) for _ in range(asked))
        for since, calls_then, replays_then in seen:
            allowed = reserve + ratio * (calls - calls_then) + REFILL * (now - since)
            assert replays - replays_then <= allowed + ROUNDING


@given(RATIOS, RESERVES, STEPS)
def test_who_is_refused_is_granted_one_a_tenth_of_a_second_later(ratio, reserve, steps):
    budget, now, calls = RetryBudget(ratio, reserve), 0.0, 0
    for pause, more, asked in steps:
        now, calls = now + pause, calls + more
        granted = [budget.withdraw(now, calls) for _ in range(asked)]
        assert granted == sorted(granted, reverse=True)  # what is refused stays so until something comes in
        if not all(granted):
            now += 1 / REFILL + ROUNDING
            assert budget.withdraw(now, calls)


@given(st.lists(st.integers(4, 50), min_size=1, max_size=300), st.floats(2, 50))
def test_replays_within_the_ratio_are_never_refused(gaps, reserve):
    budget, calls = RetryBudget(0.25, reserve), 0
    for gap in gaps:
        calls += gap
        assert budget.withdraw(0.0, calls)


@given(st.integers(1, 200), st.floats(1, 300))
def test_when_every_call_and_every_replay_fails_the_load_is_bounded(calls, reserve):
    """All at one moment: each call is tried as often as it may be."""
    budget = RetryBudget(0.25, reserve)
    sent = 0
    for number in range(1, calls + 1):
        replays = 0
        while refusal(True, replays, budget, 5.0, number) is None:
            replays += 1
        assert replays <= MAX_REPLAYS
        sent += 1 + replays
    assert sent <= calls * 1.25 + reserve
