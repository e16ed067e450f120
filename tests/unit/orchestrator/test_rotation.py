"""Which instances of a server get calls."""

import pytest

from fairlead.core.breaker import Breaker, BreakerPolicy
from fairlead.core.health import Health
from fairlead.model.fleet import CallLimits, CircuitBreaker, Strategy
from fairlead.model.status import Standing
from fairlead.orchestrator.instance import MCPServerInstance, PoolKey
from fairlead.orchestrator.replies import FutureReply
from fairlead.orchestrator.rotation import Rotation
from support.pool_rig import Ears, silent
from support.scripted import ScriptedDriver, launch

pytestmark = pytest.mark.looptime
OPEN = BreakerPolicy.of(CircuitBreaker(consecutive_failures=1, open_for=10, trials=2))


class Rig:
    """Some instances whose calls stay in flight, and a rotation of them."""

    def __init__(self, instances, links, strategy):
        self.instances = instances
        self.links = links
        self.server = Breaker(OPEN)
        self.rotation = Rotation(strategy)

    def refresh(self, *, panic=0.5, **limits):
        self.rotation.refresh(self.instances, CallLimits(**limits), self.server, panic=panic)

    def pick(self):
        """The place of the one that gets the next call, which then has it."""
        instance = self.rotation.pick()
        return None if instance is None else self.load(self.instances.index(instance))

    def load(self, index, calls=1):
        for _ in range(calls):
            self.instances[index].forward("tools/call", b"{}", FutureReply(), deadline=1e9)
        return index

    def picks(self, count):
        return [self.pick() for _ in range(count)]


async def rig(count, strategy=Strategy.ROUND_ROBIN):
    driver = ScriptedDriver(silent())
    instances = []
    for number in range(count):
        breaker = Breaker(OPEN)
        instance = MCPServerInstance(launch(f"s-{number}"), driver, Ears(), PoolKey("s", "e", "p"), breaker)
        await instance.start(60)
        instances.append(instance)
    return Rig(instances, driver.links, strategy)


def stand(instance, standing):
    instance.health = Health(standing=standing)


async def test_nobody_gets_calls_before_there_is_somebody():
    here = await rig(1)
    assert here.rotation.pick() is None
    assert here.rotation.room() == 0
    assert here.rotation.first() is None


async def test_the_strategy_spreads_calls_and_can_be_changed():
    here = await rig(3, Strategy.ROUND_ROBIN)
    here.refresh()
    assert here.picks(6) == [0, 1, 2, 0, 1, 2]
    here.load(0, 5)
    here.load(1, 2)
    here.rotation.use(Strategy.LEAST_CONNECTIONS)
    assert here.rotation.strategy is Strategy.LEAST_CONNECTIONS
    assert here.picks(3) == [2, 2, 1]
    here.rotation.use(Strategy.WEIGHTED)
    for instance, weight in zip(here.instances, (0, 1, 3), strict=True):
        instance.weight = weight
    assert sorted(here.picks(8)) == [1, 1, *[2] * 6]


async def test_using_the_same_strategy_keeps_its_place():
    here = await rig(3)
    here.refresh()
    assert here.pick() == 0
    here.rotation.use(Strategy.ROUND_ROBIN)
    assert here.pick() == 1


async def test_busy_processes_get_less():
    here = await rig(2, Strategy.RESOURCE_BASED)
    here.refresh()
    here.instances[0].pressure = 1.0
    assert here.picks(6).count(1) == 4


@pytest.mark.parametrize("strategy", Strategy)
async def test_each_instance_has_its_bound_whatever_the_strategy(strategy):
    here = await rig(2, strategy)
    here.instances[0].weight = 1000.0
    here.refresh(calls_per_instance=3)
    assert here.rotation.room() == 6
    assert sorted(here.picks(6)) == [0, 0, 0, 1, 1, 1]
    assert here.pick() is None
    assert here.rotation.room() == 0


async def test_the_server_has_its_bound():
    here = await rig(3)
    here.refresh(calls_per_instance=3, calls=4)
    assert here.rotation.room() == 4
    assert None not in here.picks(4)
    assert here.pick() is None
    assert here.rotation.room() == 0


async def test_suspects_and_hung_ones_get_no_calls():
    here = await rig(4)
    stand(here.instances[1], Standing.SUSPECT)
    stand(here.instances[3], Standing.UNHEALTHY)
    here.refresh()
    assert set(here.picks(6)) == {0, 2}
    assert len(here.rotation) == 2
    assert here.instances[0] in here.rotation
    assert here.instances[1] not in here.rotation
    assert not here.rotation.panicking


async def test_too_few_that_are_trusted_is_panic_and_all_that_live_get_calls():
    here = await rig(4)
    for instance in here.instances[:2]:
        stand(instance, Standing.SUSPECT)
    stand(here.instances[3], Standing.UNHEALTHY)
    here.refresh(panic=0.5)
    assert here.rotation.panicking, "one of three"
    assert set(here.picks(6)) == {0, 1, 2}, "never one that hangs"
    here.refresh(panic=0.3)
    assert not here.rotation.panicking
    assert set(here.picks(3)) == {2}


async def test_the_last_suspect_gets_calls_even_without_a_panic_threshold():
    here = await rig(1)
    stand(here.instances[0], Standing.SUSPECT)
    here.refresh(panic=0.0)
    assert here.pick() == 0
    stand(here.instances[0], Standing.UNHEALTHY)
    here.refresh(panic=0.0)
    assert here.pick() is None


async def test_an_instance_whose_breaker_is_open_gets_none_and_half_open_a_few():
    here = await rig(2)
    tried = here.instances[1].breaker
    tried.failed(0, 0, "boom")
    here.refresh()
    assert set(here.picks(4)) == {0}
    assert tried.advance(10, 0)
    here.refresh()
    assert sorted(here.picks(6))[-2:] == [1, 1], "its trials"
    assert here.instances[1].in_flight == 2
    assert tried.advance(11, 2)
    here.refresh()
    assert here.picks(4).count(1) == 2, "closed: as many as anybody"


async def test_only_calls_sent_since_it_is_on_trial_take_the_places_of_trials():
    here = await rig(1)
    [instance] = here.instances
    here.refresh()
    here.load(0, 5)
    instance.forward("ping", b"{}", FutureReply(own=True), deadline=1e9)
    instance.breaker.failed(0, 0, "boom")
    assert instance.breaker.advance(10, 0)
    instance.trials_after = instance.sent
    here.refresh(calls_per_instance=5)
    instance.forward("ping", b"{}", FutureReply(own=True), deadline=1e9)
    assert here.rotation.room() == 2
    assert here.picks(3) == [0, 0, None]
    instance.cancel(instance.sent, "a trial is given up")
    assert here.pick() == 0
    instance.cancel(1, "one from before is given up")
    assert here.pick() is None
    assert instance.breaker.advance(11, 2)
    here.refresh(calls_per_instance=7)
    assert here.picks(5) == [0, 0, 0, 0, None], "closed, those since then and the gateway's own count"


async def test_calls_from_before_do_not_keep_trials_from_an_instance():
    here = await rig(2)
    here.refresh()
    here.load(1, 5)
    tried = here.instances[1]
    tried.breaker.failed(0, 0, "boom")
    assert tried.breaker.advance(10, 0)
    tried.trials_after = tried.sent
    here.refresh()
    assert here.picks(6) == [0, 1, 0, 1, 0, 0]


async def test_open_breakers_of_all_instances_do_not_empty_the_pool():
    here = await rig(2)
    for instance in here.instances:
        instance.breaker.failed(0, 0, "boom")
    here.refresh(calls_per_instance=5)
    assert here.rotation.panicking
    assert sorted(here.picks(10)) == [0] * 5 + [1] * 5
    assert here.pick() is None, "the bound holds in panic, too"


async def test_while_the_server_is_open_or_on_trial_only_trials_pass():
    here = await rig(2)
    here.refresh()
    here.server.failed(0, 0, "boom")
    here.refresh()
    assert here.rotation.pick() is None
    assert here.rotation.room() == 0
    here.server.advance(10, 0)
    here.refresh()
    assert here.rotation.pick() is None, "trials go another way"
    first = here.rotation.first()
    here.load(here.instances.index(first))
    assert here.rotation.first() is not first, "the least loaded"
    here.server.advance(11, 2)
    here.refresh()
    assert here.pick() is not None


async def test_one_that_does_not_read_is_passed_over_and_used_last():
    here = await rig(2)
    here.refresh()
    here.instances[0].writable = False
    assert set(here.picks(4)) == {1}
    here.instances[1].writable = False
    assert here.pick() == 0, "both are slow: the one with fewer calls"
    link = here.links[0]
    link.queued = 10**9
    assert set(here.picks(2)) == {1}, "one that takes nothing at all gets nothing"


async def test_a_healthy_one_can_be_asked_for():
    here = await rig(3)
    stand(here.instances[0], Standing.SUSPECT)
    here.refresh(panic=0.9, calls_per_instance=3, calls=4)
    here.load(1)
    assert here.rotation.panicking
    assert here.rotation.pick_healthy() is here.instances[2], "the least loaded of those"
    here.load(2, 3)
    assert here.rotation.pick_healthy() is None, "the server's bound holds"
    stand(here.instances[1], Standing.SUSPECT)
    stand(here.instances[2], Standing.SUSPECT)
    here.refresh(panic=0.9)
    assert here.rotation.pick_healthy() is None
    assert here.rotation.pick() is not None


async def test_a_full_one_does_not_block_the_others_turns():
    here = await rig(3)
    here.refresh(calls_per_instance=2)
    here.load(0, 2)
    assert sorted(here.picks(4)) == [1, 1, 2, 2]


async def test_a_bound_that_is_lowered_holds_from_the_next_call_on():
    here = await rig(1)
    here.refresh(calls_per_instance=10)
    here.picks(5)
    here.refresh(calls_per_instance=3)
    assert here.pick() is None
    assert here.rotation.room() == 0, "not less than none"
    here.refresh(calls_per_instance=10)
    assert here.rotation.room() == 5


async def test_what_it_says_of_itself():
    here = await rig(2)
    here.refresh()
    assert repr(here.rotation) == "<Rotation round-robin of 2>"
