"""One request that REST routes: asked again, or as well, where that is safe. In virtual time."""

import asyncio

import pytest

from fairlead.mcp.errors import McpError
from fairlead.mcp.messages import decode_any
from fairlead.model.fleet import Scaling, Sharing
from fairlead.model.request import RoutedRequest
from fairlead.orchestrator.metrics import MetricsCollector
from fairlead.orchestrator.routed import RoutedCall
from support.pool_rig import PoolRig, silent
from support.scripted import legacy

pytestmark = pytest.mark.looptime

SAFE = {"readOnlyHint": True}
TWO = Scaling(min_instances=2, max_instances=2)


def rig(annotations=SAFE, **spec):
    return PoolRig(legacy(annotations=annotations), ticking=True, scaling=TWO, **spec)


def call(it, *, timeout=60.0, name="echo"):
    metrics = MetricsCollector(list)
    request = RoutedRequest("s", None, "tools/call", {"name": name, "arguments": {}}, timeout, "ada")
    routed = RoutedCall(it.pool, request, metrics, timeout)

    async def result():
        async with asyncio.timeout(timeout):
            return decode_any(await routed.result())

    return asyncio.create_task(result()), metrics


async def asked(it, *instances):
    """Which of the instances has the call, once one has."""
    async with asyncio.timeout(10):
        while True:
            for instance in instances:
                if instance.calls_in_flight:
                    return instance
            await asyncio.sleep(0.001)


async def held(it):
    """Two instances that answer no calls until they `go_on`, and a call that one of them has."""
    first, second = await it.ready(2)
    for instance in (first, second):
        it.link(instance).hang()
    task, metrics = call(it)
    victim = await asked(it, first, second)
    other = second if victim is first else first
    return task, metrics, victim, other


async def test_it_is_answered():
    async with rig() as it:
        await it.ready(2)
        task, _ = call(it)
        assert (await task)["content"]


async def test_a_safe_call_whose_instance_dies_is_asked_elsewhere():
    async with rig() as it:
        task, metrics, victim, other = await held(it)
        it.link(other).go_on()
        it.link(victim).lose()
        assert (await task)["content"]
        assert metrics.server_summary("s")["replays"] == {"replayed": 1, "refused": 0}


async def test_one_that_is_not_safe_is_not_and_says_why():
    async with rig(annotations={}) as it:
        task, metrics, victim, _ = await held(it)
        it.link(victim).lose()
        with pytest.raises(McpError, match=r"not replayed: its tool is not annotated"):
            await task
        assert metrics.server_summary("s")["replays"] == {"replayed": 0, "refused": 1}


async def test_one_that_is_stuck_is_asked_elsewhere_too_and_the_other_answer_counts():
    async with rig() as it:
        task, _, victim, other = await held(it)
        it.link(other).go_on()
        assert (await task)["content"]
        assert victim.calls_in_flight == 0, "the attempt that is not needed is given up"


async def test_one_that_only_looked_hung_may_still_answer_first():
    async with rig() as it:
        task, _, victim, _ = await held(it)
        it.driver.script = silent()  # of those that come in their place
        await asyncio.sleep(20)
        assert not task.done()
        it.link(victim).go_on()
        assert (await task)["content"]
        assert it.pool.members.calls_in_flight == 0, "the attempt that is not needed is given up"


async def test_what_holds_state_keeps_its_call():
    async with rig(sharing=Sharing.SESSION) as it:
        await it.ready(2)
        for instance in it.pool.members.ready():
            it.link(instance).hang()
        task, _ = call(it)
        victim = await asked(it, *it.pool.members.ready())
        await asyncio.sleep(20)
        assert not task.done()
        it.link(victim).go_on()
        assert (await task)["content"]


async def test_what_could_not_be_delivered_is_asked_of_one_that_is_known_to_be_well():
    async with rig() as it:
        task, metrics, victim, other = await held(it)
        it.link(other).go_on()
        number = next(iter(victim._pending))
        victim.request_failed(number, "HTTP 502", None)
        assert (await task)["content"]
        assert victim.calls_total == 1, "not of the same one again"
        assert metrics.server_summary("s")["replays"]["replayed"] == 1


async def test_time_that_is_up_counts_as_a_failure_of_the_instance():
    async with rig(annotations={}) as it:
        task, _, victim, _ = await held(it)
        with pytest.raises(TimeoutError):
            await task
        assert victim.breaker.counts()[1] == 1
        assert it.pool.breaker.counts()[1] == 1
