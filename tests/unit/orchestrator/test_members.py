"""The instances that a pool has, and whose they are."""

import pytest

from fairlead.core.breaker import Breaker, BreakerPolicy
from fairlead.core.health import Health
from fairlead.core.lifecycle import InstanceState
from fairlead.model.fleet import CircuitBreaker
from fairlead.model.status import BreakerState, Standing
from fairlead.orchestrator.instance import MCPServerInstance, PoolKey
from fairlead.orchestrator.members import SAMPLE_EVERY, Lease, Members
from support.pool_rig import Ears
from support.scripted import ScriptedDriver, launch, legacy

pytestmark = pytest.mark.looptime
KEY = PoolKey("s", "now", "p")
OLD = PoolKey("s", "old", "p")


async def made(*keys):
    """Members with an instance of each key."""
    members = Members(KEY)
    driver = ScriptedDriver(legacy())
    for number, key in enumerate(keys):
        breaker = Breaker(BreakerPolicy.of(CircuitBreaker()))
        instance = MCPServerInstance(launch(f"s-{number}"), driver, Ears(), key, breaker)
        await instance.start(60)
        members.add(instance)
    return members, *members


async def call(instance):
    await instance.call("tools/call", {}, timeout=5)


async def test_only_those_of_the_present_version_that_are_ready_count():
    members, old, draining, leased, free, hung = await made(OLD, KEY, KEY, KEY, KEY)
    members.drain(draining)
    leased.leased_to = "session:a"
    hung.health = Health(standing=Standing.UNHEALTHY)
    assert members.ready() == [leased, free, hung], "a hung one is still there"
    assert members.free() == [free, hung]
    assert members.leaving() == [draining, hung]
    assert old in members
    assert len(members) == 5
    members.key = OLD
    assert members.ready() == [old]


async def test_the_last_that_came_up_is_remembered_after_its_end():
    members, first, second = await made(KEY, KEY)
    assert members.last is second
    members.remove(second)
    assert members.last is second, "what it said of itself is still shown"
    assert list(members) == [first]


async def test_counts_only_grow_whoever_goes():
    members, first, second = await made(KEY, KEY)
    await call(first)
    await call(second)
    await call(second)
    assert (members.answers, members.calls_total) == (3, 3)
    members.remove(second)
    assert (members.answers, members.calls_total) == (3, 3)
    await call(first)
    members.remove(first)
    assert (members.answers, members.calls_total) == (4, 4)


async def test_what_an_older_version_answers_does_not_count_and_the_count_goes_on():
    members, old, older = await made(OLD, OLD)
    members.key = OLD
    await call(old)
    await call(older)
    members.key = KEY
    assert members.answers == 2
    await call(old)
    members.remove(old)
    assert members.answers == 2
    members.key = OLD
    assert members.answers == 2
    await call(older)
    members.remove(older)
    assert members.answers == 3
    assert members.calls_total == 4, "calls are calls"


async def test_those_that_retire_stay_only_while_no_other_one_is_sound():
    members, retiring, other = await made(KEY, KEY)
    retiring.retiring = True
    assert members.staying() == [other]
    other.health = Health(standing=Standing.SUSPECT)
    assert members.staying() == [retiring, other]
    other.health = Health()
    other.breaker.state = BreakerState.OPEN
    assert members.staying() == [retiring, other]
    other.retiring = True
    assert members.staying() == [retiring, other]


async def test_a_drained_one_belongs_to_nobody_and_answers_what_it_has():
    members, instance = await made(KEY)
    instance.leased_to = "session:a"
    members.leases["session:a"] = Lease(instance, 0.0)
    members.drain(instance)
    assert instance.state is InstanceState.DRAINING
    assert instance.leased_to is None
    assert members.leases == {}
    members.drain(instance)
    assert instance.state is InstanceState.DRAINING
    await instance.stop()
    members.drain(instance)
    assert instance.state is InstanceState.STOPPED


async def test_the_end_of_an_instance_leaves_the_lease_of_its_successor_alone():
    members, first, second = await made(KEY, KEY)
    first.leased_to = second.leased_to = "session:a"
    members.leases["session:a"] = Lease(second, 0.0)
    members.remove(first)
    assert members.leases["session:a"].instance is second
    members.remove(second)
    assert members.leases == {}


async def test_how_busy_they_are_is_looked_at_now_and_then():
    members, first, second = await made(KEY, KEY)
    seen = []
    first.sample = lambda seconds, cores: seen.append((seconds, cores))
    members.sample(100.0, 2.0)
    assert seen == [(float("inf"), 2.0)]
    members.sample(100.0 + SAMPLE_EVERY - 0.1, 2.0)
    assert len(seen) == 1
    members.sample(100.0 + SAMPLE_EVERY, 2.0)
    assert seen[1] == (SAMPLE_EVERY, 2.0)
    first.pressure, second.pressure = 0.2, 0.6
    assert members.pressure == pytest.approx(0.4)
    assert Members(KEY).pressure == 0.0


async def test_what_they_say_of_themselves():
    members, _ = await made(KEY)
    assert repr(members) == "<Members [<s-0 ready pending=0 calls=0>] leases=0>"
