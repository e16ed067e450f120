"""Who gets a call and who waits for it: bounds, breakers, replays, idleness. All in virtual time."""

import asyncio

import pytest

from fairlead.mcp.errors import McpError
from fairlead.model.errors import ProblemError
from fairlead.model.fleet import (
    CallLimits,
    CircuitBreaker,
    HealthCheck,
    LoadBalancing,
    Resources,
    Scaling,
    Strategy,
)
from fairlead.model.status import BreakerState, ServerState, Standing
from fairlead.orchestrator.keeper import HOLD
from fairlead.orchestrator.replies import FutureReply
from support.pool_rig import PoolRig, problem, silent, stateful
from support.scripted import answer, legacy, refuse

pytestmark = pytest.mark.looptime


def limited(per_instance=64, calls=512, waiting=256):
    return CallLimits(calls_per_instance=per_instance, calls=calls, waiting=waiting)


async def refused(rig, code, key="k", timeout=5.0):  # noqa: ASYNC109 - that of `acquire`
    """The problem that a call is refused with, at once."""
    before = rig.now
    with pytest.raises(ProblemError) as problem:
        await rig.pool.acquire(key, timeout=timeout)
    assert problem.value.problem.code == code
    assert rig.now == before, "who cannot be helped does not wait"
    return problem.value.problem


def acquiring(rig, *keys, timeout=50.0):
    return [asyncio.create_task(rig.pool.acquire(key, timeout=timeout)) for key in keys]


def finish(rig, instance, count=1):
    """Let the oldest calls of an instance be answered."""
    link = rig.link(instance)
    for number in sorted(instance._pending)[:count]:
        link.say({"jsonrpc": "2.0", "id": number, "result": {}})


# -- bounds and waiting ----------------------------------------------------------------------------------


async def test_an_instance_takes_no_more_calls_than_its_bound_and_answers_make_room():
    async with PoolRig(silent(), limits=limited(per_instance=2)) as rig:
        [instance] = await rig.ready()
        for _ in range(2):
            assert rig.pool.pick("k") is instance
            rig.send(instance)
        assert rig.pool.pick("k") is None
        [waiting] = acquiring(rig, "a")
        await asyncio.sleep(1)
        assert not waiting.done()
        finish(rig, instance)
        assert await waiting is instance


async def test_the_server_takes_no_more_calls_than_its_bound():
    scaling = Scaling(min_instances=3, max_instances=3)
    async with PoolRig(silent(), limits=limited(per_instance=2, calls=4), scaling=scaling) as rig:
        await rig.ready(3)
        for _ in range(4):
            rig.send(rig.pool.pick("k"))
        assert rig.pool.pick("k") is None
        assert rig.pool.in_flight == 4
        [waiting] = acquiring(rig, "a")
        await asyncio.sleep(1)
        assert not waiting.done()
        finish(rig, next(i for i in rig.pool.instances if i.in_flight))
        rig.send(await waiting)
        assert rig.pool.in_flight == 4


async def test_a_stateful_server_takes_no_more_calls_than_its_bound():
    async with stateful(script=silent(), limits=limited(per_instance=2, calls=3)) as rig:
        for key in ("a", "a", "b"):
            rig.send(await rig.pool.acquire(key, timeout=5))
        assert rig.pool.pick("b") is None, "its instance has room, the server has none"
        waiting = acquiring(rig, "b", "c")
        await asyncio.sleep(1)
        assert not any(task.done() for task in waiting)
        finish(rig, rig.pool.members.leases["a"].instance)
        assert (await waiting[0]).leased_to == "b"
        rig.send(await waiting[0])
        finish(rig, rig.pool.members.leases["a"].instance)
        assert (await waiting[1]).leased_to == "c"


async def test_those_who_wait_are_served_in_their_order():
    async with PoolRig(silent(), limits=limited(per_instance=1)) as rig:
        [instance] = await rig.ready()
        rig.send(instance)
        order = []

        async def one(key):
            rig.send(await rig.pool.acquire(key, timeout=50))
            order.append(key)

        tasks = [asyncio.create_task(one(key)) for key in "abcdef"]
        await asyncio.sleep(1)
        rig.pool.call_all_waiting()  # nothing is free: they keep their places
        await asyncio.sleep(1)
        for _ in range(6):
            finish(rig, instance)
            await asyncio.sleep(0.1)
        await asyncio.gather(*tasks)
        assert order == list("abcdef")


async def test_nobody_passes_those_who_wait():
    async with PoolRig(silent(), limits=limited(per_instance=1)) as rig:
        [instance] = await rig.ready()
        rig.send(instance)
        [waiting] = acquiring(rig, "a")
        await asyncio.sleep(1)
        rig.driver.delay = 0.0
        rig.pool.scale_to(2, "test")
        assert rig.pool.pick("b") is None
        late = acquiring(rig, "b")
        await rig.ready(2)
        rig.send(await waiting)
        await asyncio.sleep(1)
        assert not late[0].done()
        late[0].cancel()


async def test_the_number_of_those_who_wait_is_bounded():
    async with PoolRig(silent(), limits=limited(per_instance=1, waiting=2)) as rig:
        [instance] = await rig.ready()
        rig.send(instance)
        waiting = acquiring(rig, "a", "b")
        await asyncio.sleep(1)
        assert rig.pool.status().calls_waiting == 2
        told = await refused(rig, "too-many-waiting")
        assert "2 calls waiting, which is the limit (limits.waiting)" in told.detail
        assert told.retry_after == 2
        finish(rig, instance)
        rig.send(await waiting[0])
        [late] = acquiring(rig, "c")
        await asyncio.sleep(1)
        assert not late.done(), "there was a place again"
        for task in (waiting[1], late):
            task.cancel()


async def test_who_was_called_and_found_nothing_keeps_the_place_although_the_room_is_full():
    async with PoolRig(silent(), limits=limited(per_instance=1, waiting=1)) as rig:
        [instance] = await rig.ready()
        rig.send(instance)
        [waiting] = acquiring(rig, "a")
        await asyncio.sleep(1)
        rig.pool.call_all_waiting()
        await refused(rig, "too-many-waiting")
        await asyncio.sleep(1)
        finish(rig, instance)
        assert await waiting is instance


async def test_none_may_wait_where_the_limit_is_none():
    async with PoolRig(silent(), limits=limited(per_instance=1, waiting=0)) as rig:
        [instance] = await rig.ready()
        rig.send(instance)
        await refused(rig, "too-many-waiting")


async def test_one_who_goes_away_gives_the_turn_to_the_next():
    async with PoolRig(silent(), limits=limited(per_instance=1)) as rig:
        [instance] = await rig.ready()
        rig.send(instance)
        first, second = acquiring(rig, "a", "b")
        await asyncio.sleep(1)
        finish(rig, instance)  # which calls the first one
        first.cancel()
        assert await second is instance


async def test_room_that_comes_without_an_answer_is_used_within_a_second():
    async with PoolRig(silent(), ticking=True, limits=limited(per_instance=1)) as rig:
        [instance] = await rig.ready()
        number = instance.next_token()
        rig.send(instance)
        [waiting] = acquiring(rig, "a")
        await asyncio.sleep(3)
        before = rig.now
        instance.cancel(number, "its client has gone")
        assert await waiting is instance
        assert rig.now - before <= 1


async def test_a_call_that_times_out_makes_room():
    async with PoolRig(silent(), ticking=True, limits=limited(per_instance=1)) as rig:
        [instance] = await rig.ready()
        rig.send(instance, timeout=10)
        assert await rig.pool.acquire("a", timeout=20) is instance
        assert rig.now < 12


async def test_waiting_too_long_says_for_how_long():
    async with PoolRig(silent(), limits=limited(per_instance=1)) as rig:
        rig.send((await rig.ready())[0])
        with pytest.raises(ProblemError, match="was not ready within 7 s") as told:
            await rig.pool.acquire("k", timeout=7)
        assert told.value.problem.retry_after
        assert len(rig.pool.waiting) == 0


async def test_answers_are_watched_only_while_somebody_waits():
    async with PoolRig(silent(), ticking=True, limits=limited(per_instance=1)) as rig:
        [instance] = await rig.ready()
        rig.send(instance)
        assert not instance.watched
        with pytest.raises(ProblemError):
            await rig.pool.acquire("k", timeout=2)
        await asyncio.sleep(2)
        assert not instance.watched, "the hot path is not slowed for nothing"


async def test_those_who_wait_hear_at_once_when_the_server_is_stopped():
    async with PoolRig(silent(), limits=limited(per_instance=1)) as rig:
        rig.send((await rig.ready())[0])
        [waiting] = acquiring(rig, "a")
        await asyncio.sleep(1)
        rig.pool.drain()
        with pytest.raises(ProblemError, match="is stopped: stopped; 1 calls are finishing"):
            await waiting
        assert rig.running == 1, "its call goes on"


async def test_those_who_wait_hear_when_it_cannot_start_for_long():
    rig = PoolRig()
    rig.launcher.problems = [problem("start-failed")] * 20
    async with rig:
        [waiting] = acquiring(rig, "a")
        with pytest.raises(ProblemError, match="cannot start: what and how; crash loop") as told:
            await waiting
        assert told.value.problem.retry_after > HOLD
        assert rig.now < 15
        told = await refused(rig, "failed")
        assert told.retry_after > HOLD


async def test_calls_are_held_while_the_next_start_is_near():
    rig = PoolRig()
    rig.launcher.problems = [problem("start-failed")] * 4
    async with rig:
        first, second = acquiring(rig, "a", "b")
        await asyncio.sleep(0.05)
        assert rig.pool.state is ServerState.FAILED
        [third] = acquiring(rig, "c")
        assert await first is await second is await third
        assert rig.now < 2


async def test_calls_are_not_held_beyond_their_own_time():
    rig = PoolRig()
    rig.launcher.problems = [problem("start-failed")] * 6
    async with rig:
        [waiting] = acquiring(rig, "a", timeout=0.01)
        with pytest.raises(ProblemError, match="cannot start"):
            await waiting
        assert rig.now < 0.01, "its time ends before the next start"


async def test_calls_are_not_held_for_what_is_slow_to_fail():
    async with PoolRig(lambda message: []) as rig:
        [waiting] = acquiring(rig, "a", timeout=200)
        with pytest.raises(ProblemError, match="did not answer within 60 s"):
            await waiting
        assert rig.now == pytest.approx(60, abs=0.1)
        await refused(rig, "failed")
        await asyncio.sleep(1)
        await refused(rig, "failed")


# -- breakers --------------------------------------------------------------------------------------------


class Moody:
    """A legacy server whose calls fail while it is in a bad mood."""

    def __init__(self):
        self.bad = True
        self.usual = legacy()

    def __call__(self, message):
        if message.get("method") == "tools/call" and self.bad:
            return [refuse(message, -32603, "boom")]
        return self.usual(message)


async def call(rig, key="k"):
    """A call as the gateway makes it; whether it was answered well."""
    instance = rig.pool.pick(key) or await rig.pool.acquire(key, timeout=5)
    try:
        await instance.call("tools/call", {"name": "echo"}, timeout=60)
    except McpError:
        return False
    return True


def circuit(rig):
    return next(c for c in rig.pool.status().conditions if c.type == "CircuitClosed")


BREAKER = CircuitBreaker(minimum_calls=5, failure_rate=50, open_for=10, trials=2)


async def test_the_breaker_opens_is_tried_and_closes():
    mood = Moody()
    async with PoolRig(mood, ticking=True, circuit_breaker=BREAKER) as rig:
        await rig.ready()
        for _ in range(5):
            assert not await call(rig)
        assert rig.pool.breaker.state is BreakerState.OPEN
        assert rig.pool.pick("k") is None
        told = await refused(rig, "circuit-open")
        assert 9 < told.retry_after <= 10
        assert "5 of 5 calls within 30 s failed; the last: s-1: error -32603: boom" in told.detail
        assert (circuit(rig).status, circuit(rig).reason) == (False, "Open")
        mood.bad = False
        await asyncio.sleep(told.retry_after + 1)
        assert rig.pool.breaker.state is BreakerState.HALF_OPEN
        assert rig.pool.pick("k") is None, "trials go the slow way, where they are counted"
        assert await call(rig)
        assert await call(rig)
        assert rig.pool.breaker.state is BreakerState.CLOSED
        assert rig.pool.pick("k") is not None
        assert circuit(rig).status


async def test_half_open_admits_no_more_than_its_trials():
    mood = Moody()
    async with PoolRig(mood, ticking=True, circuit_breaker=BREAKER) as rig:
        [instance] = await rig.ready()
        for _ in range(5):
            await call(rig)
        rig.driver.links[0].script = silent()
        await asyncio.sleep(12)
        for _ in range(2):
            rig.send(await rig.pool.acquire("k", timeout=5))
        told = await refused(rig, "circuit-open")
        assert told.retry_after == 1
        finish(rig, instance)
        await asyncio.sleep(0)
        rig.send(await rig.pool.acquire("k", timeout=5))
        await refused(rig, "circuit-open")
        assert rig.pool.in_flight == 2


async def test_a_trial_that_fails_opens_it_again_for_longer():
    async with PoolRig(Moody(), ticking=True, circuit_breaker=BREAKER) as rig:
        await rig.ready()
        for _ in range(5):
            await call(rig)
        await asyncio.sleep(12)
        assert not await call(rig)
        told = await refused(rig, "circuit-open")
        assert 15 < told.retry_after <= 20
        assert "failed again when it was tried" in told.detail


async def test_those_who_wait_hear_at_once_when_the_breaker_opens():
    async with PoolRig(silent(), limits=limited(per_instance=5), circuit_breaker=BREAKER) as rig:
        [instance] = await rig.ready()
        for _ in range(5):
            rig.send(instance)
        [waiting] = acquiring(rig, "a")
        await asyncio.sleep(1)
        for number in sorted(instance._pending):
            instance.request_failed(number, "HTTP 502", None)
        with pytest.raises(ProblemError, match="too many failed"):
            await waiting


async def test_a_clients_own_mistakes_do_not_open_it():
    def strict(message):
        if message.get("method") == "tools/call":
            return [refuse(message, -32602, "no such tool")]
        return legacy()(message)

    async with PoolRig(strict, circuit_breaker=BREAKER) as rig:
        await rig.ready()
        for _ in range(30):
            await call(rig)
        assert rig.pool.breaker.state is BreakerState.CLOSED


async def test_texts_that_mean_failure_open_it():
    def limited_rate(message):
        if message.get("method") == "tools/call":
            return [answer(message, content=[{"type": "text", "text": "API key expired"}], isError=True)]
        return legacy()(message)

    check = HealthCheck(error_patterns=("key (expired|revoked)", "quota"))
    async with PoolRig(limited_rate, circuit_breaker=BREAKER, health_check=check) as rig:
        await rig.ready()
        for _ in range(5):
            assert await call(rig), "its caller sees what the server said"
        assert rig.pool.breaker.state is BreakerState.OPEN
        assert rig.pool.breaker.reason.endswith("s-1: an answer says 'key expired'")


async def test_slow_calls_open_it():
    slow = CircuitBreaker(slow_call=5, slow_rate=50, minimum_calls=4, open_for=10)
    async with PoolRig(silent(), ticking=True, circuit_breaker=slow) as rig:
        [instance] = await rig.ready()
        for _ in range(4):
            rig.send(instance, timeout=100)
        await asyncio.sleep(4)
        assert rig.pool.breaker.state is BreakerState.CLOSED
        await asyncio.sleep(4)
        assert rig.pool.breaker.state is BreakerState.OPEN
        assert rig.pool.breaker.reason == "4 of 4 calls within 30 s took over 5 s"
        await refused(rig, "circuit-open")


async def test_the_breaker_of_one_instance_leaves_the_others_their_calls():
    scaling = Scaling(min_instances=3, max_instances=3)
    breaker = CircuitBreaker(consecutive_failures=5, open_for=10, trials=2)
    rig = PoolRig(silent(), ticking=True, scaling=scaling, circuit_breaker=breaker)
    async with rig:
        bad, *good = await rig.ready(3)
        for _ in range(5):
            rig.send(bad)
            bad.request_failed(max(bad._pending), "HTTP 502", None)
            for instance in good:  # they answer, so the server as a whole is well
                rig.send(instance)
                finish(rig, instance)
        await asyncio.sleep(0)
        assert bad.breaker.state is BreakerState.OPEN
        assert rig.pool.breaker.state is BreakerState.CLOSED
        assert {rig.pool.pick("k") for _ in range(9)} == set(good)
        assert rig.pool.retire(bad.id)
        statuses = {status.id: status.state for status in rig.pool.breakers()}
        assert statuses["s"] is BreakerState.CLOSED
        assert statuses[bad.id] is BreakerState.OPEN


async def test_breakers_are_reset_by_their_ids():
    mood = Moody()
    async with PoolRig(mood, circuit_breaker=BREAKER) as rig:
        [instance] = await rig.ready()
        for _ in range(5):
            await call(rig)
        mood.bad = False
        assert rig.pool.reset_breaker("s").state is BreakerState.CLOSED
        assert instance.breaker.state is BreakerState.OPEN
        assert rig.pool.reset_breaker(instance.id).state is BreakerState.CLOSED
        assert rig.pool.reset_breaker("t") is None
        assert rig.pool.pick("k") is instance


async def test_a_death_counts_as_one_failure_however_many_calls_it_took():
    async with PoolRig(silent(), circuit_breaker=BREAKER) as rig:
        [instance] = await rig.ready()
        for _ in range(30):
            rig.send(instance)
        rig.link(instance).lose()
        assert rig.pool.breaker.counts()[1] == 1
        idle = (await rig.ready())[0]
        rig.link(idle).lose()
        assert rig.pool.breaker.counts()[1] == 1, "no call was lost"


# -- health and balance ----------------------------------------------------------------------------------


async def test_a_transport_error_makes_an_instance_suspect_at_once():
    async with PoolRig(silent(), scaling=Scaling(min_instances=2, max_instances=2)) as rig:
        first, second = await rig.ready(2)
        rig.send(first)
        first.request_failed(max(first._pending), "connection reset", None)
        assert first.health.standing is Standing.SUSPECT
        assert {rig.pool.pick("k") for _ in range(4)} == {second}
        rig.pool.checked(first, passed=True, reason="", full=False)
        assert {rig.pool.pick("k") for _ in range(4)} == {first, second}


async def test_panic_is_shown_and_ends():
    fleet = LoadBalancing(panic_threshold=60)
    rig = PoolRig(fleet=fleet, scaling=Scaling(min_instances=2, max_instances=2))
    async with rig:
        first, second = await rig.ready(2)
        rig.pool.checked(first, passed=False, reason="late", full=False)
        assert rig.pool.status().panicking, "one of two is under 60 %"
        assert {rig.pool.pick("k") for _ in range(4)} == {first, second}
        rig.pool.answered_lately(first, rig.now)
        assert not rig.pool.balance().panicking


async def test_the_fleets_strategy_holds_unless_the_server_has_its_own():
    async with PoolRig(fleet=LoadBalancing(strategy=Strategy.WEIGHTED)) as rig:
        assert rig.pool.balance().strategy is Strategy.WEIGHTED
        own = rig.changed(strategy=Strategy.ROUND_ROBIN)
        rig.pool.adjust(own, LoadBalancing(strategy=Strategy.LEAST_CONNECTIONS))
        assert rig.pool.balance().strategy is Strategy.ROUND_ROBIN
        rig.pool.adjust(rig.spec, LoadBalancing(strategy=Strategy.LEAST_CONNECTIONS))
        assert rig.pool.status().strategy is Strategy.LEAST_CONNECTIONS


async def test_the_busiest_processes_get_less():
    rig = PoolRig(
        silent(),
        ticking=True,
        resources=Resources(cpu=0.5),
        scaling=Scaling(min_instances=2, max_instances=2),
    )
    async with rig:
        first, second = await rig.ready(2)
        for second_of_life in range(10):
            rig.link(first).cpu_seconds = second_of_life * 0.5
            rig.link(second).cpu_seconds = 0.0
            await asyncio.sleep(1)
        assert first.pressure == pytest.approx(1.0, abs=0.05)
        assert rig.pool.load(rig.now).cpu == pytest.approx(0.5, abs=0.05)
        for _ in range(9):
            rig.send(rig.pool.pick("k"))
        assert (first.calls_in_flight, second.calls_in_flight) == (3, 6)


# -- calls that move to another instance -----------------------------------------------------------------


async def test_what_is_safe_is_replayed_a_few_times_and_what_is_not_never():
    rig = PoolRig(legacy(annotations={"readOnlyHint": True}))
    async with rig:
        await rig.ready()
        pool = rig.pool
        assert pool.catalogue.is_safe("resources/read", None)
        assert pool.catalogue.is_safe("tools/call", "echo")
        assert not pool.catalogue.is_safe("tools/call", "other")
        assert not pool.catalogue.is_safe("logging/setLevel", None)
        assert pool.why_not_replay(safe=True, replays=0) is None
        assert "not annotated" in pool.why_not_replay(safe=False, replays=0)
        assert "3 times already" in pool.why_not_replay(safe=True, replays=3)


@pytest.mark.parametrize("annotations", [None, {}, {"readOnlyHint": False}, {"readOnlyHint": "true"}, 7])
async def test_a_tool_that_does_not_say_so_is_not_safe(annotations):
    async with PoolRig(legacy(annotations=annotations)) as rig:
        await rig.ready()
        assert not rig.pool.catalogue.is_safe("tools/call", "echo")


async def test_replays_have_a_budget():
    async with PoolRig() as rig:
        await rig.ready()
        granted = 0
        while rig.pool.why_not_replay(safe=True, replays=0) is None:
            granted += 1
        assert granted == 256
        assert "too many replays" in rig.pool.why_not_replay(safe=True, replays=0)
        await asyncio.sleep(1)
        assert rig.pool.why_not_replay(safe=True, replays=0) is None


async def test_what_holds_state_replays_nothing():
    async with stateful() as rig:
        await rig.ready()
        assert "state went with the instance" in rig.pool.why_not_replay(safe=True, replays=0)
        assert "not annotated" in rig.pool.why_not_replay(safe=False, replays=0)


async def test_what_hangs_tells_its_callers():
    rig = PoolRig(silent(), ticking=True, scaling=Scaling(min_instances=2, max_instances=2))
    async with rig:
        hung, other = await rig.ready(2)
        told = []
        reply = FutureReply(on_stuck=lambda: told.append("stuck"))
        hung.forward("tools/call", b"{}", reply, deadline=rig.now + 100)
        rig.link(hung).hang()
        await asyncio.sleep(14)
        assert told == ["stuck"]
        assert rig.pool.pick("k") is other, "where it can be asked as well"
        assert not reply.future.done()
        reply.future.cancel()


async def test_who_wants_a_healthy_instance_waits_for_one_and_holds_nobody_up():
    scaling = Scaling(min_instances=1, max_instances=2)
    async with PoolRig(silent(), ticking=True, scaling=scaling) as rig:
        [suspect] = await rig.ready()
        rig.pool.checked(suspect, passed=False, reason="late", full=False)
        wanting = asyncio.create_task(rig.pool.acquire("a", timeout=50, healthy=True))
        await asyncio.sleep(0.1)
        assert not wanting.done()
        assert rig.pool.pick("b") is suspect, "better than none"
        rig.pool.checked(suspect, passed=True, reason="", full=False)
        assert await wanting is suspect


async def test_who_wants_a_healthy_instance_gets_the_new_one_when_the_old_one_hangs():
    async with PoolRig(silent(), ticking=True) as rig:
        [hung] = await rig.ready()
        rig.send(hung)
        rig.link(hung).hang()
        await asyncio.sleep(8)
        wanting = asyncio.create_task(rig.pool.acquire("a", timeout=50, healthy=True))
        new = await wanting
        assert new is not hung
        assert rig.now < 15


async def test_who_wants_a_healthy_instance_hears_when_there_is_no_hope():
    async with PoolRig(silent()) as rig:
        [suspect] = await rig.ready()
        rig.pool.checked(suspect, passed=False, reason="late", full=False)
        wanting = asyncio.create_task(rig.pool.acquire("a", timeout=50, healthy=True))
        await asyncio.sleep(1)
        rig.pool.drain()
        with pytest.raises(ProblemError, match="stopped"):
            await wanting


async def test_a_session_with_an_instance_is_not_held_up_by_one_that_waits_for_its_own():
    async with stateful(maximum=2) as rig:
        await rig.ready()
        mine = await rig.pool.acquire("session:a", timeout=5)
        await rig.pool.acquire("session:b", timeout=5)
        rig.driver.delay = 1000
        rig.pool.adjust(rig.changed(scaling=Scaling(min_instances=1, max_instances=3)), LoadBalancing())
        waiting = asyncio.create_task(rig.pool.acquire("session:c", timeout=500))
        await asyncio.sleep(1)
        assert len(rig.pool.waiting) == 1
        assert rig.pool.pick("session:a") is mine
        assert await rig.pool.acquire("session:a", timeout=0.1) is mine
        waiting.cancel()
