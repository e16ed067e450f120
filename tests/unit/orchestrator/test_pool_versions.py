"""A new version of a server takes over, or leaves no trace. All in virtual time."""

import asyncio

import pytest

from fairlead.core.lifecycle import InstanceState
from fairlead.model.errors import ProblemError
from fairlead.model.fleet import CallLimits, CircuitBreaker, HealthCheck, LoadBalancing, Scaling, Sharing
from fairlead.model.status import BreakerState, ServerState
from support.pool_rig import PoolRig, problem, silent, stateful
from support.scripted import ScriptedDriver, legacy, refuse

pytestmark = pytest.mark.looptime
FLEET = LoadBalancing()


class VersionRig(PoolRig):
    """A pool whose spec can ask for command `y`, which `new` runs."""

    def __init__(self, script=None, new=None, **spec):
        super().__init__(script, **spec)
        self.new = self.launcher.versions["y"] = ScriptedDriver(new or legacy(("echo", "more")))

    @property
    def wanted(self):
        return self.changed(command="y")

    async def roll(self):
        newcomers = await self.pool.prepare(self.wanted)
        return self.pool.commit(self.wanted, FLEET, newcomers)

    def everything(self):
        pool = self.pool
        return (
            pool.status().model_dump(),
            pool.members.key,
            list(pool.members),
            pool.known_instances(),
            pool.spec,
            pool.catalogue,
        )


async def test_until_it_is_committed_a_new_version_gets_no_calls_and_shows_nothing():
    async with VersionRig() as rig:
        [old] = await rig.ready()
        newcomers = await rig.pool.prepare(rig.wanted)
        assert len(rig.new.running) == 1
        assert rig.pool.pick("k") is old
        assert rig.pool.status().tools == 1
        assert rig.pool.status().revision == rig.pool.members.key.environment
        assert len(rig.listener.kinds) == 1
        assert newcomers[0].instance in rig.pool.known_instances()
        rig.new.running[0].say({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
        await asyncio.sleep(1)
        assert rig.pool.status().tools == 1
        rig.pool.commit(rig.wanted, FLEET, newcomers)
        assert rig.pool.pick("k") is newcomers[0].instance
        assert rig.pool.status().tools == 2
        assert rig.listener.kinds[1:] == [frozenset({"tools"})]
        await asyncio.sleep(0.1)
        assert old.state is InstanceState.STOPPED
        assert (rig.running, len(rig.new.running)) == (0, 1)
        assert (rig.pool.restarts, rig.pool.state) == (0, ServerState.READY)


async def test_as_many_come_up_as_serve():
    rig = VersionRig(scaling=Scaling(min_instances=1, max_instances=4))
    async with rig:
        rig.pool.scale_to(3, "test")
        await rig.ready(3)
        await rig.roll()
        assert len(rig.new.running) == 3
        await asyncio.sleep(1)
        assert (rig.running, len(rig.new.running)) == (0, 3)
        assert rig.pool.status().wanted_instances == 3


async def test_calls_in_flight_are_answered_by_the_old_version():
    async with VersionRig(silent(), ticking=True) as rig:
        [old] = await rig.ready()
        answer = rig.send(old, timeout=30)
        await rig.roll()
        await asyncio.sleep(10)
        assert old.state is InstanceState.DRAINING
        link = rig.link(old)
        call = next(message for message in link.sent if message.get("method") == "tools/call")
        link.say({"jsonrpc": "2.0", "id": call["id"], "result": {}})
        assert await answer == b"{}"
        await asyncio.sleep(0.1)
        assert old.state is InstanceState.STOPPED


async def test_waiting_calls_go_to_the_new_version():
    limits = CallLimits(calls_per_instance=1)
    async with VersionRig(silent(), new=silent(), limits=limits) as rig:
        [old] = await rig.ready()
        rig.send(old)
        waiting = [asyncio.create_task(rig.pool.acquire(key, timeout=50)) for key in "ab"]
        await asyncio.sleep(1)
        await rig.roll()
        [new] = await rig.ready()
        assert await waiting[0] is new
        waiting[1].cancel()


def dies_while_read(driver):
    def script(message):
        if message.get("method") == "tools/list":
            asyncio.get_running_loop().call_soon(driver().links[-1].lose)
            return []
        return legacy()(message)

    return script


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("refused", "what and how"),
        ("silent", "did not answer within 60 s"),
        ("unreadable", "boom"),
        ("dies", "exited with code 1"),
        ("bug", "ZeroDivisionError"),
    ],
)
async def test_a_bad_version_leaves_nothing_and_changes_nothing(fault, words):
    rig = VersionRig(scaling=Scaling(min_instances=2, max_instances=2))
    async with rig:
        instances = await rig.ready(2)
        match fault:
            case "refused":
                rig.new.refusals = [problem("start-failed")] * 9
            case "silent":
                rig.new.script = lambda message: []
            case "unreadable":
                usual = legacy()
                rig.new.script = lambda message: (
                    [refuse(message, -32603, "boom")]
                    if message.get("method") == "tools/list"
                    else usual(message)
                )
            case "dies":
                rig.new.script = dies_while_read(lambda: rig.new)
            case "bug":
                rig.new.open = lambda *_: 1 / 0
        before = rig.everything()
        with pytest.raises((ProblemError, ZeroDivisionError)) as failed:
            await rig.pool.prepare(rig.wanted)
        assert words in f"{failed.value!r} {failed.value}"
        assert rig.everything() == before
        assert rig.new.running == []
        assert len(rig.new.links) <= 1, "the first one showed enough"
        assert {rig.pool.pick("k") for _ in range(4)} == set(instances)


async def test_a_version_of_which_only_some_come_up_leaves_nothing():
    rig = VersionRig(scaling=Scaling(min_instances=4, max_instances=4))
    async with rig:
        await rig.ready(4)
        before = rig.everything()
        preparing = asyncio.create_task(rig.pool.prepare(rig.wanted))
        while not rig.new.links:
            await asyncio.sleep(0)
        rig.new.refusals = [problem("start-failed")]
        with pytest.raises(ProblemError, match="what and how"):
            await preparing
        assert len(rig.new.links) == 3
        assert rig.new.running == []
        assert rig.everything() == before


async def test_a_preparation_that_is_given_up_leaves_nothing():
    rig = VersionRig(scaling=Scaling(min_instances=3, max_instances=3))
    async with rig:
        await rig.ready(3)
        preparing = asyncio.create_task(rig.pool.prepare(rig.wanted))
        while not rig.new.links:
            await asyncio.sleep(0)
        usual, seen = legacy(), []

        def one_comes_up(message):
            if message.get("method") == "server/discover":
                seen.append(message)
            return [] if len(seen) > 1 else usual(message)

        rig.new.script = one_comes_up
        await asyncio.sleep(5)
        assert len(rig.new.running) == 3
        preparing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await preparing
        assert rig.new.running == [], "neither those that were ready nor those that were coming"
        assert rig.pool.known_instances() == rig.pool.instances


async def test_what_was_prepared_can_be_discarded():
    async with VersionRig() as rig:
        [old] = await rig.ready()
        before = rig.everything()
        newcomers = await rig.pool.prepare(rig.wanted)
        await rig.pool.discard([newcomer.instance for newcomer in newcomers])
        assert rig.new.running == []
        assert rig.everything() == before
        assert rig.pool.pick("k") is old


async def test_a_pool_that_closes_takes_what_was_prepared_with_it():
    async with VersionRig() as rig:
        await rig.ready()
        await rig.pool.prepare(rig.wanted)


async def test_sessions_move_to_the_new_version_and_are_named():
    rig = VersionRig(sharing=Sharing.SESSION, scaling=Scaling(min_instances=1, max_instances=3))
    async with rig:
        first = await rig.pool.acquire("session:a", timeout=5)
        await rig.pool.acquire("principal:b", timeout=5)
        await rig.ready(3)
        moved = await rig.roll()
        assert moved == ("session:a", "principal:b")
        assert rig.pool.leases == ()
        await asyncio.sleep(0.1)
        assert first.state is InstanceState.STOPPED
        again = await rig.pool.acquire("session:a", timeout=5)
        assert again.key == rig.pool.members.key
        await rig.pool.acquire("principal:b", timeout=5)


async def test_the_sins_of_the_old_version_are_not_the_new_ones():
    breaker = CircuitBreaker(minimum_calls=5, failure_rate=50)
    async with VersionRig(silent(), ticking=True, circuit_breaker=breaker) as rig:
        [old] = await rig.ready()
        rig.pool.breaker.failed(rig.now, 0, "an old failure")
        for _ in range(20):
            rig.send(old, timeout=5)
        await rig.roll()
        assert rig.pool.breaker.counts() == (0, 0, 0)
        await asyncio.sleep(10)
        assert rig.pool.breaker.state is BreakerState.CLOSED
        assert rig.pool.breaker.counts()[1] == 0
        assert rig.pool.pick("k") is not None
        assert rig.running == 0


async def test_the_death_of_an_old_instance_is_no_failure_of_the_new_version():
    async with VersionRig(silent()) as rig:
        [old] = await rig.ready()
        rig.send(old)
        await rig.roll()
        rig.link(old).lose()
        assert rig.pool.restarts == 0
        assert rig.pool.state is ServerState.READY
        assert rig.pool.breaker.counts()[1] == 0


async def test_a_start_of_the_old_version_that_is_under_way_comes_to_nothing():
    rig = VersionRig(scaling=Scaling(min_instances=1, max_instances=4))
    async with rig:
        await rig.ready()
        rig.driver.delay = 10.0
        rig.pool.scale_to(3, "test")
        await asyncio.sleep(1)
        await rig.roll()
        await asyncio.sleep(20)
        assert (rig.running, len(rig.new.running)) == (0, 3)
        assert {instance.key for instance in rig.pool.instances} == {rig.pool.members.key}


async def test_a_server_that_never_came_up_takes_a_new_version_without_ado():
    rig = VersionRig()
    rig.launcher.problems = [problem("missing-secrets", "needs KEY")]
    async with rig:
        await asyncio.sleep(1)
        assert rig.pool.state is ServerState.BLOCKED
        assert not rig.pool.serves
        rig.pool.commit(rig.wanted, FLEET, [])
        assert rig.pool.state is ServerState.STARTING
        await asyncio.sleep(0.1)
        assert rig.pool.state is ServerState.READY
        assert rig.pool.status().tools == 2


async def test_a_commit_while_somebody_stops_it_serves_with_the_new_version():
    async with VersionRig() as rig:
        await rig.ready()
        newcomers = await rig.pool.prepare(rig.wanted)
        await rig.pool.stop()
        assert len(rig.new.running) == 1, "what was prepared is not the stop's"
        rig.pool.commit(rig.wanted, FLEET, newcomers)
        assert await rig.pool.acquire("k", timeout=5) is newcomers[0].instance
        await asyncio.sleep(1)
        assert rig.pool.state is ServerState.READY
        assert len(rig.new.running) == 1


async def test_an_idle_server_takes_a_new_version_and_shows_its_lists():
    rig = VersionRig(scaling=Scaling(min_instances=0, max_instances=2))
    async with rig:
        await rig.ready()
        rig.pool.scale_to(0, "test")
        await asyncio.sleep(0.1)
        assert rig.pool.state is ServerState.IDLE
        assert rig.pool.serves
        await rig.roll()
        assert rig.pool.status().tools == 2
        rig.pool.scale_to(0, "test")
        await asyncio.sleep(0.1)
        assert rig.pool.state is ServerState.IDLE
        assert rig.new.running == []


async def test_two_versions_in_a_row():
    async with VersionRig() as rig:
        await rig.ready()
        await rig.roll()
        [new] = await rig.ready()
        back = await rig.pool.prepare(rig.spec)
        rig.pool.commit(rig.spec, FLEET, back)
        await asyncio.sleep(0.1)
        assert new.state is InstanceState.STOPPED
        assert rig.pool.pick("k") is back[0].instance
        ids = [message.id for message in (*rig.pool.instances, new)]
        assert len(set(ids)) == len(ids)


# -- new rules -------------------------------------------------------------------------------------------


async def test_new_rules_hold_from_the_next_call_on_and_need_no_process():
    async with PoolRig(silent()) as rig:
        [instance] = await rig.ready()
        rig.send(instance)
        for bound in (1, 2):
            spec = rig.changed(
                limits=CallLimits(calls_per_instance=bound),
                health_check=HealthCheck(error_patterns=("x",)),
                circuit_breaker=CircuitBreaker(slow_call=7.0),
            )
            rig.pool.adjust(spec, FLEET)
            assert (rig.pool.pick("k") is instance) == (bound == 2)
        assert instance.rules.slow_call == 7
        assert instance.rules.error_patterns[0].search("axb")
        assert rig.driver.links == rig.driver.running


async def test_a_higher_bound_calls_those_who_wait():
    async with PoolRig(silent(), limits=CallLimits(calls_per_instance=1)) as rig:
        [instance] = await rig.ready()
        rig.send(instance)
        waiting = asyncio.create_task(rig.pool.acquire("a", timeout=50))
        await asyncio.sleep(1)
        rig.pool.adjust(rig.changed(limits=CallLimits(calls_per_instance=2)), FLEET)
        before = rig.now
        assert await waiting is instance
        assert rig.now == before


async def test_other_bounds_of_scaling_are_kept_at_once():
    async with PoolRig(scaling=Scaling(min_instances=2, max_instances=4)) as rig:
        rig.pool.scale_to(4, "test")
        await rig.ready(4)
        rig.pool.adjust(rig.changed(scaling=Scaling(min_instances=1, max_instances=3)), FLEET)
        await asyncio.sleep(0.1)
        assert rig.running == 3
        rig.pool.adjust(rig.changed(scaling=Scaling(min_instances=5, max_instances=5)), FLEET)
        await rig.ready(5)


async def test_breakers_that_are_switched_off_let_calls_pass():
    async with PoolRig(circuit_breaker=CircuitBreaker(minimum_calls=1)) as rig:
        [instance] = await rig.ready()
        rig.pool.call_failed(instance, "boom", number=1, transport=False)
        assert rig.pool.pick("k") is None
        rig.pool.adjust(rig.changed(circuit_breaker=CircuitBreaker(enabled=False)), FLEET)
        assert rig.pool.pick("k") is instance


# -- off and on ------------------------------------------------------------------------------------------


async def test_a_server_that_is_switched_off_finishes_its_calls_and_refuses_new_ones():
    async with PoolRig(silent(), ticking=True) as rig:
        [instance] = await rig.ready()
        answer = rig.send(instance, timeout=10)
        waiting = (
            asyncio.create_task(rig.pool.acquire("k", timeout=20)) if rig.pool.pick("k") is None else None
        )
        rig.pool.disable(rig.changed(enabled=False), FLEET)
        assert rig.pool.state is ServerState.DISABLED
        with pytest.raises(ProblemError, match="is disabled"):
            await rig.pool.acquire("k", timeout=5)
        assert waiting is None
        await asyncio.sleep(5)
        assert rig.running == 1
        assert not answer.done()
        await asyncio.sleep(7)
        assert rig.running == 0
        assert rig.pool.keeper.empty.is_set()
        assert rig.pool.status().message == "disabled"
        assert rig.pool.status().wanted_instances == 0


async def test_a_server_that_is_switched_on_again_starts_anew():
    async with PoolRig(silent()) as rig:
        [old] = await rig.ready()
        rig.send(old)
        rig.pool.disable(rig.changed(enabled=False), FLEET)
        rig.pool.commit(rig.spec, FLEET, [])
        [new] = await rig.ready()
        assert new is not old
        assert old.state is InstanceState.DRAINING, "its call goes on"
        assert rig.pool.pick("k") is new


async def test_switching_off_what_is_off_says_nothing():
    async with PoolRig(enabled=False) as rig:
        await rig.pool.stop()
        rig.pool.disable(rig.spec, FLEET)
        rig.listener.states.clear()
        rig.pool.disable(rig.spec, FLEET)
        await asyncio.sleep(1)
        assert rig.listener.states == []
        assert rig.driver.running == []


async def test_a_session_of_a_server_that_is_switched_off_is_let_go():
    async with stateful() as rig:
        await rig.pool.acquire("session:a", timeout=5)
        rig.pool.disable(rig.changed(enabled=False), FLEET)
        await asyncio.sleep(0.1)
        assert rig.pool.leases == ()
        assert rig.running == 0
