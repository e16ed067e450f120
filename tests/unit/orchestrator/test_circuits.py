"""Which calls the breakers of a server judge by, and whom they keep from it. All in virtual time."""

import asyncio

import pytest

from fairlead.model.errors import ProblemError
from fairlead.model.fleet import CallLimits, CircuitBreaker, Scaling
from fairlead.model.status import BreakerState
from support.pool_rig import PoolRig, silent, stateful
from support.scripted import legacy, refuse

pytestmark = pytest.mark.looptime
CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
BREAKER = CircuitBreaker(minimum_calls=5, failure_rate=50, consecutive_failures=5, open_for=10, trials=2)


def fail(rig, instance, count=1):
    """So many calls of an instance fail by its own fault."""
    for _ in range(count):
        rig.send(instance)
        instance.request_failed(instance.sent, "HTTP 502", None)


async def answer(rig, instance, *numbers):
    """These calls are answered well."""
    for number in numbers:
        rig.link(instance).say({"jsonrpc": "2.0", "id": number, "result": {}})
    await asyncio.sleep(0)


async def take(rig, key="k"):
    """Send a call as the gateway does; its instance and number."""
    instance = rig.pool.pick(key) or await rig.pool.acquire(key, timeout=5)
    rig.send(instance)
    return instance, instance.sent


async def refused(rig, key="k"):
    with pytest.raises(ProblemError) as problem:
        await rig.pool.acquire(key, timeout=5)
    assert problem.value.problem.code == "circuit-open"
    return problem.value.problem


class SlowSpell:
    """A server that answers no calls before a moment in loop time."""

    def __init__(self, until):
        self.until = until
        self.usual = legacy()

    def __call__(self, message):
        if message.get("method") == "tools/call" and asyncio.get_running_loop().time() < self.until:
            return []
        return self.usual(message)


async def test_after_a_slow_spell_it_is_open_no_longer_than_its_pause():
    async with PoolRig(SlowSpell(75), ticking=True, scaling=Scaling(max_instances=1)) as rig:
        [instance] = await rig.ready()
        refusals = []
        for _ in range(500):  # calls that hang fill it whole, and their deadlines come in this time
            try:
                instance = rig.pool.pick("k") or await rig.pool.acquire("k", timeout=1)
                answered = rig.send(instance, timeout=300)
                if rig.now > 75:
                    await answered
            except ProblemError:
                refusals.append(rig.now)
            await asyncio.sleep(1)
        assert refusals
        pause = rig.spec.circuit_breaker.open_for
        assert max(refusals) < 80 + pause + 2, "it opened at 80; the next trial closes it, for good"
        assert rig.pool.breaker.state is instance.breaker.state is CLOSED


async def on_trial(rig, straggling=5):
    """One instance whose breakers are half-open, and so many calls from before that still run."""
    [instance] = await rig.ready()
    stragglers = [(await take(rig))[1] for _ in range(straggling)]
    fail(rig, instance, 5)
    assert instance.breaker.state is rig.pool.breaker.state is OPEN
    await asyncio.sleep(12)
    assert instance.breaker.state is rig.pool.breaker.state is HALF_OPEN
    return instance, stragglers


async def test_calls_from_before_take_no_places_and_pass_for_no_trials():
    async with PoolRig(silent(), ticking=True, circuit_breaker=BREAKER) as rig:
        instance, stragglers = await on_trial(rig)
        await answer(rig, instance, *stragglers[:3])
        assert instance.breaker.state is rig.pool.breaker.state is HALF_OPEN
        trials = [(await take(rig))[1] for _ in range(2)]
        await refused(rig)
        instance.cancel(stragglers[3], "given up")
        await refused(rig)
        await answer(rig, instance, *trials)
        assert instance.breaker.state is rig.pool.breaker.state is CLOSED


async def test_calls_from_before_fail_for_no_trials_neither_then_nor_later():
    async with PoolRig(silent(), ticking=True, circuit_breaker=BREAKER) as rig:
        instance, stragglers = await on_trial(rig, straggling=40)
        for number in stragglers[:20]:
            instance.request_failed(number, "HTTP 502", None)
        assert instance.breaker.state is rig.pool.breaker.state is HALF_OPEN
        await answer(rig, instance, *[(await take(rig))[1] for _ in range(2)])
        for number in stragglers[20:]:
            instance.request_failed(number, "HTTP 502", None)
        assert instance.breaker.state is rig.pool.breaker.state is CLOSED


async def test_calls_from_before_that_become_slow_say_nothing():
    slow = BREAKER.model_copy(update={"slow_call": 15.0, "slow_rate": 50.0})
    async with PoolRig(silent(), ticking=True, circuit_breaker=slow) as rig:
        instance, _ = await on_trial(rig)
        await asyncio.sleep(8)
        assert instance.breaker.state is rig.pool.breaker.state is HALF_OPEN
        await take(rig)
        await asyncio.sleep(17)
        assert instance.breaker.state is rig.pool.breaker.state is OPEN, "a trial that is slow does"


async def test_a_trial_that_fails_opens_both():
    async with PoolRig(silent(), ticking=True, circuit_breaker=BREAKER) as rig:
        instance, _ = await on_trial(rig)
        fail(rig, instance)
        assert instance.breaker.state is rig.pool.breaker.state is OPEN


async def test_the_trials_of_a_server_are_counted_over_all_its_instances():
    rig = PoolRig(
        silent(),
        ticking=True,
        circuit_breaker=BREAKER,
        scaling=Scaling(min_instances=3, max_instances=3),
    )
    async with rig:
        instances = await rig.ready(3)
        for instance in instances:
            rig.send(instance)  # it will straggle
            fail(rig, instance, 4)
        assert rig.pool.breaker.state is OPEN
        await asyncio.sleep(12)
        assert rig.pool.breaker.state is HALF_OPEN
        trials = [await take(rig) for _ in range(2)]
        await refused(rig)
        for instance in instances:
            await answer(rig, instance, 1)
        assert rig.pool.breaker.state is HALF_OPEN, "those were sent before"
        await refused(rig)
        for instance, number in trials:
            await answer(rig, instance, number)
        assert rig.pool.breaker.state is CLOSED


async def test_the_gateways_own_requests_take_no_places():
    async with PoolRig(silent(), ticking=True, circuit_breaker=BREAKER) as rig:
        instance, _ = await on_trial(rig, straggling=0)
        rig.link(instance).hang()
        pings = [asyncio.create_task(instance.ping(timeout=1)) for _ in range(3)]
        await asyncio.sleep(0)
        assert instance.in_flight == 3
        for _ in range(2):
            await take(rig)
        await refused(rig)
        rig.link(instance).go_on()
        await asyncio.gather(*pings)


async def test_on_trial_the_servers_bound_holds_for_all_its_calls():
    limits = CallLimits(calls_per_instance=10, calls=5, waiting=5)
    rig = PoolRig(silent(), ticking=True, circuit_breaker=BREAKER, limits=limits)
    async with rig:
        await on_trial(rig, straggling=5)
        await refused(rig)
        assert rig.pool.in_flight == 5


# -- instances that belong to a session ------------------------------------------------------------------


def failing(message):
    if message.get("method") == "tools/call":
        return [refuse(message, -32603, "boom")]
    return legacy()(message)


LEASED = CircuitBreaker(minimum_calls=1000, consecutive_failures=5, open_for=10, trials=2)


async def test_a_session_whose_instance_has_an_open_circuit_is_refused_and_others_are_not():
    async with stateful(script=failing, ticking=True, circuit_breaker=LEASED) as rig:
        instance, _ = await take(rig, "a")
        fail(rig, instance, 5)
        assert instance.breaker.state is OPEN
        assert rig.pool.pick("a") is None
        told = await refused(rig, "a")
        assert 9 < told.retry_after <= 10
        assert "5 failures in a row" in told.detail
        other, _ = await take(rig, "b")
        assert other is not instance


async def test_a_session_gets_the_trials_of_its_instance():
    async with stateful(script=silent(), ticking=True, circuit_breaker=LEASED) as rig:
        instance, straggler = await take(rig, "a")
        fail(rig, instance, 5)
        await asyncio.sleep(12)
        assert instance.breaker.state is HALF_OPEN
        trials = [await take(rig, "a") for _ in range(2)]
        assert rig.pool.pick("a") is None
        told = await refused(rig, "a")
        assert told.retry_after == 1
        await answer(rig, instance, straggler)
        await refused(rig, "a")
        await answer(rig, instance, *(number for _, number in trials))
        assert instance.breaker.state is CLOSED
        assert rig.pool.pick("a") is instance


async def test_calls_of_a_session_that_wait_hear_at_once_that_its_circuit_opens():
    limits = CallLimits(calls_per_instance=5, calls=50, waiting=5)
    async with stateful(script=silent(), circuit_breaker=LEASED, limits=limits) as rig:
        instance, _ = await take(rig, "a")
        for _ in range(4):
            await take(rig, "a")
        waiting = asyncio.create_task(rig.pool.acquire("a", timeout=50))
        await asyncio.sleep(1)
        assert not waiting.done()
        for number in range(instance.sent - 4, instance.sent + 1):
            instance.request_failed(number, "HTTP 502", None)
        with pytest.raises(ProblemError, match="too many failed"):
            await waiting
        assert rig.now < 2
