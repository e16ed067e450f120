"""When the next look is."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from fairlead.git.source import LONGEST_RETRY, mirror_name, next_look
from fairlead.model.gitops import Source

SEEDS = st.integers(0, 1000)


@given(st.floats(0.1, 1e6), SEEDS)
def test_polls_have_jitter(poll, seed):
    delay = next_look(poll, 0, random.Random(seed))
    assert 0.9 * poll <= delay <= 1.1 * poll


@given(st.floats(0.1, 1e6), st.integers(1, 10**6), SEEDS)
def test_failures_are_tried_again_sooner_for_ever_and_never_at_once(poll, failures, seed):
    delay = next_look(poll, failures, random.Random(seed))
    cap = min(poll, LONGEST_RETRY, 2.0 ** (min(failures, 50) - 1))
    assert cap / 2 <= delay <= cap


def test_another_place_is_another_mirror():
    def named(**spec: str) -> str:
        return mirror_name("config", Source.model_validate(spec))

    names = {
        named(url="https://a/x"),
        named(url="https://a/y"),
        named(url="https://a/x", branch="other"),
    }
    assert len(names) == 3
    assert all(name.startswith("config-") and name.endswith(".git") for name in names)
    assert named(url="https://a/x", poll="5s") in names
