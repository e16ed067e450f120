"""A hang is found in time whenever it begins, whatever came before it; and nobody else is called hung."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from itertools import accumulate, chain, repeat

import looptime
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fairlead.core.health import Health, HealthPolicy
from fairlead.model.fleet import HealthCheck
from fairlead.model.status import Standing
from fairlead.orchestrator.health import HealthMonitor
from support.health_rig import Instance, Pool

ROUNDING = 1e-3  # s


@dataclass
class Life:
    """What happens to an instance until it hangs. Times in s from its start."""

    hang: float
    answers: list[float] = field(default_factory=list)  # calls
    asked: list[float] = field(default_factory=list)  # for a check, by somebody
    latency: float = 0.0  # of a ping
    ticks: list[float] = field(default_factory=list)  # time between the first ones; then 1 s


LIVES = st.builds(
    Life,
    hang=st.floats(0, 50),
    answers=st.one_of(
        st.just([]),  # idle
        st.lists(st.floats(0, 60), max_size=30),  # now and then
        st.builds(lambda gap: [gap * n for n in range(int(60 / gap))], st.floats(0.2, 12)),  # evenly
    ),
    asked=st.lists(st.floats(0, 70), max_size=3),
    latency=st.floats(0, 1.9),
    ticks=st.lists(st.floats(0.2, 1.0), max_size=60),
)


def standings(life: Life, until: float, **check) -> list[tuple[float, Standing]]:
    """The real monitor over such a life, in virtual time: when the instance's standing changed, to what."""

    async def live():
        loop = asyncio.get_running_loop()
        instance = Instance(latency=life.latency)
        pool = Pool(instance, **check)
        monitor = HealthMonitor(lambda: [pool])
        asking = []
        loop.call_at(life.hang, instance.hang)
        for moment in life.answers:
            loop.call_at(moment, instance.answer)
        for moment in life.asked:
            loop.call_at(moment, lambda: asking.append(asyncio.ensure_future(monitor.check_now([pool]))))
        for moment in accumulate(chain(life.ticks, repeat(1.0))):
            if moment > until:
                break
            await asyncio.sleep(moment - loop.time())
            monitor.tick(loop.time())
        await asyncio.sleep(until - loop.time())
        await monitor.close()
        await asyncio.gather(*asking, return_exceptions=True)
        return pool.standings

    with asyncio.Runner(loop_factory=lambda: looptime.new_event_loop(noop_cycles=4)) as runner:
        return runner.run(live())


def found_at(changes):
    return next((moment for moment, standing in changes if standing is Standing.UNHEALTHY), None)


@settings(max_examples=100, deadline=None)
@given(LIVES)
@example(Life(hang=30.0))
@example(Life(hang=29.999, answers=[29.99]))  # just before a full check
@example(Life(hang=25.01, answers=[25.0], asked=[25.005], latency=0.01))  # in the middle of one
@example(Life(hang=30.5, answers=[n / 2 for n in range(62)], latency=1.9))
def test_any_hang_is_found_within_13_seconds_and_nothing_is_called_hung_before(life):
    changes = standings(life, until=life.hang + 15)
    assert all(moment >= life.hang for moment, _ in changes), "a false alarm"
    found = found_at(changes)
    assert found is not None
    assert found - life.hang <= 13 + ROUNDING, "5 s of silence, 3 checks of 2 s, 2 ticks"


CHECKS = st.fixed_dictionaries(
    {
        "interval": st.floats(0.5, 60),
        "timeout": st.floats(0.1, 30),
        "idle_interval": st.floats(0.1, 10),
        "idle_timeout": st.floats(0.1, 5),
        "retries": st.integers(1, 5),
    }
)


@settings(max_examples=100, deadline=None)
@given(LIVES, CHECKS)
def test_with_any_thresholds_a_hang_is_found_within_the_stated_bound(life, check):
    # One that is always late by these thresholds may be unhealthy before it hangs; that is found, too.
    bound = check["idle_interval"] + (check["retries"] + 1) * check["idle_timeout"] + 2
    found = found_at(standings(life, until=life.hang + bound + ROUNDING, **check))
    assert found is not None


@settings(max_examples=50, deadline=None)
@given(LIVES, st.floats(2.1, 1000))
def test_one_that_answers_calls_is_never_called_hung_however_late_its_pings_are(life, latency):
    life.hang, life.latency = 1000.0, latency
    life.answers = [n * 0.9 for n in range(80)]
    assert found_at(standings(life, until=70.0)) is None


POLICIES = st.builds(
    HealthPolicy,
    enabled=st.just(True),
    interval=st.floats(0.1, 100),
    timeout=st.floats(0.1, 100),
    idle_interval=st.floats(0.1, 100),
    idle_timeout=st.floats(0.1, 100),
    retries=st.integers(1, 10),
    recoveries=st.integers(1, 10),
)
EVENTS = st.lists(
    st.tuples(st.sampled_from(["passed", "failed", "answered"]), st.booleans(), st.floats(0, 10)), max_size=60
)


def lives(policy, events):
    """The healths that follow from the events, each with its time and how many such events came in a row."""
    health, now, row, last = Health(), 0.0, 0, True
    for what, full, pause in events:
        now += pause
        good = what != "failed"
        row = row + 1 if good is last else 1
        last = good
        before = health
        health = (
            health.answered(now, policy)
            if what == "answered"
            else (health.passed if good else health.failed)(now, policy, full=full)
        )
        yield before, health, now, good, row


@settings(deadline=None)
@given(POLICIES, EVENTS)
def test_the_thresholds_are_in_a_row(policy, events):
    for before, health, now, good, row in lives(policy, events):
        if good:
            assert health.seen_at == now
            assert health.standing is not Standing.SUSPECT
            trusted = before.standing is not Standing.UNHEALTHY or row >= policy.recoveries
            assert (health.standing is Standing.HEALTHY) == trusted
        else:
            assert health.standing is not Standing.HEALTHY
            gone = before.standing is Standing.UNHEALTHY or row >= policy.retries
            assert (health.standing is Standing.UNHEALTHY) == gone


@settings(deadline=None)
@given(POLICIES, EVENTS)
def test_every_standing_has_a_way_out(policy, events):
    for _, health, now, _, _ in lives(policy, events):
        later = now + max(policy.interval, policy.idle_interval, policy.idle_timeout) + ROUNDING
        assert health.due(later, policy) is not None, "nobody is forgotten"
        after = health
        for _ in range(policy.recoveries):
            after = after.passed(later, policy, full=False)
        assert after.standing is Standing.HEALTHY


@settings(deadline=None)
@given(POLICIES, EVENTS, st.floats(0, 100))
def test_a_check_ends_by_the_time_at_which_silence_is_a_failure(policy, events, pause):
    for _, health, last, _, _ in lives(policy, events):
        now = last + pause
        check = health.due(now, policy)
        if check is None:
            continue
        assert 0 < check.timeout <= max(policy.timeout, policy.idle_timeout)
        silence = max(now - health.seen_at, policy.idle_interval)
        assert now + check.timeout <= health.seen_at + silence + policy.idle_timeout + ROUNDING


def test_the_defaults_are_those_of_the_fleet_file():
    policy = HealthPolicy.of(HealthCheck())
    assert policy.idle_interval + policy.retries * policy.idle_timeout + 2 == 13
