"""As many instances as there should be: started, replaced, ended. All in virtual time."""

import asyncio
import random
import re

import pytest
from structlog.testing import capture_logs

from fairlead.core.lifecycle import InstanceState
from fairlead.core.restart import SERVED_ENOUGH
from fairlead.model.fleet import CallLimits, CircuitBreaker, HealthCheck, Scaling, Sharing
from fairlead.model.status import ServerState, Standing
from fairlead.orchestrator.keeper import BLOCKED_RETRY, MAX_STARTS
from support.pool_rig import PoolRig, problem, silent, stateful
from support.scripted import legacy

pytestmark = pytest.mark.looptime
HANG = 15.0  # s in which a hang is found, and more


def fixed(count, **spec):
    """A pool of `count` instances, ticking."""
    return PoolRig(scaling=Scaling(min_instances=count, max_instances=count), ticking=True, **spec)


# -- starting --------------------------------------------------------------------------------------------


async def test_there_are_as_many_as_wanted_and_starts_are_parallel_but_bounded():
    rig = PoolRig(scaling=Scaling(min_instances=10, max_instances=10))
    rig.driver.delay = 1.0
    async with rig:
        await asyncio.sleep(0.5)
        assert rig.driver.opening == MAX_STARTS
        await rig.ready(10)
        assert rig.now == pytest.approx(3, abs=0.1), "4, 4 and 2 at a time"
        await asyncio.sleep(5)
        assert rig.running == 10


async def test_each_that_dies_is_replaced_and_the_others_stay():
    async with fixed(3) as rig:
        first, second, third = await rig.ready(3)
        rig.link(second).lose()
        await asyncio.sleep(0.1)
        now = await rig.ready(3)
        assert now[:2] == [first, third]
        assert second not in now
        assert rig.running == 3
        assert rig.pool.restarts == 1
        assert rig.pool.state is ServerState.READY


async def test_all_that_die_at_once_are_replaced():
    async with fixed(3) as rig:
        instances = await rig.ready(3)
        await asyncio.sleep(1)
        for instance in instances:
            rig.link(instance).lose()
        assert rig.pool.state is ServerState.STARTING
        assert rig.pool.shown.message == "exited with code 1; starting again"
        await asyncio.sleep(0.1)
        await rig.ready(3)
        assert rig.pool.restarts == 3


async def test_many_that_die_in_one_moment_are_no_crash_loop(looptime):
    rig = PoolRig(scaling=Scaling(min_instances=10, max_instances=10))
    rig.driver.delay = 0.5
    async with rig:
        await rig.ready(10)
        await asyncio.sleep(5)
        died = float(looptime)
        for link in rig.driver.running:
            link.lose()
        await rig.ready(10)
        assert looptime - died < 2, "4, 4 and 2 starts at a time"
        assert not any("crash loop" in message for message in rig.listener.messages)


async def test_starts_that_fail_at_the_same_time_are_one_failure():
    rig = PoolRig(scaling=Scaling(min_instances=4, max_instances=4))
    rig.driver.delay = 1.0
    rig.driver.refusals = [problem("start-failed")] * 4
    async with rig:
        await asyncio.sleep(1.5)
        assert rig.driver.opening == 4, "the first failure is repeated at once"
        assert rig.pool.state is ServerState.STARTING
        await rig.ready(4)


async def test_a_failure_that_says_nothing_new_does_not_put_the_next_start_off():
    async with PoolRig() as rig:
        [old] = await rig.ready()
        await asyncio.sleep(1)
        keeper = rig.pool.keeper
        for _ in range(8):
            keeper.failed(rig.now)
        before = keeper.not_before
        assert before > rig.now + 5
        await asyncio.sleep(1)
        rig.link(old).lose()
        assert keeper.not_before == before


async def test_one_that_answers_a_call_and_dies_is_in_a_crash_loop_nonetheless():
    async with PoolRig() as rig:
        for _ in range(6):
            instance = await rig.pool.acquire("k", timeout=60)
            await instance.call("tools/call", {}, timeout=5)
            rig.link(instance).lose()
        assert rig.now > 1.4, "pauses of 0, 0.1, 0.2, 0.4 and 0.8 s at least"
        assert rig.pool.shown.ready.reason == "CrashLoop"
        text = r"exited with code 1; crash loop: 6 failures in a row, next start in \d\.\d s; starting again"
        assert re.fullmatch(text, rig.pool.shown.message)


async def test_a_crash_loop_beside_one_that_serves_is_told_too():
    async with fixed(2) as rig:
        [first, _] = await rig.ready(2)
        for _ in range(4):
            await asyncio.sleep(1)
            _, second = await rig.ready(2)
            rig.link(second).lose()
        assert rig.pool.state is ServerState.READY
        assert rig.pool.shown.complete.reason == "CrashLoop"
        assert "crash loop: 4 failures in a row" in rig.pool.shown.complete.message
        await rig.ready(2)
        await asyncio.sleep(0.1)
        assert rig.pool.shown.complete.status
        assert rig.pool.pick("k") is not None
        assert first in rig.pool.members


async def test_after_a_second_failure_starts_are_made_one_at_a_time():
    rig = PoolRig(scaling=Scaling(min_instances=4, max_instances=4))
    async with rig:
        await asyncio.sleep(0)
        rig.driver.delay = 1.0
        rig.launcher.problems = [problem("start-failed")] * 2
        for instance in await rig.ready(4):
            rig.link(instance).lose()
        await asyncio.sleep(30)
        await rig.ready(4)
        assert rig.driver.most == 4
        rig.driver.most = 0
        rig.launcher.problems = [problem("start-failed")] * 3
        for instance in await rig.ready(4):
            rig.link(instance).lose()
        await asyncio.sleep(8)
        assert rig.driver.opening <= 1


async def test_a_crash_loop_backs_off_and_is_called_by_its_name():
    rig = PoolRig()
    rig.launcher.problems = [problem("start-failed", "no such option --x")] * 8
    async with rig:
        with capture_logs() as logs:
            await asyncio.sleep(0.01)
            assert rig.pool.state is ServerState.FAILED
            assert rig.pool.shown.message == "no such option --x", "twice is no loop"
            await asyncio.sleep(2)
            assert rig.pool.shown.ready.reason == "CrashLoop"
            text = r"no such option --x; crash loop: \d failures in a row, next start in \d\.\d s"
            assert re.fullmatch(text, rig.pool.shown.message)
            await asyncio.sleep(58)
        assert rig.pool.state is ServerState.READY
        assert rig.launcher.prepared == 9
        levels = [log["log_level"] for log in logs if log["event"] == "server cannot start"]
        assert levels.count("warning") <= 2, "the same again is not worth a warning"


async def test_failures_that_take_long_are_a_crash_loop_too():
    """A server that never answers the handshake is given up after a minute, each time."""
    async with PoolRig(lambda message: []) as rig:
        await asyncio.sleep(61)
        assert rig.pool.state is ServerState.FAILED
        assert rig.pool.shown.message == "s-1 did not answer within 60 s"
        await asyncio.sleep(200)
        assert rig.pool.shown.ready.reason == "CrashLoop"
        assert rig.running <= 1


async def served(instance):
    for _ in range(SERVED_ENOUGH):
        await instance.call("tools/call", {}, timeout=5)


async def test_one_that_served_is_replaced_at_once_however_often(looptime):
    async with PoolRig() as rig:
        for _ in range(20):
            instance = await rig.pool.acquire("k", timeout=5)
            await served(instance)
            rig.link(instance).lose()
        await rig.pool.acquire("k", timeout=5)
        assert looptime < 0.1


async def test_served_calls_forgive_earlier_failures():
    rig = PoolRig()
    rig.launcher.problems = [problem("start-failed")] * 6
    async with rig:
        await asyncio.sleep(30)
        instance = await rig.pool.acquire("k", timeout=5)
        await served(instance)
        rig.link(instance).lose()
        await asyncio.sleep(0.01)
        assert rig.pool.state is ServerState.READY, "the first failure after that is repeated at once"


async def test_a_start_by_a_person_begins_with_a_clean_record():
    rig = PoolRig()
    rig.launcher.problems = [problem("start-failed")] * 10
    async with rig:
        await asyncio.sleep(20)
        assert rig.pool.state is ServerState.FAILED
        rig.launcher.problems.clear()
        await rig.pool.stop()
        rig.pool.start()
        await asyncio.sleep(0.01)
        assert rig.pool.state is ServerState.READY


async def test_what_serves_stays_ready_while_another_one_cannot_start():
    async with fixed(2) as rig:
        first, second = await rig.ready(2)
        rig.launcher.problems = [problem("missing-secrets", "needs KEY")]
        rig.link(second).lose()
        await asyncio.sleep(1)
        assert rig.pool.state is ServerState.READY
        assert rig.pool.pick("k") is first
        await asyncio.sleep(BLOCKED_RETRY)
        await rig.ready(2)


# -- ending what is too much -----------------------------------------------------------------------------


async def test_surplus_ends_the_idlest_first_and_of_these_the_newest():
    script = silent()
    async with PoolRig(script, scaling=Scaling(min_instances=1, max_instances=4)) as rig:
        rig.pool.scale_to(4, "test")
        instances = []
        for count in range(1, 5):
            instances = await rig.ready(count)
            await asyncio.sleep(1)
        rig.send(instances[3])
        rig.pool.scale_to(3, "test")
        await asyncio.sleep(1)
        ended = [i for i in instances if i.state is InstanceState.STOPPED]
        assert len(ended) == 1
        assert ended[0] is not instances[3], "it has a call"
        rig.pool.scale_to(1, "test")
        await asyncio.sleep(1)
        assert await rig.ready() == [instances[3]]
        assert rig.running == 1


async def test_of_equally_idle_ones_the_newest_goes():
    async with PoolRig(scaling=Scaling(min_instances=1, max_instances=4)) as rig:
        for count in range(1, 4):
            rig.pool.scale_to(count, "test")
            instances = await rig.ready(count)
            await asyncio.sleep(1)
        rig.pool.scale_to(2, "test")
        await asyncio.sleep(1)
        assert await rig.ready(2) == instances[:2]
        assert instances[2].state is InstanceState.STOPPED


async def test_what_is_too_much_finishes_its_calls():
    async with PoolRig(silent(), ticking=True, scaling=Scaling(min_instances=1, max_instances=2)) as rig:
        rig.pool.scale_to(2, "test")
        instances = await rig.ready(2)
        answers = [rig.send(instance, timeout=20) for instance in instances]
        rig.pool.scale_to(1, "test")
        await asyncio.sleep(10)
        [leaving] = [i for i in instances if i.state is InstanceState.DRAINING]
        assert rig.running == 2
        link = rig.link(leaving)
        call = next(message for message in link.sent if message.get("method") == "tools/call")
        link.say({"jsonrpc": "2.0", "id": call["id"], "result": {}})
        await asyncio.sleep(0.1)
        assert await answers[instances.index(leaving)] == b"{}"
        assert leaving.state is InstanceState.STOPPED
        assert rig.running == 1


async def test_scaling_down_while_starts_are_on_their_way_comes_to_rest():
    rig = PoolRig(scaling=Scaling(min_instances=1, max_instances=8))
    rig.driver.delay = 5.0
    async with rig:
        rig.pool.scale_to(6, "test")
        await asyncio.sleep(1)
        rig.pool.scale_to(2, "test")
        await asyncio.sleep(30)
        assert rig.running == 2
        assert rig.driver.most <= 6


# -- retiring --------------------------------------------------------------------------------------------


async def test_a_retiring_one_goes_only_after_another_one_is_ready():
    async with fixed(1) as rig:
        [old] = await rig.ready()
        rig.driver.delay = 5.0
        assert rig.pool.retire(old.id)
        await asyncio.sleep(4)
        assert rig.pool.pick("k") is old
        await asyncio.sleep(2)
        [new] = await rig.ready()
        assert new is not old
        assert old.state is InstanceState.STOPPED
        assert rig.pool.restarts == 0, "that is no failure"
        assert not rig.pool.retire(old.id), "it is gone"
        assert not rig.pool.retire("s-99")


async def test_a_retiring_one_stays_while_no_other_one_comes_up():
    async with fixed(1) as rig:
        [old] = await rig.ready()
        rig.launcher.problems = [problem("start-failed")] * 5
        rig.pool.retire(old.id)
        await asyncio.sleep(1)
        assert rig.pool.pick("k") is old
        assert rig.pool.state is ServerState.READY
        await asyncio.sleep(60)
        assert (await rig.ready())[0] is not old


async def test_a_retiring_one_finishes_its_calls():
    async with PoolRig(silent(), ticking=True) as rig:
        [old] = await rig.ready()
        answer = rig.send(old, timeout=20)
        rig.pool.retire(old.id)
        await asyncio.sleep(10)
        assert old.state is InstanceState.DRAINING
        assert rig.running == 2
        await asyncio.sleep(12)
        assert "in time" in str(answer.exception()), "its own deadline, and no earlier end"
        assert rig.running == 1


async def test_a_retiring_one_gets_no_more_calls_while_another_one_serves():
    async with fixed(2) as rig:
        old, other = await rig.ready(2)
        rig.driver.delay = 5.0
        rig.pool.retire(old.id)
        assert {rig.pool.pick("k") for _ in range(4)} == {other}
        shown = {i.id: (i.detail, i.in_rotation) for i in rig.pool.status().instances}
        assert shown == {old.id: ("retiring", False), other.id: ("", True)}
        rig.link(other).lose()
        assert rig.pool.pick("k") is old, "it is the only one again"
        await asyncio.sleep(6)
        assert old.state is InstanceState.STOPPED


async def test_one_of_a_session_that_retires_finishes_its_calls_and_the_session_gets_another():
    async with stateful(maximum=2, script=silent()) as rig:
        old = await rig.pool.acquire("a", timeout=5)
        answer = rig.send(old)
        await rig.ready(2)
        assert rig.pool.retire(old.id)
        assert old.state is InstanceState.DRAINING
        new = await rig.pool.acquire("a", timeout=5)
        assert new is not old
        rig.link(old).say({"jsonrpc": "2.0", "id": max(old._pending), "result": {}})
        assert await answer == b"{}"
        await asyncio.sleep(0.1)
        assert old.state is InstanceState.STOPPED
        assert rig.pool.leases == ("a",)


async def test_calls_of_a_session_that_wait_for_the_one_that_retires_go_to_another_one_at_once():
    rig = stateful(script=silent(), limits=CallLimits(calls_per_instance=1))
    async with rig:
        old = await rig.pool.acquire("a", timeout=5)
        rig.send(old)
        await rig.ready(2)
        waiting = asyncio.create_task(rig.pool.acquire("a", timeout=5))
        await asyncio.sleep(0.1)
        rig.pool.retire(old.id)
        assert await waiting is not old
        assert rig.now < 1


async def test_several_that_retire_at_once_are_all_replaced():
    async with fixed(3) as rig:
        old = await rig.ready(3)
        for instance in old:
            rig.pool.retire(instance.id)
        await asyncio.sleep(1)
        assert not set(await rig.ready(3)) & set(old)
        assert rig.running == 3


# -- hangs -----------------------------------------------------------------------------------------------


async def test_one_that_hangs_and_is_idle_is_ended_and_replaced():
    async with fixed(2) as rig:
        first, second = await rig.ready(2)
        with capture_logs() as logs:
            rig.link(first).hang()
            await asyncio.sleep(HANG)
        assert first.state is InstanceState.STOPPED
        assert second in await rig.ready(2)
        assert rig.running == 2
        assert rig.pool.restarts == 1
        assert "hung: it did not answer its health checks" in [log.get("reason") for log in logs]


async def test_one_that_hangs_with_a_call_stays_until_its_deadline_while_another_one_serves():
    async with PoolRig(silent(), ticking=True) as rig:
        [hung] = await rig.ready()
        answer = rig.send(hung, timeout=60)
        rig.link(hung).hang()
        await asyncio.sleep(HANG)
        assert hung.health.standing is Standing.UNHEALTHY
        assert rig.running == 2
        other = rig.pool.pick("k")
        assert other is not None
        assert other is not hung
        await asyncio.sleep(59 - HANG)
        assert not answer.done()
        assert hung.state is InstanceState.READY
        await asyncio.sleep(3)
        assert "did not answer in time" in str(answer.exception())
        assert hung.state is InstanceState.STOPPED
        assert rig.running == 1


async def test_one_of_a_session_that_hangs_with_a_call_is_shown_to_get_none():
    async with stateful(script=silent(), ticking=True) as rig:
        instance = await rig.pool.acquire("session:a", timeout=5)
        assert rig.pool.gives_calls_to(instance)
        rig.send(instance)
        rig.link(instance).hang()
        await asyncio.sleep(HANG)
        assert instance.leased_to == "session:a"
        assert not rig.pool.gives_calls_to(instance)


async def test_one_that_hung_and_goes_on_answers_its_call_and_leaves_no_surplus():
    slow = legacy()
    async with PoolRig(slow, ticking=True) as rig:
        [hung] = await rig.ready()
        rig.link(hung).hang()
        answer = rig.send(hung, timeout=60)
        await asyncio.sleep(HANG)
        rig.link(hung).go_on()
        await asyncio.sleep(10)
        assert b"echo" in await answer
        assert rig.running == 1


async def test_when_all_hang_the_state_says_so():
    async with fixed(2) as rig:
        instances = await rig.ready(2)
        rig.launcher.problems = [problem("start-failed")] * 3
        for instance in instances:
            rig.link(instance).hang()
        await asyncio.sleep(13.5)
        text = "hung: it did not answer its health checks; starting again"
        assert text in rig.listener.messages
        await asyncio.sleep(60)
        assert rig.pool.state is ServerState.READY
        await rig.ready(2)


async def test_one_that_hangs_while_its_end_takes_long_is_replaced_meanwhile():
    rig = fixed(1)
    rig.driver.close_delay = 20.0
    async with rig:
        [hung] = await rig.ready()
        rig.link(hung).hang()
        await asyncio.sleep(HANG)
        assert hung.state is InstanceState.STOPPING
        assert (await rig.ready())[0] is not hung
        rig.driver.close_delay = 0.0
        for link in rig.driver.links:
            link.close_delay = 0.0


async def test_those_that_hang_with_calls_do_not_add_processes_without_end():
    off = CircuitBreaker(enabled=False)
    async with fixed(2, script=silent(), circuit_breaker=off) as rig:
        most = 0
        while rig.now < 200:
            if (instance := rig.pool.pick("k")) is not None:
                rig.send(instance, timeout=300)
                rig.link(instance).hang()
            await asyncio.sleep(1)
            most = max(most, rig.running)
        assert most == 4, "twice maxInstances"
        assert rig.pool.shown.complete.reason == "Hung"
        waiting = asyncio.create_task(rig.pool.acquire("k", timeout=300))
        await asyncio.sleep(20)
        assert not waiting.done()
        await waiting
        assert rig.now < 330, "the calls that hung have met their deadlines"


async def test_checks_that_are_off_replace_nothing():
    async with fixed(1, health_check=HealthCheck(enabled=False)) as rig:
        [hung] = await rig.ready()
        rig.link(hung).hang()
        await asyncio.sleep(100)
        assert await rig.ready() == [hung]


# -- bounds ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("sharing", Sharing)
async def test_never_more_than_max_instances_but_for_those_that_hang_or_leave(seed, sharing):
    rng = random.Random(seed)
    maximum = 4
    scaling = Scaling(min_instances=1, max_instances=maximum)
    rig = PoolRig(silent(), sharing=sharing, scaling=scaling, ticking=True)

    def counted():
        return [
            i
            for i in rig.pool.members.ready()
            if i.health.standing is not Standing.UNHEALTHY and not i.retiring
        ]

    async with rig:
        for step in range(150):
            ready = rig.pool.members.ready()
            match rng.randrange(7):
                case 0 if ready:
                    rig.link(rng.choice(ready)).lose()
                case 1 if ready:
                    rig.link(rng.choice(ready)).hang()
                case 2 if rig.driver.links:
                    rng.choice(rig.driver.links).go_on()
                case 3:
                    rig.pool.scale_to(rng.randint(1, maximum), "test")
                case 4 if ready:
                    rig.send(rng.choice(ready), timeout=rng.choice([1, 30]))
                case 5 if ready:
                    rig.pool.retire(rng.choice(ready).id)
                case 6:
                    leasing = rig.pool.acquire(f"session:{step}", timeout=0.5)
                    await asyncio.gather(leasing, return_exceptions=True)
                    for key in rig.pool.leases[:2]:
                        await rig.pool.release(key)
            rig.driver.delay = rng.choice([0.0, 0.5, 3.0])
            await asyncio.sleep(rng.choice([0.01, 0.5, 2.0, 6.0]))
            assert len(counted()) + rig.pool.keeper.coming() <= maximum
            assert len(rig.pool.members.ready()) + rig.pool.keeper.coming() <= 2 * maximum
        for key in rig.pool.leases:
            await rig.pool.release(key)
        rig.pool.scale_to(2, "test")
        for link in rig.driver.running:
            link.go_on()
        await asyncio.sleep(200)
        assert len(rig.pool.members.ready()) == 2, "it comes to rest"
        assert rig.running == 2


async def test_a_stateful_server_with_a_lower_maximum_gives_up_its_spare_one():
    async with stateful(maximum=3) as rig:
        for key in "ab":
            await rig.pool.acquire(key, timeout=5)
        await rig.ready(3)
        spec = rig.changed(scaling=Scaling(min_instances=1, max_instances=2))
        rig.pool.adjust(spec, rig.pool._fleet)
        await asyncio.sleep(1)
        assert rig.running == 2
        assert sorted(rig.pool.leases) == ["a", "b"]


# -- starts and stops that meet --------------------------------------------------------------------------


async def test_a_stop_during_a_slow_start_leaves_nothing_and_a_new_start_works():
    rig = PoolRig()
    rig.driver.delay = 5.0
    async with rig:
        await asyncio.sleep(1)
        await rig.pool.stop()
        assert (rig.driver.opening, rig.running) == (0, 0)
        assert rig.pool.keeper.empty.is_set()
        rig.pool.start()
        await asyncio.sleep(6)
        assert rig.pool.state is ServerState.READY


async def test_two_stops_and_a_start_between():
    rig = PoolRig()
    rig.driver.close_delay = 1.0
    async with rig:
        await rig.ready()
        first = asyncio.create_task(rig.pool.stop())
        await asyncio.sleep(0.1)
        rig.pool.start()
        await asyncio.sleep(0.1)
        second = asyncio.create_task(rig.pool.stop())
        await asyncio.gather(first, second)
        assert rig.running == 0
        assert rig.pool.state is ServerState.STOPPED
        assert rig.pool.keeper.empty.is_set()


async def test_a_stop_that_nobody_waits_for_any_more_goes_on():
    rig = PoolRig(scaling=Scaling(min_instances=2, max_instances=2))
    rig.driver.close_delay = 1.0
    async with rig:
        await rig.ready(2)
        stopping = asyncio.create_task(rig.pool.stop())
        await asyncio.sleep(0)
        stopping.cancel()
        await asyncio.sleep(5)
        assert stopping.cancelled()
        assert rig.running == 0
        assert rig.pool.keeper.empty.is_set()


async def test_a_drain_ends_what_comes_up_late_and_a_start_takes_it():
    rig = PoolRig()
    rig.driver.delay = 5.0
    async with rig:
        await asyncio.sleep(1)
        rig.pool.drain()
        await asyncio.sleep(6)
        assert rig.running == 0
        rig.pool.start()
        await asyncio.sleep(1)
        rig.pool.drain()
        await asyncio.sleep(1)
        rig.pool.start()
        await asyncio.sleep(3.5)
        assert rig.pool.state is ServerState.READY
        assert len(rig.driver.links) == 2, "the start that ran was good enough"


@pytest.mark.parametrize("seed", range(10))
async def test_starts_stops_and_drains_in_any_order_come_to_rest(seed):
    rng = random.Random(seed)
    rig = PoolRig(scaling=Scaling(min_instances=2, max_instances=4), ticking=True)
    rig.driver.delay, rig.driver.close_delay = 0.3, 0.2
    stops = []
    async with rig:
        for _ in range(60):
            match rng.randrange(5):
                case 0:
                    rig.pool.start()
                case 1:
                    stops.append(asyncio.create_task(rig.pool.stop()))
                case 2:
                    rig.pool.drain()
                case 3 if rig.driver.running:
                    rig.driver.running[0].lose()
                case 4:
                    pass
            await asyncio.sleep(rng.choice([0, 0.05, 0.3, 1.0]))
        await asyncio.gather(*stops)
        rig.pool.start()
        await asyncio.sleep(60)
        assert rig.pool.state is ServerState.READY
        assert rig.running == 2
        rig.pool.drain()
        await asyncio.sleep(5)
        assert rig.running == 0
        assert rig.pool.keeper.empty.is_set()
        assert rig.pool.state is ServerState.STOPPED


async def test_a_fault_of_ours_does_not_end_the_tending():
    async with PoolRig() as rig:
        [instance] = await rig.ready()
        leaving, faults = rig.pool.members.leaving, [1, 2]
        rig.pool.members.leaving = lambda: faults.pop() / 0 if faults else leaving()
        with capture_logs() as logs:
            rig.link(instance).lose()
            await asyncio.sleep(5)
        assert [log["event"] for log in logs].count("tending failed") == 2
        await rig.ready()


async def test_what_it_says_of_itself():
    async with fixed(1) as rig:
        await asyncio.sleep(0)
        assert repr(rig.pool.keeper) == "<Keeper wanted=True target=1 starting=1>"
