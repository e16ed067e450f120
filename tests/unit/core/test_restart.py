"""When a failed server starts again."""

import random

from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.restart import LONGEST_DELAY, STABLE_AFTER, RestartState


def test_the_first_repetition_is_at_once():
    assert RestartState().failed(ran_for=0).delay(random.Random(1)) == 0.0


@given(st.integers(min_value=2, max_value=10_000), st.integers())
def test_later_ones_wait_longer_but_never_too_long(failures, seed):
    delay = RestartState(failures).delay(random.Random(seed))
    assert 0.0 < delay <= LONGEST_DELAY
    if failures > 10:
        assert delay >= LONGEST_DELAY / 2


def test_a_long_run_wipes_the_slate_clean():
    assert RestartState(9).failed(ran_for=STABLE_AFTER) == RestartState(1)
    assert RestartState(9).failed(ran_for=STABLE_AFTER - 1) == RestartState(10)
