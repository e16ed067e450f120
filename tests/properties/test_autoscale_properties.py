"""Scaling stays within its bounds, comes to rest, and never wants less for more."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.core.autoscale import SLACK, UP_COOLDOWN, Load, ScalePolicy, ScaleState, scale


@st.composite
def policies(draw, **fixed):
    maximum = draw(st.integers(1, 50))
    drawn = {
        "enabled": draw(st.booleans()),
        "minimum": draw(st.integers(0, maximum)),
        "maximum": maximum,
        "target_calls": draw(st.integers(1, 100)),
        "target_cpu": draw(st.floats(0.01, 1)),
        "down_after": draw(st.floats(0.001, 100)),
        "idle_after": draw(st.floats(0.001, 400)),
        "per_session": draw(st.booleans()),
    }
    return ScalePolicy(**drawn | fixed)


@st.composite
def loads(draw):
    instances = draw(st.integers(0, 60))
    return Load(
        instances=instances,
        in_flight=draw(st.one_of(st.just(0), st.integers(0, 5000))),
        waiting=draw(st.one_of(st.just(0), st.integers(0, 300))),
        longest_wait=draw(st.floats(0, 60)),
        cpu=draw(st.one_of(st.none(), st.floats(0, 8))),
        leased=draw(st.one_of(st.just(0), st.integers(0, 50))),
        last_call=draw(st.floats(0, 1000)),
        coming=draw(st.integers(0, instances)),
    )


@st.composite
def states(draw):
    """States as `scale` makes them, though under any policy."""
    wanted = draw(st.integers(0, 60))
    changed = draw(st.floats(0, 1000))
    if wanted < 2 or draw(st.booleans()):
        return ScaleState(wanted, changed)
    return ScaleState(wanted, changed, draw(st.floats(changed, 1000)), "", draw(st.integers(1, wanted - 1)))


def settled(policy, instances=None):
    """A state within the policy's bounds."""
    return ScaleState(min(max(instances or 1, policy.floor), policy.maximum), 0.0)


@given(policies(), loads(), states(), st.floats(1000, 2000))
def test_what_is_wanted_is_within_the_bounds(policy, load, state, now):
    after = scale(load, state, policy, now)
    if after.wanted == 0:
        assert policy.minimum == 0
        assert load.in_flight == load.waiting == load.leased == 0
        assert now - load.last_call >= policy.idle_after
    else:
        assert max(1, policy.minimum) <= after.wanted <= policy.maximum
        assert policy.enabled or after.wanted == max(1, policy.minimum)
    if load.waiting:
        assert after.wanted > 0, "who waits gets an instance, even where scaling is off"
    if after.wanted != state.wanted:
        assert (after.changed_at, after.low_since) == (now, None)
        assert after.reason


@settings(deadline=None)
@given(policies(enabled=True), st.lists(loads(), min_size=1, max_size=60), st.floats(0.1, 5))
def test_changes_keep_the_cooldown_and_the_time_of_less(policy, series, step):
    state, now, changed = ScaleState.initial(policy, 1000.0), 1000.0, 1000.0
    for load in series:
        now += step
        after = scale(load, state, policy, now)
        if state.wanted and after.wanted > state.wanted:
            assert now - changed >= UP_COOLDOWN
        if 0 < after.wanted < state.wanted:
            assert now - changed >= policy.down_after
        if after.wanted != state.wanted:
            changed = now
        state = after


@settings(max_examples=100, deadline=None)
@given(policies(), loads(), states(), st.integers(100, 400))
def test_a_constant_load_comes_to_rest(policy, load, state, step):
    """Observed as constant, whatever is wanted: so it is for a pool that cannot start what is wanted, too."""
    now, last = 1000.0, 0
    longest = policy.maximum + 5  # at most one step for each instance, then down once, then to zero
    for number in range(4 * longest):
        now += step
        after = scale(load, state, policy, now)
        if after.wanted != state.wanted:
            last = number
        state = after
    assert last <= longest


@settings(max_examples=100, deadline=None)
@given(
    policies(enabled=True, per_session=False),
    st.integers(0, 2000),
    st.floats(0, 60),
    st.integers(1, 60),
    st.floats(0, 0.5),
)
def test_constant_work_spread_over_what_is_wanted_comes_to_rest(policy, calls, cores, first, idle_cpu):
    """The loop closed: what is wanted is there at once, calls and CPU are spread over it."""
    state, now = settled(policy, first), 1000.0
    directions = []
    for _ in range(400):
        now += max(UP_COOLDOWN, policy.down_after) + 1
        n = max(1, state.wanted)
        cpu = idle_cpu * policy.target_cpu + cores / n
        load = Load(state.wanted, calls, 0, 0.0, cpu, 0, last_call=now if calls else 0.0)
        after = scale(load, state, policy, now)
        if after.wanted not in (0, state.wanted):
            directions.append(after.wanted > state.wanted)
        state = after
    assert len(set(directions)) <= 1, "it never turns round"
    final = scale(load, state, policy, now + 1000)
    assert final.wanted == state.wanted
    if calls:
        assert state.wanted >= min(ceil(calls / policy.target_calls), policy.maximum)
        assert state.wanted == policy.maximum or cpu <= policy.target_cpu + 1e-9


@settings(deadline=None)
@given(policies(enabled=True, per_session=False), st.integers(1, 50), st.data())
def test_in_the_hysteresis_band_nothing_ever_changes(policy, count, data):
    count = min(max(count, policy.floor), policy.maximum)
    most = count * policy.target_calls
    least = (count - 1) * policy.target_calls * round(100 * SLACK) // 100 + 1
    series = data.draw(st.lists(st.integers(min(least, most), most), min_size=1, max_size=100))
    state, now = ScaleState(count, 0.0), 1000.0
    for calls in series:
        now += 30
        load = Load(count, calls, 0, 0.0, None, 0, last_call=now)
        state = scale(load, state, policy, now)
        assert state.wanted == count


MORE = st.fixed_dictionaries(
    {
        "in_flight": st.integers(0, 500),
        "waiting": st.integers(0, 50),
        "longest_wait": st.floats(0, 10),
        "leased": st.integers(0, 5),
        "last_call": st.floats(0, 500),
    }
)


@settings(max_examples=100, deadline=None)
@given(policies(), loads(), states(), MORE, st.floats(0, 3), st.floats(1000, 2000))
def test_more_load_never_wants_less(policy, load, state, more, cpu, now):
    bigger = replace(load, **{name: getattr(load, name) + amount for name, amount in more.items()})
    if load.cpu is not None:
        bigger = replace(bigger, cpu=load.cpu + cpu)
    assert scale(bigger, state, policy, now).wanted >= scale(load, state, policy, now).wanted
