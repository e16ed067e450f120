"""How many instances are wanted, and why."""

from dataclasses import replace

import pytest

from fairlead.core.autoscale import UP_COOLDOWN, Load, ScalePolicy, ScaleState, scale
from fairlead.model.fleet import Scaling

POLICY = ScalePolicy(
    enabled=True,
    minimum=1,
    maximum=8,
    target_calls=10,
    target_cpu=0.7,
    down_after=60.0,
    idle_after=300.0,
)
LAZY = replace(POLICY, minimum=0)
SESSIONS = replace(POLICY, per_session=True)
IDLE = Load(
    instances=1, in_flight=0, waiting=0, longest_wait=0.0, cpu=None, leased=0, last_call=float("-inf")
)


def load(in_flight=0, **changes):
    return replace(IDLE, in_flight=in_flight, **changes)


def state(wanted, **changes):
    return replace(ScaleState(wanted, changed_at=0.0), **changes)


def run(loads, before, policy=POLICY, start=1000.0):
    """A load each second; the counts that were wanted."""
    wanted = []
    for second, now in enumerate(loads):
        before = scale(now, before, policy, start + second)
        wanted.append(before.wanted)
    return wanted


def test_the_policy_is_what_the_file_says():
    spec = Scaling(
        enabled=False,
        min_instances=2,
        max_instances=5,
        target_calls_in_flight=20,
        target_cpu_utilization=50,
        scale_down_after=10,
        idle_after=20,
    )
    assert ScalePolicy.of(spec) == ScalePolicy(
        enabled=False,
        minimum=2,
        maximum=5,
        target_calls=20,
        target_cpu=0.5,
        down_after=10,
        idle_after=20,
    )


def test_a_target_above_the_bound_of_an_instance_is_that_bound():
    assert ScalePolicy.of(Scaling(target_calls_in_flight=64), calls_per_instance=8).target_calls == 8
    assert ScalePolicy.of(Scaling(target_calls_in_flight=16), calls_per_instance=64).target_calls == 16


@pytest.mark.parametrize(("minimum", "wanted"), [(0, 1), (1, 1), (3, 3)])
def test_there_is_a_first_start_even_where_the_minimum_is_0(minimum, wanted):
    policy = replace(POLICY, minimum=minimum)
    assert ScaleState.initial(policy, 5.0) == ScaleState(wanted, 5.0)


# -- up ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "wanted", "reason"),
    [
        (load(10), 1, ""),
        (load(11), 2, "11 calls at a time"),
        (load(31), 4, "31 calls at a time"),
        (load(6, waiting=6), 2, "12 calls at a time"),
        (load(1000), 8, "1000 calls at a time"),  # the maximum
        (load(1, cpu=0.70), 1, ""),
        (load(1, cpu=0.71), 2, "CPU at 71%"),
        (load(1, cpu=0.71, instances=2, coming=1), 2, "CPU at 71%"),  # of the one that is there
        (load(1, cpu=2.0), 3, "CPU at 200%"),
        (load(0, cpu=2.0), 1, ""),  # without a call, another instance takes nothing off it
        (load(1, waiting=1, longest_wait=1.0), 1, ""),
        (load(1, waiting=1, longest_wait=1.1), 2, "a call waits for 1.1 s"),
        (load(1, waiting=1, longest_wait=9.0, instances=0), 1, ""),  # what was wanted is not there yet
        (load(1, waiting=1, longest_wait=9.0, instances=1, coming=1), 1, ""),
        (load(0, waiting=0, longest_wait=9.0), 1, ""),
    ],
)
def test_when_more_are_wanted(now, wanted, reason):
    after = scale(now, state(1), POLICY, 1000.0)
    assert (after.wanted, after.reason) == (wanted, reason)
    assert after.changed_at == (0.0 if wanted == 1 else 1000.0)


def test_more_is_wanted_at_once_but_not_twice_within_the_cooldown():
    counts = run([load(11), load(21), load(21), load(21), load(31)], state(1))
    assert counts == [2, 2, 2, 3, 3]
    assert UP_COOLDOWN == 3.0


# -- down --------------------------------------------------------------------------------------------------


def test_less_is_wanted_only_after_a_while():
    counts = run([load(5, instances=3)] * 62, state(3))
    assert counts == [3] * 60 + [1, 1]


def test_less_is_as_many_as_were_needed_at_the_peak_of_that_while():
    loads = [load(5, instances=4)] * 30 + [load(12, instances=4)] + [load(5, instances=4)] * 30
    assert run(loads, state(4))[-2:] == [4, 2], "12 calls need 2 at 70 % of the target"
    assert run([*loads, *[load(5, instances=2)] * 61], state(4))[-1] == 1, "and later only 1"


def test_a_break_begins_the_while_anew():
    loads = [load(5)] * 50 + [load(28)] + [load(5)] * 60
    assert set(run(loads, state(3))) == {3}
    assert run([*loads, load(5)], state(3))[-1] == 1


def test_need_during_the_cooldown_is_a_break_too():
    before = state(3, changed_at=999.0)
    loads = [load(5), load(31), *[load(5)] * 60]
    assert set(run(loads, before)) == {3}
    assert run([*loads, load(5)], before)[-1] == 1


@pytest.mark.parametrize("calls", [15, 18, 20])
def test_in_the_band_nothing_changes(calls):
    assert set(run([load(calls)] * 300, state(2 if calls < 20 else 3))) == {2 if calls < 20 else 3}


def test_cpu_holds_instances_too():
    assert set(run([load(1, instances=3, cpu=0.4)] * 200, state(3))) == {3}
    assert run([load(1, instances=3, cpu=0.3)] * 200, state(3))[-1] == 2


def test_a_call_that_waits_long_holds_instances():
    assert set(run([load(1, waiting=1, longest_wait=2.0, instances=2)] * 200, state(3))) == {3}


def test_why_less_is_wanted():
    low = state(3, low_since=100.0, low_peak=2)
    assert scale(load(5), low, POLICY, 160.0) == ScaleState(2, 160.0, reason="less is needed for 60 s")


# -- bounds ------------------------------------------------------------------------------------------------


def test_new_bounds_are_in_force_at_once():
    low, high = replace(POLICY, minimum=4), replace(POLICY, maximum=3)
    assert scale(IDLE, state(2, changed_at=999.9), low, 1000.0) == ScaleState(
        4, 1000.0, reason="minInstances is 4"
    )
    assert scale(load(100), state(5, changed_at=999.9), high, 1000.0) == ScaleState(
        3, 1000.0, reason="maxInstances is 3"
    )


def test_without_scaling_there_are_always_as_many_as_the_minimum():
    off = replace(POLICY, enabled=False, minimum=2)
    busy = load(1000, waiting=50, longest_wait=60.0, cpu=3.0)
    assert scale(busy, state(5), off, 1000.0) == ScaleState(2, 1000.0, reason="scaling is off")
    assert scale(busy, state(2), off, 1000.0) == state(2)


# -- to zero and back --------------------------------------------------------------------------------------


@pytest.mark.parametrize("enabled", [True, False])
def test_a_quiet_server_goes_idle_where_the_minimum_is_0(enabled):
    policy = replace(LAZY, enabled=enabled)
    quiet = load(last_call=700.0)
    assert scale(quiet, state(1), policy, 999.9).wanted == 1
    idle = scale(quiet, state(1), policy, 1000.0)
    assert idle == ScaleState(0, 1000.0, reason="no call for 300 s")
    assert scale(replace(quiet, instances=0), idle, policy, 5000.0) == idle


@pytest.mark.parametrize(
    "now",
    [
        load(1),
        load(waiting=1),
        load(leased=1),
        load(last_call=800.0),
        load(instances=0),  # it has not been up: nobody knows yet what it offers
        load(instances=1, coming=1),
    ],
)
def test_what_forbids_zero(now):
    assert scale(now, state(1), LAZY, 1000.0).wanted == 1


def test_the_minimum_forbids_zero():
    assert run([IDLE] * 1000, state(1))[-1] == 1


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("cause", [{"waiting": 1}, {"in_flight": 1}, {"last_call": 999.0}])
def test_a_call_brings_it_back_at_once(enabled, cause):
    policy = replace(LAZY, enabled=enabled)
    back = scale(replace(IDLE, instances=0, **cause), state(0, changed_at=999.9), policy, 1000.0)
    assert back == ScaleState(1, 1000.0, reason="a call came")


def test_a_new_minimum_brings_it_back():
    back = scale(replace(IDLE, instances=0), state(0), replace(POLICY, minimum=2), 1000.0)
    assert back == ScaleState(2, 1000.0, reason="minInstances is 2")


# -- an instance for each session --------------------------------------------------------------------------


def test_spare_instances_are_as_many_as_sessions_wait():
    now = load(instances=1, leased=3, waiting=4, longest_wait=9.0)
    after = scale(now, state(1), SESSIONS, 1000.0)
    assert (after.wanted, after.reason) == (4, "4 waiting")
    assert scale(replace(now, waiting=50), state(1), SESSIONS, 1000.0).wanted == 8


def test_calls_and_cpu_of_sessions_ask_for_no_spare_ones():
    assert scale(load(200, cpu=3.0, leased=2), state(1), SESSIONS, 1000.0) == state(1)


def test_spare_instances_go_when_no_session_waits():
    assert run([load(leased=2, instances=4)] * 61, state(4), SESSIONS)[-2:] == [4, 1]


def test_sessions_forbid_zero():
    lazy = replace(SESSIONS, minimum=0)
    assert scale(load(leased=1), state(1), lazy, 1e6).wanted == 1
    assert scale(load(leased=0), state(1), lazy, 1e6).wanted == 0
