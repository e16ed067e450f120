"""The instance's life as a table."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.lifecycle import ENDED, TRANSITIONS, IllegalTransitionError, InstanceState, diagram, move


def test_the_usual_life():
    state = InstanceState.CREATED
    for following in ("launching", "negotiating", "ready", "draining", "stopping", "stopped"):
        state = move(state, InstanceState(following))
    assert state is InstanceState.STOPPED


@given(st.sampled_from(InstanceState), st.sampled_from(InstanceState))
def test_only_what_the_table_has_is_allowed(current, target):
    if target in TRANSITIONS[current]:
        assert move(current, target) is target
    else:
        with pytest.raises(IllegalTransitionError, match=current.value):
            move(current, target)


def test_an_end_is_an_end_and_can_be_reached_from_everywhere():
    for state in InstanceState:
        assert (not TRANSITIONS[state]) == (state in ENDED)
        reached, frontier = set(), {state}
        while frontier:
            reached |= frontier
            frontier = {t for s in frontier for t in TRANSITIONS[s]} - reached
        assert reached & ENDED


def test_the_documentation_shows_this_table():
    text = Path("docs/architecture.md").read_text()
    assert diagram() in text
