"""Instances for the calls of clients that can be asked things. All in virtual time."""

import asyncio
import itertools

import pytest

from fairlead.core.lifecycle import InstanceState
from fairlead.mcp.profiles import NOBODY
from fairlead.model.errors import ProblemError
from fairlead.model.fleet import CallLimits, CircuitBreaker, ClientRequest, Scaling
from fairlead.model.status import BreakerState, ServerState
from fairlead.orchestrator.exclusive import Need
from fairlead.orchestrator.scaler import Scaler
from support.exclusive_rig import (
    BOTH,
    ELICITS,
    FLEET,
    ROOTED,
    SAMPLES,
    URL,
    Driver,
    ExclusiveRig,
    asking,
    modern,
)
from support.pool_rig import problem

pytestmark = pytest.mark.looptime


# -- who needs one ---------------------------------------------------------------------------------------


async def test_a_legacy_server_over_stdio_needs_one_that_was_told_and_is_alone():
    async with ExclusiveRig() as rig:
        await rig.ready()
        pool = rig.pool
        assert pool.bridges
        assert pool.need(NOBODY, logs=False) is None
        assert pool.need(SAMPLES, logs=False) == Need(SAMPLES, alone=True)
        assert pool.need(ROOTED, logs=False) == Need(SAMPLES, alone=True), "roots are no default when shared"
        assert pool.need(NOBODY, logs=True) is None, "it does not log"


async def test_log_messages_of_one_pipe_need_one_alone_where_the_server_logs():
    for make in (lambda: asking(capabilities={"logging": {}}), lambda: modern):
        async with ExclusiveRig(make) as rig:
            await rig.ready()
            assert rig.pool.bridges
            assert rig.pool.need(NOBODY, logs=True) == Need(NOBODY, alone=True, logs=True)


async def test_a_modern_server_is_told_with_each_request():
    async with ExclusiveRig(lambda: modern, **URL) as rig:
        await rig.ready()
        assert not rig.pool.bridges
        assert rig.pool.need(BOTH, logs=True) is None
        assert rig.pool.catalogue_for(BOTH) is rig.pool.catalogue


async def test_over_http_requests_come_on_the_stream_of_their_call():
    async with ExclusiveRig(**URL) as rig:
        await rig.ready()
        assert rig.pool.need(SAMPLES, logs=True) == Need(SAMPLES, alone=False)
    async with ExclusiveRig(**URL, transport="sse") as rig:
        await rig.ready()
        assert rig.pool.need(SAMPLES, logs=False) == Need(SAMPLES, alone=True)


@pytest.mark.parametrize(("asked", "needed"), [((), NOBODY), ((ClientRequest.ELICITATION,), ELICITS)])
async def test_the_spec_says_what_a_server_may_ask(asked, needed):
    async with ExclusiveRig(client_requests=asked) as rig:
        await rig.ready()
        assert rig.pool.bridges == bool(asked)
        assert rig.pool.need(BOTH, logs=False) == (Need(needed, alone=True) if needed else None)
        assert rig.pool.need(SAMPLES, logs=False) is None


async def test_a_need_of_before_the_server_was_known_dissolves():
    rig = ExclusiveRig(lambda: modern, **URL)
    rig.driver.delay = 2.0
    async with rig:
        assert rig.pool.bridges, "nobody knows yet"
        assert rig.pool.need(SAMPLES, logs=False) is not None
        instance = await rig.acquire()
        assert instance in rig.shared
        assert not rig.exclusive


# -- a call has its instance alone -----------------------------------------------------------------------


async def test_a_call_gets_an_instance_that_was_told_and_keeps_it_until_it_is_answered():
    async with ExclusiveRig() as rig:
        [shared] = await rig.ready()
        first = await rig.acquire()
        assert first is not shared
        assert rig.told(first) == {"sampling": {}}
        assert rig.told(shared) == {}
        second = await rig.acquire(key="principal:other")
        assert second is not first
        rig.answer(first)
        await asyncio.sleep(0.1)
        assert await rig.acquire() is first
        assert len(rig.exclusive) == 2


async def test_exclusive_ones_are_in_no_rotation_and_no_target():
    async with ExclusiveRig() as rig:
        [shared] = await rig.ready()
        instance = await rig.acquire()
        rig.pool.scale_to(2, "test")
        await asyncio.sleep(1)
        assert len(rig.shared) == 2
        assert instance not in rig.shared
        assert instance not in rig.pool.members.free()
        assert instance not in rig.pool.rotation
        assert rig.pool.members.last is not instance
        assert {rig.pool.pick("k") for _ in range(8)} <= set(rig.shared)
        rig.link(shared).lose()
        await asyncio.sleep(1)
        assert instance not in rig.shared
        shown = {i.id: i for i in rig.pool.status().instances}
        assert shown[instance.id].profile == "sampling"
        assert shown[instance.id].in_rotation
        assert {i.id for i in rig.pool.balance().instances} == set(shown)
        assert instance.id in {breaker.id for breaker in rig.pool.breakers()}


async def test_new_limits_leave_them_alone():
    async with ExclusiveRig() as rig:
        instance = await rig.acquire()
        rig.pool.adjust(rig.changed(limits=CallLimits(calls_per_instance=9)), FLEET)
        assert instance.limit == 1
        assert rig.shared[0].limit == 9


async def test_over_http_one_takes_many_calls():
    async with ExclusiveRig(limits=CallLimits(calls_per_instance=3), **URL) as rig:
        instances = await asyncio.gather(*(rig.acquire() for _ in range(4)))
        assert [instances.count(one) for one in rig.exclusive] == [2, 2]
        assert await rig.acquire() in instances
        instances[0].cancel(instances[0].sent, "no more")
        await asyncio.sleep(2)
        assert await rig.acquire() in instances, "what was given up there confuses nobody"
        assert len(rig.exclusive) == 2


async def test_what_a_given_up_call_may_still_ask_is_nobody_elses():
    async with ExclusiveRig() as rig:
        instance = await rig.acquire()
        instance.cancel(instance.sent, "no more")
        other = await rig.acquire()
        assert other is not instance
        await asyncio.sleep(2)
        assert instance.state is InstanceState.STOPPED


async def test_one_with_roots_has_one_owner():
    async with ExclusiveRig(client_requests=tuple(ClientRequest)) as rig:
        mine = await rig.acquire(ROOTED, key="session:a")
        assert rig.told(mine) == {"roots": {"listChanged": True}, "sampling": {}}
        rig.answer(mine)
        other = await rig.acquire(ROOTED, key="session:b")
        assert other is not mine
        assert await rig.acquire(ROOTED, key="session:a") is mine
        rig.pool.roots_changed("session:a")
        said = [m["method"] for m in rig.link(mine).sent if "id" not in m]
        assert said[-1] == "notifications/roots/list_changed"
        assert rig.link(other).sent[-1]["method"] == "tools/call"
        rig.answer(other)
        assert rig.pool.holds("session:b")
        await rig.pool.release("session:b")
        await asyncio.sleep(0.1)
        assert other.state is InstanceState.STOPPED
        assert not rig.pool.holds("session:b")


# -- in turn ---------------------------------------------------------------------------------------------


async def test_who_came_first_is_served_first_over_all_profiles():
    async with ExclusiveRig(maximum=2) as rig:
        instance = await rig.acquire(SAMPLES)
        waiting = [rig.acquire(profile) for profile in (ELICITS, SAMPLES, ELICITS, SAMPLES)]
        order = []
        for profile, task in zip("esES", waiting, strict=True):
            task.add_done_callback(lambda _, profile=profile: order.append(profile))
        for served in waiting:
            await asyncio.sleep(0.5)
            assert rig.pool.calls_waiting == len(waiting) - len(order)
            rig.answer(instance)
            instance = await served
        assert order == list("esES")
        assert len(rig.exclusive) == 1


async def test_there_are_never_more_than_the_maximum_in_all():
    async with ExclusiveRig(maximum=4) as rig:
        rig.pool.scale_to(4, "test")
        await rig.ready(4)
        tasks = [rig.acquire(timeout=200) for _ in range(9)]
        await asyncio.sleep(3)
        assert (len(rig.shared), len(rig.exclusive)) == (1, 3)
        assert rig.driver.most == 4
        for _ in range(9):
            for one in [i for i in rig.exclusive if i.calls_in_flight]:
                rig.answer(one)
            await asyncio.sleep(1)
        assert all(task.done() for task in tasks)
        rig.pool.scale_to(4, "test")
        await asyncio.sleep(70)
        assert (len(rig.shared), len(rig.exclusive)) == (4, 0), "the others get their places back"
        assert rig.driver.most == 4


async def test_there_is_always_one_of_each_kind():
    async with ExclusiveRig(maximum=1) as rig:
        await rig.ready()
        await rig.acquire()
        assert (len(rig.shared), len(rig.exclusive)) == (1, 1)


async def test_idle_ones_of_others_make_room_and_end_by_themselves():
    async with ExclusiveRig(maximum=3, scaling=Scaling(max_instances=3, scale_down_after=60)) as rig:
        first = await rig.acquire(SAMPLES)
        second = await rig.acquire(ELICITS)
        rig.answer(second)
        await asyncio.sleep(1)
        rig.answer(first)
        third = await rig.acquire(BOTH)
        assert (first in rig.exclusive, second in rig.exclusive) == (True, False), (
            "the one unused for longest"
        )
        await asyncio.sleep(50)
        assert first in rig.exclusive
        await asyncio.sleep(15)
        assert rig.exclusive == [third], "it has a call"
        rig.answer(third)
        await asyncio.sleep(65)
        assert rig.exclusive == []
        assert rig.pool.state is ServerState.READY


async def test_waiting_is_bounded():
    async with ExclusiveRig(maximum=1, limits=CallLimits(waiting=2)) as rig:
        await rig.acquire()
        waiting = [rig.acquire(timeout=20) for _ in range(2)]
        await asyncio.sleep(1)
        with pytest.raises(ProblemError, match="2 calls waiting"):
            await rig.acquire()
        for task in waiting:
            with pytest.raises(ProblemError, match="no instance for this client within 20 s"):
                await task
        assert rig.pool.calls_waiting == 0
        assert 20 <= rig.now < 22


async def test_calls_of_the_whole_server_are_bounded():
    async with ExclusiveRig(limits=CallLimits(calls=2)) as rig:
        first, _ = [await rig.acquire() for _ in range(2)]
        third = rig.acquire()
        await asyncio.sleep(5)
        assert not third.done()
        rig.answer(first)
        await third


async def test_who_goes_loses_no_turn_of_others():
    async with ExclusiveRig(maximum=1) as rig:
        instance = await rig.acquire()
        one, two, three = [rig.acquire() for _ in range(3)]
        await asyncio.sleep(1)
        two.cancel()
        await asyncio.sleep(0)
        rig.answer(instance)  # it is the turn of the first one now
        one.cancel()  # which does not take it
        assert await three is instance
        assert rig.pool.calls_waiting == 0
        assert one.cancelled()
        assert two.cancelled()


async def test_who_goes_during_a_start_leaves_it_to_the_next_one():
    async with ExclusiveRig() as rig:
        await rig.ready()
        rig.driver.delay = 5.0
        one = rig.acquire()
        await asyncio.sleep(1)
        one.cancel()
        began = rig.now
        await rig.acquire()
        assert rig.now - began < 4.5
        assert len(rig.exclusive) == 1


async def test_one_that_ends_in_the_moment_in_which_it_is_given_is_given_to_nobody():
    async with ExclusiveRig(maximum=1) as rig:
        instance = await rig.acquire()
        first, second = rig.acquire(), rig.acquire(ELICITS)
        await asyncio.sleep(1)
        rig.answer(instance)
        rig.link(instance).lose()
        other = await first
        assert other is not instance
        assert not second.done(), "the first one keeps its turn"
        rig.answer(other)
        await second


# -- what befalls them -----------------------------------------------------------------------------------


async def test_one_that_dies_is_counted_and_others_take_its_place():
    async with ExclusiveRig(maximum=1) as rig:
        [shared] = await rig.ready()
        instance = await rig.acquire()
        waiting = rig.acquire()
        await asyncio.sleep(1)
        rig.link(instance).lose()
        other = await waiting
        assert other is not instance
        assert rig.pool.restarts == 1
        assert rig.pool.state is ServerState.READY
        assert rig.shared == [shared]


async def test_one_that_dies_again_and_again_is_started_with_pauses():
    off = CircuitBreaker(enabled=False)
    async with ExclusiveRig(maximum=1, circuit_breaker=off) as rig:
        await rig.ready()
        began, starts = rig.now, []
        for _ in range(8):
            try:
                instance = await rig.acquire(timeout=60)
            except ProblemError:
                await asyncio.sleep(5)
                continue
            starts.append(rig.now - began)
            rig.link(instance).lose()
            await asyncio.sleep(0)
        pauses = [b - a for a, b in itertools.pairwise(starts)]
        assert pauses[0] < 0.1
        assert pauses[-1] > 2
        assert len(rig.shared) == 1, "the others are as before"


async def test_one_that_hangs_is_replaced():
    async with ExclusiveRig(maximum=1) as rig:
        await rig.ready()
        instance = await rig.acquire()
        rig.answer(instance)
        rig.link(instance).hang()
        await asyncio.sleep(20)
        assert instance.state is InstanceState.STOPPED
        assert await rig.acquire() is not instance


async def test_calls_that_wait_in_vain_are_told():
    async with ExclusiveRig() as rig:
        await rig.ready()
        rig.driver.refusals = [problem("start-failed", "it breaks")] * 99
        with pytest.raises(ProblemError, match="instance for this client: it breaks") as refused:
            await rig.acquire(timeout=300)
        assert refused.value.problem.code == "failed"
        assert refused.value.problem.retry_after > 1
        assert rig.pool.state is ServerState.READY
        rig.driver.refusals = []
        await asyncio.sleep(30)
        await rig.acquire()


async def test_what_only_a_person_can_mend_is_told_at_once():
    async with ExclusiveRig() as rig:
        await rig.ready()
        rig.launcher.problems = [problem("missing-secrets", "needs TOKEN")]
        with pytest.raises(ProblemError, match="needs TOKEN"):
            await rig.acquire()
        assert rig.now < 1


async def test_a_fault_of_ours_is_told_too():
    async with ExclusiveRig() as rig:
        await rig.ready()
        rig.driver.make = lambda: 1 / 0
        with pytest.raises(ProblemError, match="ZeroDivisionError"):
            await rig.acquire()
        for link in rig.driver.links[1:]:
            await link.close()


async def test_while_one_lives_for_it_a_call_waits_though_starts_fail():
    async with ExclusiveRig() as rig:
        instance = await rig.acquire()
        rig.driver.refusals = [problem("start-failed", "it breaks")] * 99
        waiting = rig.acquire(timeout=100)
        await asyncio.sleep(50)
        rig.answer(instance)
        assert await waiting is instance


async def test_the_servers_breaker_stops_them_too():
    breaker = CircuitBreaker(minimum_calls=2, open_for=10)
    async with ExclusiveRig(circuit_breaker=breaker) as rig:
        for _ in range(2):
            instance = await rig.acquire()
            number = instance.sent
            rig.link(instance).say(
                {"jsonrpc": "2.0", "id": number, "error": {"code": -32603, "message": "boom"}}
            )
        assert rig.pool.breaker.state is BreakerState.OPEN
        with pytest.raises(ProblemError, match="too many failed"):
            await rig.acquire()
        await asyncio.sleep(12)
        assert rig.pool.breaker.state is BreakerState.HALF_OPEN
        trials = [await rig.acquire() for _ in range(3)]
        with pytest.raises(ProblemError, match="too many failed"):
            await rig.acquire()
        for instance in trials:
            rig.answer(instance)
        assert rig.pool.breaker.state is BreakerState.CLOSED
        await rig.acquire()


# -- start, stop, versions -------------------------------------------------------------------------------


async def test_a_stop_ends_them_and_who_waits_is_told():
    async with ExclusiveRig(maximum=1) as rig:
        instance = await rig.acquire()
        waiting = rig.acquire()
        await asyncio.sleep(1)
        await rig.pool.stop()
        assert instance.state is InstanceState.STOPPED
        with pytest.raises(ProblemError, match="stopped"):
            await waiting
        assert rig.running == 0


async def test_a_stop_during_a_start_leaves_nothing():
    async with ExclusiveRig() as rig:
        await rig.ready()
        rig.driver.delay = 5
        waiting = rig.acquire()
        await asyncio.sleep(1)
        assert rig.driver.opening == 1
        await rig.pool.stop()
        assert (rig.driver.opening, rig.running) == (0, 0)
        with pytest.raises(ProblemError, match="stopped"):
            await waiting


async def test_a_drain_lets_their_calls_finish():
    async with ExclusiveRig() as rig:
        instance = await rig.acquire()
        rig.pool.drain()
        await asyncio.sleep(5)
        assert instance.state is InstanceState.DRAINING
        rig.answer(instance)
        async with asyncio.timeout(5):
            await rig.pool.keeper.empty.wait()
        assert rig.running == 0


async def test_one_can_be_retired():
    async with ExclusiveRig() as rig:
        instance = await rig.acquire()
        assert rig.pool.retire(instance.id)
        other = await rig.acquire()
        assert other is not instance
        rig.answer(instance)
        await asyncio.sleep(1)
        assert instance.state is InstanceState.STOPPED


async def test_a_new_version_has_new_ones():
    async with ExclusiveRig() as rig:
        new = rig.launcher.versions["y"] = Driver(asking)
        old = await rig.acquire()
        spec = rig.changed(command="y")
        rig.pool.commit(spec, FLEET, await rig.pool.prepare(spec))
        instance = await rig.acquire()
        assert rig.link(instance) in new.links
        assert old.state is InstanceState.DRAINING
        rig.answer(old)
        await asyncio.sleep(1)
        assert rig.running == 0
        assert rig.exclusive == [instance]


async def test_a_start_of_an_old_version_comes_to_nothing():
    async with ExclusiveRig() as rig:
        await rig.ready()
        rig.launcher.versions["y"] = Driver(asking)
        rig.driver.delay = 5.0
        waiting = rig.acquire()
        await asyncio.sleep(1)
        spec = rig.changed(command="y")
        rig.pool.commit(spec, FLEET, await rig.pool.prepare(spec))
        assert (await waiting).key.same_version(rig.pool.members.key)
        await asyncio.sleep(10)
        assert rig.running == 0


async def test_a_server_with_such_calls_is_not_idle():
    scaling = Scaling(min_instances=0, max_instances=3, idle_after=100, scale_down_after=1000)
    async with ExclusiveRig(scaling=scaling) as rig:
        scaler = Scaler(lambda: [rig.pool])
        instance = await rig.acquire()

        async def scale():
            while True:
                scaler.tick(rig.now)
                await asyncio.sleep(1)

        task = asyncio.create_task(scale())
        await asyncio.sleep(200)
        assert rig.pool.state is ServerState.READY
        assert rig.pool.keeper.target == 1
        rig.answer(instance)
        await asyncio.sleep(110)
        assert rig.pool.state is ServerState.IDLE
        assert rig.running == 0, "the exclusive one went, too"
        other = await rig.acquire()
        assert other.exclusive
        await asyncio.sleep(5)
        assert rig.pool.state is ServerState.READY
        task.cancel()
