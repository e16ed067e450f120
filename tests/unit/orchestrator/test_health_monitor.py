"""Which instances are asked, when, and what is told to their pools. In virtual time."""

import asyncio

import pytest
from structlog.testing import capture_logs

from fairlead.core.lifecycle import InstanceState
from fairlead.mcp.errors import CALL_TIMED_OUT, METHOD_NOT_FOUND, UPSTREAM_FAILED, McpError
from fairlead.model.status import Standing
from fairlead.orchestrator.health import CHECKS_AT_A_TIME, HealthMonitor
from support.health_rig import Instance, Pool, tick_until

pytestmark = pytest.mark.looptime


def watch(*pools):
    return HealthMonitor(lambda: pools)


async def test_an_idle_one_is_asked_every_5_s_and_fully_after_30_s(looptime):
    instance = Instance()
    pool = Pool(instance)
    monitor = watch(pool)
    await tick_until(monitor, 36)
    assert instance.pings == [5, 10, 15, 20, 25, 30, 35]
    assert [full for *_, full in pool.observed] == [False] * 5 + [True, False]
    assert {what for _, _, what, _ in pool.observed} == {"passed"}
    assert pool.standings == []
    await monitor.close()


async def test_one_that_answers_calls_is_only_asked_fully(looptime):
    instance = Instance()
    pool = Pool(instance)
    monitor = watch(pool)
    for second in range(1, 33):
        await asyncio.sleep(0.5)
        instance.answer()
        await asyncio.sleep(0.5)
        monitor.tick(second)
        await asyncio.sleep(0)
    assert instance.pings == [30]
    assert [second for second, _, what, _ in pool.observed if what == "answered"] == list(range(2, 33))
    await monitor.close()


async def test_a_hang_is_found_by_checks_one_after_the_other(looptime):
    instance = Instance()
    pool = Pool(instance)
    monitor = watch(pool)
    instance.hang()
    await tick_until(monitor, 12)
    assert instance.pings == [5, 7, 9], "suspects are asked again at once, not at the next tick"
    assert pool.standings == [(7, Standing.SUSPECT), (11, Standing.UNHEALTHY)]
    assert pool.reasons == ["did not answer within 2 s"] * 3
    assert instance.cancelled == 3, "nothing waits for an answer that will not come"
    await monitor.close()


async def test_an_unhealthy_one_that_answers_again_is_trusted_again(looptime):
    instance = Instance()
    pool = Pool(instance)
    monitor = watch(pool)
    instance.hang()
    await tick_until(monitor, 12)
    instance.wake()
    await tick_until(monitor, 20)
    assert pool.standings[-1] == (15, Standing.HEALTHY)
    assert instance.pings[3:5] == [13, 15], "two passes, with a pause between"
    await monitor.close()


async def test_a_suspect_that_answers_a_call_is_well(looptime):
    instance = Instance(latency=3)  # too slow for a check, but it works
    pool = Pool(instance)
    monitor = watch(pool)
    await tick_until(monitor, 7.0)
    await asyncio.sleep(0.5)
    assert instance.health.standing is Standing.SUSPECT
    instance.answer()
    monitor.tick(7.5)
    assert pool.standings == [(7, Standing.SUSPECT), (7.5, Standing.HEALTHY)]
    await asyncio.sleep(4)
    assert [what for _, _, what, _ in pool.observed] == ["failed", "answered"], "the second check was void"
    await monitor.close()


async def test_one_that_works_off_a_long_queue_is_well_though_no_ping_comes_through(looptime):
    instance = Instance(latency=1000)
    pool = Pool(instance)
    monitor = watch(pool)
    for second in range(1, 101):
        await asyncio.sleep(0.6)
        instance.answer(10)
        await asyncio.sleep(0.4)
        monitor.tick(second)
    assert pool.standings == []
    assert {what for _, _, what, _ in pool.observed} == {"answered"}
    assert len(instance.pings) > 10, "it is asked all the time"
    await monitor.close()


async def test_there_is_one_check_of_an_instance_at_a_time(looptime):
    instance = Instance(latency=1.5)
    monitor = watch(Pool(instance))
    await tick_until(monitor, 6, every=0.1)
    assert len(instance.pings) == 1
    assert repr(monitor) == "<HealthMonitor checking=['s-1']>"
    await asyncio.sleep(1)
    assert repr(monitor) == "<HealthMonitor checking=[]>"
    await monitor.close()


async def test_an_error_of_its_own_shows_that_it_lives(looptime):
    instance = Instance(error=McpError(METHOD_NOT_FOUND, "Method not found"))
    pool = Pool(instance)
    monitor = watch(pool)
    await tick_until(monitor, 20)
    assert pool.standings == []
    assert pool.reasons[0] == "answered with error -32601: Method not found"
    await monitor.close()


@pytest.mark.parametrize("code", [UPSTREAM_FAILED, CALL_TIMED_OUT])
async def test_an_error_of_the_gateway_counts_as_failed(code, looptime):
    instance = Instance(error=McpError(code, "connection refused"))
    pool = Pool(instance)
    monitor = watch(pool)
    await tick_until(monitor, 6)
    assert pool.standings == [(5, Standing.SUSPECT), (5, Standing.UNHEALTHY)]
    assert pool.reasons == ["connection refused"] * 3
    assert len(instance.pings) == 3, "then there is a pause"
    await monitor.close()


async def test_one_that_ends_while_it_is_asked_is_left_to_its_pool(looptime):
    instance = Instance(latency=1.5)
    pool = Pool(instance)
    monitor = watch(pool)
    await tick_until(monitor, 6)
    instance.end()
    await asyncio.sleep(1)
    assert pool.observed == []
    assert len(instance.pings) == 1
    await monitor.close()


@pytest.mark.parametrize("state", set(InstanceState) - {InstanceState.READY, InstanceState.DRAINING})
async def test_one_that_does_not_run_is_never_asked(state, looptime):
    instance = Instance()
    instance.state = state
    monitor = watch(Pool(instance))
    instance.answer()
    await tick_until(monitor, 40)
    assert instance.pings == []
    assert await monitor.check_now(monitor._pools()) == []
    await monitor.close()


async def test_checks_are_counted_but_not_those_that_were_void(looptime):
    well, hung, busy = Instance("a-1"), Instance("a-2"), Instance("a-3", latency=1000)
    hung.hang()
    counted = []
    monitor = HealthMonitor(lambda: [Pool(well, hung, busy)], lambda *check: counted.append(check))
    for second in range(1, 12):
        await asyncio.sleep(1)
        busy.answer(second > 5)  # from its first check on
        monitor.tick(second)
    await asyncio.sleep(0)
    assert sorted(counted) == [("s", False)] * 3 + [("s", True)] * 2
    await monitor.close()


async def test_one_that_drains_is_asked_too(looptime):
    instance = Instance()
    instance.state = InstanceState.DRAINING
    instance.hang()
    pool = Pool(instance)
    monitor = watch(pool)
    await tick_until(monitor, 12)
    assert pool.standings[-1] == (11, Standing.UNHEALTHY)
    await monitor.close()


async def test_checks_that_are_off_ask_nothing(looptime):
    instance = Instance()
    monitor = watch(Pool(instance, enabled=False))
    await tick_until(monitor, 100)
    assert instance.pings == []
    await monitor.close()


async def test_a_policy_that_changes_is_in_force_at_the_next_tick(looptime):
    instance = Instance()
    pool = Pool(instance, enabled=False)
    monitor = watch(pool)
    await tick_until(monitor, 3)
    pool.spec = Pool(idle_interval=2.0).spec
    await tick_until(monitor, 8)
    assert instance.pings == [4, 6, 8]
    await monitor.close()


async def test_the_answers_of_the_past_are_no_sign_of_life_now(looptime):
    instance = Instance()
    instance.answer(1000)  # before the monitor saw it first
    pool = Pool(instance)
    monitor = watch(pool)
    await tick_until(monitor, 4)
    assert pool.observed == []
    await monitor.close()


async def test_one_hung_instance_does_not_keep_others_from_being_checked(looptime):
    hung, well = Instance("a-1"), Instance("b-1")
    hung.hang()
    pools = Pool(hung), Pool(well)
    monitor = watch(*pools)
    await tick_until(monitor, 12)
    assert well.pings == [5, 10]
    assert pools[1].standings == []
    await monitor.close()


async def test_close_gives_up_what_runs(looptime):
    instance = Instance()
    instance.hang()
    pool = Pool(instance)
    monitor = watch(pool)
    await tick_until(monitor, 6)
    await monitor.close()
    assert instance.cancelled == 1
    assert pool.observed == []
    assert looptime == 6


async def test_a_fault_of_ours_is_logged_and_the_next_tick_asks_again(looptime):
    instance = Instance(error=ZeroDivisionError("a bug"))
    monitor = watch(Pool(instance))
    with capture_logs() as logs:
        await tick_until(monitor, 5.5)
        instance.error = None
        await tick_until(monitor, 7)
    assert instance.pings == [5, 6]
    assert instance.health.seen_at == 6
    assert [(log["event"], log["task"]) for log in logs] == [("task failed", "check s-1")]
    await monitor.close()


# -- checks that somebody asks for -----------------------------------------------------------------------


async def test_check_now_asks_all_that_run_and_says_how_long_it_took(looptime):
    quick, slow, hung = Instance("a-1", latency=0.25), Instance("b-1", latency=3), Instance("b-2")
    hung.hang()
    pools = [Pool(quick), Pool(slow, hung)]
    monitor = watch(*pools)
    results = await monitor.check_now(pools)
    assert [(r.server, r.instance, r.passed) for r in results] == [
        ("s", "a-1", True),
        ("s", "b-1", True),
        ("s", "b-2", False),
    ]
    assert [r.seconds for r in results] == [0.25, 3, 9], "5 s, then 2 s twice: it ends with a verdict"
    assert [r.message for r in results] == ["", "", "did not answer within 2 s"]
    assert hung.health.standing is Standing.UNHEALTHY
    assert quick.health.checked_at == 0.25
    await monitor.close()


async def test_check_now_joins_the_check_that_runs(looptime):
    instance = Instance()
    instance.hang()
    pool = Pool(instance)
    monitor = watch(pool)
    await tick_until(monitor, 6)
    first, second = await asyncio.gather(monitor.check_now([pool]), monitor.check_now([pool]))
    assert first == second
    assert (first[0].passed, first[0].seconds) == (False, 5)
    assert instance.pings == [5, 7, 9], "impatience does not count as failures"
    await monitor.close()


async def test_check_now_takes_a_call_for_an_answer(looptime):
    instance = Instance(latency=1000)
    pool = Pool(instance)
    monitor = watch(pool)
    asyncio.get_running_loop().call_later(1, instance.answer)
    [result] = await monitor.check_now([pool])
    assert (result.passed, result.seconds) == (True, 5)
    assert result.message == "it answers calls, though not the check in time"
    assert pool.observed == []
    await monitor.close()


async def test_check_now_checks_a_bounded_number_at_a_time(looptime):
    instances = [Instance(f"s-{n}", latency=1) for n in range(2 * CHECKS_AT_A_TIME + 1)]
    pool = Pool(*instances)
    monitor = watch(pool)
    results = await monitor.check_now([pool])
    assert looptime == 3
    assert [r.instance for r in results] == [i.id for i in instances]
    assert {r.seconds for r in results} == {1}, "waiting for its turn does not count"
    await monitor.close()


async def test_check_now_says_of_one_that_ended_that_it_did(looptime):
    first = [Instance(f"s-{n}", latency=1) for n in range(CHECKS_AT_A_TIME)]
    dying, waiting = Instance("s-x", latency=1), Instance("s-y")
    pool = Pool(dying, *first[1:], waiting)
    monitor = watch(pool)
    loop = asyncio.get_running_loop()
    loop.call_later(0.5, dying.end)
    loop.call_later(0.25, setattr, waiting, "state", InstanceState.STOPPED)
    results = {r.instance: r for r in await monitor.check_now([pool])}
    assert (results["s-x"].passed, results["s-x"].message) == (False, "s-x exited with code 1")
    assert (results["s-y"].passed, results["s-y"].message) == (False, "has ended")
    assert waiting.pings == []
    await monitor.close()


async def test_who_asked_may_go_away_and_the_check_goes_on(looptime):
    instance = Instance(latency=1)
    pool = Pool(instance)
    monitor = watch(pool)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await monitor.check_now([pool])
    await asyncio.sleep(1)
    assert pool.observed == [(1, "s-1", "passed", True)]
    await monitor.close()


async def test_check_now_changes_nothing_where_checks_are_off(looptime):
    instance = Instance()
    instance.hang()
    pool = Pool(instance, enabled=False)
    monitor = watch(pool)
    [result] = await monitor.check_now([pool])
    assert (result.passed, result.seconds) == (False, 5)
    assert instance.health.standing is Standing.HEALTHY
    await monitor.close()
