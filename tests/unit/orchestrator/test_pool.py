"""A server's instances: kept alive, leased, waited for. All in virtual time."""

import asyncio

import pytest

from fairlead.model.errors import ProblemError
from fairlead.model.fleet import Scaling, Sharing
from fairlead.model.status import ServerState
from fairlead.orchestrator.keeper import BLOCKED_RETRY
from support.pool_rig import PoolRig, problem, stateful
from support.scripted import legacy, refuse

pytestmark = pytest.mark.looptime


async def test_it_starts_reads_the_lists_and_serves():
    async with PoolRig() as rig:
        instance = await rig.pool.acquire("k", timeout=5)
        assert rig.pool.pick("other") is instance, "a shared server answers everybody"
        status = rig.pool.status()
        assert (status.state, status.message, status.tools) == (ServerState.READY, "1 tool", 1)
        assert rig.listener.kinds == [frozenset({"tools"})]
        assert rig.running == 1
    assert rig.pool.status().state is ServerState.STOPPED


async def test_several_warm_instances_take_turns():
    async with PoolRig(scaling=Scaling(min_instances=3, max_instances=3)) as rig:
        await asyncio.sleep(1)
        assert len({rig.pool.pick("k") for _ in range(6)}) == 3


async def test_an_instance_that_dies_is_replaced_at_once():
    async with PoolRig() as rig:
        first = await rig.pool.acquire("k", timeout=5)
        before = asyncio.get_running_loop().time()
        rig.driver.links[0].lose()
        second = await rig.pool.acquire("k", timeout=5)
        assert second is not first
        assert asyncio.get_running_loop().time() - before < 0.1
        assert rig.pool.restarts == 1
        assert rig.pool.status().state is ServerState.READY


async def test_a_crash_loop_backs_off():
    async with PoolRig() as rig:
        for _ in range(12):
            link = (await rig.pool.acquire("k", timeout=60)) and rig.driver.links[-1]
            link.lose()
        before = asyncio.get_running_loop().time()
        await rig.pool.acquire("k", timeout=60)
        assert asyncio.get_running_loop().time() - before >= 15, "half of the longest delay, at least"


async def test_a_server_that_cannot_start_is_tried_again():
    rig = PoolRig()
    rig.launcher.problems = [problem("start-failed")] * 3
    async with rig:
        await asyncio.sleep(0.01)
        assert rig.pool.status().state is ServerState.FAILED
        assert rig.pool.status().message == "what and how"
        await asyncio.sleep(10)
        assert rig.pool.status().state is ServerState.READY
        assert rig.launcher.prepared == 4


async def test_what_only_a_person_can_mend_blocks_and_is_looked_at_again():
    rig = PoolRig()
    rig.launcher.problems = [problem("missing-secrets", "needs KEY")]
    async with rig:
        await asyncio.sleep(0.01)
        assert rig.pool.status().state is ServerState.BLOCKED
        with pytest.raises(ProblemError, match="needs KEY"):
            await rig.pool.acquire("k", timeout=5)
        await asyncio.sleep(BLOCKED_RETRY)
        assert rig.pool.status().state is ServerState.READY


async def test_unreadable_lists_are_a_failed_start():
    script = legacy()
    broken = [True]

    def once(message):
        if message.get("method") == "tools/list" and broken:
            broken.clear()
            return [refuse(message, -32603, "boom")]
        return script(message)

    async with PoolRig(once) as rig:
        await asyncio.sleep(5)
        assert "s-1: boom; starting again" in rig.listener.messages
        assert rig.pool.status().state is ServerState.READY
        assert rig.running == 1


async def test_each_session_gets_an_instance_of_its_own_and_one_more_is_warm():
    async with stateful() as rig:
        first = await rig.pool.acquire("a", timeout=5)
        second = await rig.pool.acquire("b", timeout=5)
        assert first is not second
        assert rig.pool.pick("a") is first
        assert await rig.pool.acquire("b", timeout=5) is second
        assert rig.pool.pick("c") is None
        await asyncio.sleep(1)
        assert rig.running == 3


async def test_the_instance_ends_with_its_session():
    async with stateful() as rig:
        await rig.pool.acquire("a", timeout=5)
        await rig.pool.release("a")
        await rig.pool.release("a")
        assert rig.driver.links[0].lost
        assert len(rig.pool.leases) == 0
        await asyncio.sleep(1)
        assert rig.running == 1


async def test_more_sessions_than_instances_are_told_so():
    async with stateful(maximum=2) as rig:
        await rig.pool.acquire("a", timeout=5)
        await rig.pool.acquire("b", timeout=5)
        await asyncio.sleep(1)
        assert rig.running == 2
        with pytest.raises(ProblemError, match=r"raise scaling\.maxInstances") as refused:
            await rig.pool.acquire("c", timeout=5)
        assert refused.value.problem.retry_after
        await rig.pool.release("a")
        await rig.pool.acquire("c", timeout=5)


async def test_a_leased_instance_that_dies_is_forgotten_and_replaced_on_demand():
    async with stateful() as rig:
        first = await rig.pool.acquire("a", timeout=5)
        rig.driver.links[0].lose()
        assert await rig.pool.acquire("a", timeout=5) is not first


async def test_leases_of_principals_that_nobody_uses_are_taken_back():
    async with stateful() as rig:
        await rig.pool.acquire("principal:a", timeout=5)
        await rig.pool.acquire("session:b", timeout=5)
        now = rig.now
        rig.pool.release_idle(now - 1)
        await asyncio.sleep(0.1)
        assert len(rig.pool.leases) == 2
        rig.pool.release_idle(now + 1)
        await asyncio.sleep(0.1)
        assert len(rig.pool.leases) == 1, "a session's lease lives as long as its session"


async def test_those_who_wait_for_a_start_are_served_by_it():
    rig = PoolRig()
    rig.driver.delay = 3.0
    async with rig:
        waiting = [asyncio.create_task(rig.pool.acquire(str(n), timeout=10)) for n in range(50)]
        assert len({await task for task in waiting}) == 1


async def test_waiting_is_bounded_in_time_and_number():
    rig = PoolRig(ticking=True)
    rig.driver.delay = 30.0
    async with rig:
        with pytest.raises(ProblemError, match="not ready within 2 s"):
            await rig.pool.acquire("k", timeout=2)
        waiting = [asyncio.create_task(rig.pool.acquire(str(n), timeout=100)) for n in range(256)]
        await asyncio.sleep(0)
        with pytest.raises(ProblemError, match="which is the limit"):
            await rig.pool.acquire("k", timeout=2)
        await asyncio.gather(*waiting)


async def test_a_stopped_pool_serves_nobody_until_it_is_started():
    async with PoolRig() as rig:
        await rig.pool.acquire("k", timeout=5)
        await rig.pool.stop()
        assert rig.running == 0
        with pytest.raises(ProblemError, match="stopped"):
            await rig.pool.acquire("k", timeout=5)
        rig.pool.start()
        rig.pool.start()
        await rig.pool.acquire("k", timeout=5)
        assert rig.running == 1


async def test_stopping_while_it_starts_leaves_nothing():
    rig = PoolRig(lambda message: [])
    async with rig:
        await asyncio.sleep(1)
        assert rig.running == 1
        await rig.pool.stop()
        assert rig.running == 0


async def test_changed_lists_are_read_again_once_for_many_notes():
    tools = ["a"]

    def script(message):
        return legacy(tuple(tools))(message)

    async with PoolRig(script) as rig:
        await rig.pool.acquire("k", timeout=5)
        tools.append("b")
        link = rig.driver.links[0]
        for _ in range(20):
            link.say({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
        await asyncio.sleep(1)
        assert rig.pool.status().message == "2 tools"
        assert len(rig.listener.kinds) == 2
        assert sum(message.get("method") == "tools/list" for message in link.sent) == 2


async def test_the_last_good_lists_stay_while_a_server_is_away_or_unreadable():
    script = legacy()
    readable = [True]

    def sometimes(message):
        if message.get("method") == "tools/list" and not readable:
            return [refuse(message, -32603, "boom")]
        return script(message)

    async with PoolRig(sometimes) as rig:
        await rig.pool.acquire("k", timeout=5)
        readable.clear()
        rig.driver.links[0].say({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
        await asyncio.sleep(1)
        assert rig.pool.status().tools == 1
        rig.driver.links[0].lose()
        await asyncio.sleep(1)
        assert rig.pool.status().tools == 1


async def test_overdue_calls_fail_through_the_pool():
    def silent(message):
        return legacy()(message) if message.get("method") != "tools/call" else []

    async with PoolRig(silent) as rig:
        instance = await rig.pool.acquire("k", timeout=5)
        call = asyncio.create_task(instance.call("tools/call", {}, timeout=5))
        await asyncio.sleep(1)
        rig.pool.tick(asyncio.get_running_loop().time() + 5)
        with pytest.raises(Exception, match="did not answer in time"):
            await call


@pytest.mark.parametrize(
    "page", [{"tools": None}, {"tools": 7}, {"tools": [], "nextCursor": 7}, {"tools": [1, {}]}]
)
async def test_nonsense_in_a_list_is_the_servers_fault_alone(page):
    script = legacy()

    def odd(message):
        if message.get("method") == "tools/list":
            return [{"jsonrpc": "2.0", "id": message["id"], "result": page}]
        return script(message)

    async with PoolRig(odd) as rig:
        await asyncio.sleep(100)
        assert rig.pool.status().state in (ServerState.FAILED, ServerState.STARTING, ServerState.READY)
        assert rig.launcher.prepared > 1 or rig.pool.status().state is ServerState.READY, "it is tended on"
        assert rig.running <= 1


async def test_a_fault_of_ours_does_not_end_the_tending():
    rig = PoolRig()
    broken = [RuntimeError("boom")]
    prepare = rig.launcher.prepare

    async def once(spec):
        if broken:
            raise broken.pop()
        return await prepare(spec)

    rig.launcher.prepare = once
    async with rig:
        await asyncio.sleep(5)
        assert rig.pool.status().state is ServerState.READY


async def test_a_start_in_the_middle_of_a_stop_wins():
    async with PoolRig() as rig:
        await rig.pool.acquire("k", timeout=5)
        stopping = asyncio.create_task(rig.pool.stop())
        await asyncio.sleep(0)
        rig.pool.start()
        await stopping
        await asyncio.sleep(1)
        assert rig.pool.status().state is ServerState.READY
        assert rig.running == 1
        await rig.pool.stop()
        assert rig.running == 0


async def test_who_waits_for_the_first_lists_waits_until_there_are_some_or_none_will_come():
    rig = PoolRig()
    rig.launcher.problems = [problem("missing-secrets", "needs KEY")]
    assert not rig.pool.settled.is_set()
    async with rig:
        await asyncio.wait_for(rig.pool.settled.wait(), 5)
        assert rig.pool.status().state is ServerState.BLOCKED


async def test_an_instance_that_dies_with_its_last_list_is_forgotten():
    """Else it would hold a place for ever, and a pool of a stateful server would run out of them."""
    script = legacy()
    deaths = [True] * 10

    def dying(message):
        if message.get("method") == "tools/list" and deaths:
            deaths.pop()
            link = rig.driver.links[-1]
            asyncio.get_running_loop().call_soon(asyncio.get_running_loop().call_soon, link.lose)
        return script(message)

    rig = PoolRig(dying, sharing=Sharing.SESSION, scaling=Scaling(min_instances=1, max_instances=2))
    async with rig:
        await asyncio.sleep(300)
        assert rig.pool.status().state is ServerState.READY
        assert len(rig.pool.status().instances) == 1


async def test_nobody_is_sent_to_what_is_about_to_end():
    async with PoolRig() as rig:
        await rig.pool.acquire("k", timeout=5)
        stopping = asyncio.create_task(rig.pool.stop())
        await asyncio.sleep(0)
        assert rig.pool.pick("k") is None
        await stopping


async def test_a_flood_of_changes_is_read_less_and_less_often():
    async with PoolRig() as rig:
        await rig.pool.acquire("k", timeout=5)
        link = rig.driver.links[0]
        for _ in range(600):
            link.say({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
            await asyncio.sleep(0.1)
        reads = sum(message.get("method") == "tools/list" for message in link.sent)
        assert reads < 30, "600 notes in a minute"
        assert reads > 5
