"""When a failed server starts again."""

import random

from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.restart import LONGEST_DELAY, SERVED_ENOUGH, STABLE_AFTER, RestartState


def test_the_first_repetition_is_at_once():
    assert RestartState().failed(5.0, since=5.0).delay(random.Random(1)) == 0.0


@given(st.integers(min_value=2, max_value=10_000), st.integers())
def test_later_ones_wait_longer_but_never_too_long(failures, seed):
    delay = RestartState(failures).delay(random.Random(seed))
    assert 0.0 < delay <= LONGEST_DELAY
    if failures > 10:
        assert delay >= LONGEST_DELAY / 2


def test_a_long_run_wipes_the_slate_clean():
    assert RestartState(9).failed(99.0, since=0.0, ran_for=STABLE_AFTER) == RestartState(1, 99.0)
    assert RestartState(9).failed(99.0, since=0.0, ran_for=STABLE_AFTER - 1) == RestartState(10, 99.0)


def test_so_do_many_good_answers_but_not_a_few():
    assert RestartState(9).failed(99.0, since=98.0, answers=SERVED_ENOUGH) == RestartState(1, 99.0)
    assert RestartState(9).failed(99.0, since=98.0, answers=SERVED_ENOUGH - 1) == RestartState(10, 99.0)


def test_what_is_older_than_the_last_failure_says_nothing_new():
    before = RestartState(2, last=50.0)
    assert before.failed(51.0, since=49.9, ran_for=1.1, answers=10**6) is before
    assert before.failed(51.0, since=50.0) == RestartState(3, 51.0)


@given(st.lists(st.floats(min_value=0, max_value=100), min_size=1))
def test_however_many_end_of_those_that_came_up_together_it_is_one_failure(ends):
    state = RestartState()
    for end in sorted(ends):
        state = state.failed(100.0 + end, since=99.0)
    assert state == RestartState(1, 100.0 + min(ends))
