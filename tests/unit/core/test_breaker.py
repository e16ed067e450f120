"""The breaker, case by case; that its rules hold in any order is in tests/properties."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from fairlead.core.breaker import TRANSITIONS, Breaker, BreakerPolicy
from fairlead.core.lifecycle import IllegalTransitionError
from fairlead.model.fleet import CircuitBreaker
from fairlead.model.status import BreakerState

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
POLICY = BreakerPolicy(
    enabled=True,
    window=30.0,
    minimum_calls=20,
    failure_rate=0.5,
    slow_call=60.0,
    slow_rate=0.9,
    consecutive_failures=5,
    open_for=10.0,
    trials=3,
)
NO_ROW = replace(POLICY, consecutive_failures=1000)


def fail(breaker: Breaker, times: int, *, now: float = 100.0, answers: int = 0) -> None:
    for _ in range(times):
        breaker.failed(now, answers, "the process has ended")


def opened(policy: BreakerPolicy = POLICY, *, now: float = 100.0) -> Breaker:
    breaker = Breaker(policy)
    fail(breaker, policy.consecutive_failures, now=now)
    assert breaker.state is OPEN
    return breaker


def half_open(policy: BreakerPolicy = POLICY) -> Breaker:
    breaker = opened(policy, now=100.0)
    assert breaker.advance(100.0 + policy.open_for, 0)
    assert breaker.state is HALF_OPEN
    return breaker


def test_the_policy_has_all_that_the_spec_says_with_shares_for_percentages():
    spec = CircuitBreaker(
        enabled=False,
        window=12,
        minimum_calls=7,
        failure_rate=30,
        slow_call=2.5,
        slow_rate=70,
        consecutive_failures=4,
        open_for=3,
        trials=2,
    )
    policy = BreakerPolicy.of(spec)
    assert policy == BreakerPolicy(False, 12.0, 7, 0.3, 2.5, 0.7, 4, 3.0, 2)
    assert {field.name for field in fields(policy)} == set(CircuitBreaker.model_fields)


def test_a_new_breaker_lets_everything_through():
    breaker = Breaker(POLICY)
    assert (breaker.state, breaker.limit, breaker.retry_after(0.0)) == (CLOSED, None, None)
    assert (breaker.opened_total, breaker.reason, breaker.counts()) == (0, "", (0, 0, 0))
    assert not breaker.advance(0.0, 0)


def test_failures_in_a_row_open_it_however_few_calls_there_are():
    breaker = Breaker(POLICY)
    fail(breaker, 4)
    assert breaker.state is CLOSED
    fail(breaker, 1, now=100_000.0)
    assert breaker.state is OPEN
    assert breaker.opened_total == 1
    assert breaker.reason == "5 failures in a row; the last: the process has ended"


def test_one_good_answer_between_breaks_the_row():
    breaker = Breaker(POLICY)
    fail(breaker, 4)
    fail(breaker, 4, answers=1)
    assert breaker.state is CLOSED
    breaker.advance(100.0, 2)
    fail(breaker, 4, answers=2)
    assert breaker.state is CLOSED
    fail(breaker, 1, answers=2)
    assert breaker.state is OPEN


def test_half_of_enough_calls_failing_opens_it():
    breaker = Breaker(NO_ROW)
    fail(breaker, 9, answers=10)
    assert (breaker.state, breaker.counts()) == (CLOSED, (19, 9, 0))  # 19 calls say nothing yet
    fail(breaker, 1, answers=10)
    assert (breaker.state, breaker.counts()) == (OPEN, (20, 10, 0))
    assert breaker.reason == "10 of 20 calls within 30 s failed; the last: the process has ended"


def test_fewer_than_half_failing_does_not():
    breaker = Breaker(NO_ROW)
    fail(breaker, 99, answers=100)
    assert (breaker.state, breaker.counts()) == (CLOSED, (199, 99, 0))


def test_a_good_answer_that_makes_the_calls_enough_opens_it_too():
    breaker = Breaker(NO_ROW)
    fail(breaker, 15, answers=4)
    assert breaker.state is CLOSED
    assert breaker.advance(101.0, 5)
    assert breaker.state is OPEN


def test_failures_that_remain_when_good_answers_grow_old_open_it():
    breaker = Breaker(NO_ROW)
    breaker.advance(100.0, 100)
    fail(breaker, 20, now=120.0, answers=100)
    assert not breaker.advance(129.9, 100)
    assert breaker.advance(130.1, 100)
    assert breaker.state is OPEN
    assert breaker.counts() == (20, 20, 0)


def test_slow_calls_open_it_answered_or_not():
    answered = Breaker(NO_ROW)
    answered.slow(100.0, 20, count=17)
    assert answered.state is CLOSED
    answered.slow(100.0, 20)
    assert answered.state is OPEN
    assert answered.reason == "18 of 20 calls within 30 s took over 60 s"
    hanging = Breaker(NO_ROW)
    hanging.slow(100.0, 0, count=19)
    assert hanging.state is CLOSED
    hanging.slow(100.0, 0)
    assert (hanging.state, hanging.counts()) == (OPEN, (20, 0, 20))


def test_what_is_older_than_the_window_is_forgotten():
    breaker = Breaker(NO_ROW)
    fail(breaker, 10, now=100.0)
    breaker.slow(103.0, 3)  # a tenth of the window later
    breaker.advance(129.9, 3)
    assert breaker.counts() == (13, 10, 1)
    breaker.advance(130.0, 3)
    assert breaker.counts() == (3, 0, 1)
    breaker.advance(133.0, 3)
    assert breaker.counts() == (0, 0, 0)


def test_after_a_long_silence_nothing_is_left_of_the_window():
    breaker = Breaker(NO_ROW)
    fail(breaker, 10, answers=5)
    breaker.advance(1e7, 5)
    assert breaker.counts() == (0, 0, 0)
    fail(breaker, 2, now=1e7 + 29.9, answers=5)
    breaker.advance(1e7 + 31, 5)
    assert breaker.counts() == (2, 2, 0)


def test_open_it_admits_nothing_and_says_when_it_is_tried_again():
    breaker = opened()
    assert breaker.limit == 0
    assert breaker.retry_after(100.0) == 10.0
    assert not breaker.advance(109.9, 0)
    assert breaker.retry_after(109.9) == pytest.approx(0.1)
    assert breaker.limit == 0  # only `advance` lets it be tried
    assert breaker.retry_after(200.0) == 0.0
    assert breaker.advance(200.0, 0)
    assert (breaker.state, breaker.limit, breaker.retry_after(200.0)) == (HALF_OPEN, 3, None)


def test_stragglers_while_it_is_open_change_nothing_but_the_counts():
    breaker = opened(now=100.0)
    reason = breaker.reason
    fail(breaker, 10, now=105.0, answers=7)
    breaker.slow(106.0, 9, count=2)
    assert not breaker.advance(107.0, 9)
    assert (breaker.state, breaker.opened_total, breaker.reason) == (OPEN, 1, reason)
    assert breaker.retry_after(107.0) == 3.0
    assert breaker.counts() == (24, 15, 2)


def test_good_answers_from_before_the_trial_do_not_count_for_it():
    breaker = opened(now=100.0)
    breaker.advance(105.0, 50)
    assert breaker.advance(110.0, 60)
    assert breaker.state is HALF_OPEN
    assert not breaker.advance(110.0, 62)
    assert breaker.advance(110.0, 63)
    assert breaker.state is CLOSED


def test_enough_good_trials_close_it_with_an_empty_window():
    breaker = half_open()
    assert [breaker.advance(111.0, answers) for answers in (0, 1, 2, 3)] == [False, False, False, True]
    assert (breaker.state, breaker.limit, breaker.counts()) == (CLOSED, None, (0, 0, 0))
    fail(breaker, 4, now=112.0, answers=3)  # nor is there a row of failures from before
    assert breaker.state is CLOSED
    assert breaker.reason.startswith("5 failures in a row")  # why it opened last


def test_answers_to_calls_from_before_pass_for_no_trials():
    breaker = half_open()
    assert not any(breaker.advance(111.0, answers, trial=False) for answers in range(1, 9))
    assert (breaker.state, breaker.counts()[0]) == (HALF_OPEN, 5 + 8)
    assert [breaker.advance(111.0, answers) for answers in (9, 10, 11)] == [False, False, True]


def test_a_failed_trial_opens_it_again_for_longer_each_time_up_to_ten_times():
    breaker = half_open()
    now, pauses = 110.0, []
    for _ in range(7):
        breaker.failed(now, 0, "no answer")
        assert breaker.state is OPEN
        pauses.append(breaker.retry_after(now))
        now += pauses[-1]
        assert breaker.advance(now, 0)
    assert pauses == [20.0, 40.0, 80.0, 100.0, 100.0, 100.0, 100.0]
    assert breaker.reason == "failed again when it was tried: no answer"
    assert breaker.opened_total == 8


def test_one_failure_is_enough_whatever_good_trials_there_were():
    breaker = half_open()
    breaker.advance(110.0, 2)
    fail(breaker, 1, now=110.0, answers=2)
    assert breaker.state is OPEN
    breaker.advance(130.0, 2)
    assert not breaker.advance(130.0, 4)  # the good trials of last time are forgotten
    assert breaker.advance(130.0, 5)


def test_once_closed_it_starts_with_the_short_pause_again():
    breaker = half_open()
    breaker.failed(110.0, 0, "no answer")
    breaker.advance(130.0, 0)
    breaker.advance(130.0, 3)
    assert breaker.state is CLOSED
    fail(breaker, 5, now=140.0, answers=3)
    assert breaker.retry_after(140.0) == 10.0


def test_a_slow_trial_is_a_failed_one():
    breaker = half_open()
    before = breaker.opened_total
    breaker.slow(111.0, 0)
    assert (breaker.state, breaker.opened_total) == (OPEN, before + 1)
    assert breaker.retry_after(111.0) == 2 * POLICY.open_for
    assert breaker.reason == "was slow again when it was tried"


@pytest.mark.parametrize("make", [lambda: Breaker(POLICY), opened, half_open])
def test_a_person_may_reset_it_in_any_state(make):
    breaker = make()
    total = breaker.opened_total
    breaker.reset(150.0, 40)
    assert (breaker.state, breaker.limit, breaker.counts()) == (CLOSED, None, (0, 0, 0))
    assert breaker.opened_total == total
    fail(breaker, 4, now=150.0, answers=40)
    assert (breaker.state, breaker.counts()) == (CLOSED, (4, 4, 0))  # the 40 were before
    fail(breaker, 1, now=150.0, answers=40)
    assert breaker.retry_after(150.0) == 10.0


def test_disabled_it_counts_but_never_opens():
    breaker = Breaker(replace(POLICY, enabled=False))
    fail(breaker, 100)
    breaker.slow(100.0, 0, count=100)
    assert not breaker.advance(101.0, 0)
    assert (breaker.state, breaker.limit) == (CLOSED, None)
    assert breaker.counts() == (100, 100, 100)


@pytest.mark.parametrize("make", [lambda: Breaker(POLICY), opened, half_open])
def test_disabling_it_closes_it_and_keeps_the_counts(make):
    breaker = make()
    counts = breaker.counts()
    breaker.adopt(replace(POLICY, enabled=False))
    assert (breaker.state, breaker.counts()) == (CLOSED, counts)


def test_new_thresholds_are_in_force_with_the_counts_that_there_are():
    breaker = Breaker(NO_ROW)
    fail(breaker, 6, answers=6)
    breaker.adopt(replace(NO_ROW, minimum_calls=12))
    assert breaker.counts() == (12, 6, 0)
    assert breaker.advance(100.0, 6)
    assert breaker.state is OPEN


def test_a_new_pause_holds_for_the_one_that_is_on():
    breaker = opened(now=100.0)
    breaker.adopt(replace(POLICY, open_for=2.0))
    assert breaker.retry_after(101.0) == 1.0
    assert breaker.advance(102.0, 0)


def test_a_new_number_of_trials_holds_at_once():
    breaker = half_open()
    breaker.advance(110.0, 1)
    breaker.adopt(replace(POLICY, trials=2))
    assert breaker.limit == 2
    assert breaker.advance(110.0, 2)


def test_a_shorter_window_forgets_faster():
    breaker = Breaker(NO_ROW)
    fail(breaker, 10, now=100.0)
    breaker.adopt(replace(NO_ROW, window=10.0))
    assert breaker.counts() == (10, 10, 0)
    breaker.advance(113.0, 0)
    assert breaker.counts() == (0, 0, 0)


def test_an_illegal_move_raises():
    with pytest.raises(IllegalTransitionError, match="a breaker cannot go from closed to half-open"):
        Breaker(POLICY)._move(HALF_OPEN)
    assert HALF_OPEN not in TRANSITIONS[CLOSED]


def test_every_state_has_a_way_to_closed():
    assert set(TRANSITIONS) == set(BreakerState)
    assert all(CLOSED in targets for targets in TRANSITIONS.values())


def test_the_repr_shows_its_state():
    assert repr(opened()) == (
        "Breaker(open, calls=5, failures=5, slow=0, '5 failures in a row; the last: the process has ended')"
    )
