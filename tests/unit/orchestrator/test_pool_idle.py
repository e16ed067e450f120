"""A server that nobody calls has no instance, and the next call starts one. All in virtual time."""

import asyncio
import contextlib

import pytest

from fairlead.core.lifecycle import InstanceState
from fairlead.model.errors import ProblemError
from fairlead.model.fleet import Scaling, Sharing
from fairlead.model.status import ServerState
from fairlead.orchestrator.scaler import Scaler
from support.pool_rig import PoolRig, problem, silent

pytestmark = pytest.mark.looptime
IDLE = Scaling(min_instances=0, max_instances=2, idle_after=60)


class IdleRig(PoolRig):
    """As the orchestrator runs it, with the scaler."""

    def __init__(self, *args, **spec):
        super().__init__(*args, **{"ticking": True, "scaling": IDLE, **spec})
        self._scaler = Scaler(lambda: [self.pool])
        tick = self.pool.tick

        def both(now):
            tick(now)
            self._scaler.tick(now)

        self.pool.tick = both


async def test_without_calls_it_goes_idle_and_the_next_call_starts_it_once():
    async with IdleRig() as rig:
        await rig.ready()
        await asyncio.sleep(55)
        assert rig.running == 1, "one first start shows what it offers"
        await asyncio.sleep(10)
        assert (rig.running, rig.pool.state) == (0, ServerState.IDLE)
        status = rig.pool.status()
        assert status.message == "idle, starts with the next call; 1 tool"
        assert (status.tools, status.wanted_instances, status.restarts) == (1, 0, 0)
        assert status.conditions[0].status, "idle is healthy"
        rig.driver.delay = 3.0
        assert rig.pool.pick("k") is None
        waiting = [asyncio.create_task(rig.pool.acquire(str(n), timeout=50)) for n in range(20)]
        await asyncio.sleep(0)
        assert rig.pool.state is ServerState.STARTING
        assert len(set(await asyncio.gather(*waiting))) == 1
        assert len(rig.driver.links) == 2, "one start for all of them"
        assert rig.pool.state is ServerState.READY


async def test_calls_keep_it_from_going_idle():
    async with IdleRig(silent()) as rig:
        [instance] = await rig.ready()
        rig.send(instance, timeout=200)
        await asyncio.sleep(150)
        assert rig.pool.state is ServerState.READY
        rig.link(instance).say({"jsonrpc": "2.0", "id": max(instance._pending), "result": {}})
        await asyncio.sleep(50)
        assert rig.pool.state is ServerState.READY
        await asyncio.sleep(20)
        assert rig.pool.state is ServerState.IDLE


async def test_a_lease_keeps_it_from_going_idle():
    async with IdleRig(sharing=Sharing.SESSION) as rig:
        instance = await rig.pool.acquire("session:a", timeout=5)
        await asyncio.sleep(200)
        assert instance.state is InstanceState.READY
        await rig.pool.release("session:a")
        await asyncio.sleep(70)
        assert rig.pool.state is ServerState.IDLE


async def test_one_that_takes_longer_to_start_than_to_go_idle_comes_up_first():
    rig = IdleRig(scaling=Scaling(min_instances=0, max_instances=2, idle_after=5))
    rig.driver.delay = 20.0
    async with rig:
        await asyncio.sleep(15)
        assert rig.pool.status().wanted_instances == 1
        await asyncio.sleep(15)
        assert rig.pool.state is ServerState.IDLE
        assert rig.pool.status().tools == 1


async def test_one_that_dies_as_it_goes_idle_is_idle():
    async with IdleRig() as rig:
        [instance] = await rig.ready()
        rig.pool.scale_to(0, "test")
        rig.link(instance).lose()
        await asyncio.sleep(0.1)
        assert (rig.running, rig.pool.state) == (0, ServerState.IDLE)


async def test_an_idle_server_is_stopped_and_started_as_any_other():
    async with IdleRig() as rig:
        await asyncio.sleep(70)
        await rig.pool.stop()
        assert rig.pool.state is ServerState.STOPPED
        with pytest.raises(ProblemError, match="is stopped"):
            await rig.pool.acquire("k", timeout=5)
        rig.pool.start()
        await rig.ready()
        assert rig.pool.state is ServerState.READY


async def test_one_that_cannot_start_from_idle_says_so_to_those_who_wait():
    async with IdleRig() as rig:
        await asyncio.sleep(70)
        rig.launcher.problems = [problem("command-not-found", "no such command")]
        with pytest.raises(ProblemError, match="is blocked: no such command"):
            await rig.pool.acquire("k", timeout=20)


@pytest.mark.parametrize("code", ["start-failed", "missing-secrets"])
async def test_one_that_failed_as_it_woke_is_not_dead(code):
    async with IdleRig() as rig:
        await asyncio.sleep(70.1)
        rig.driver.refusals = [problem(code)] * 2
        rig.driver.delay = 0.05
        with contextlib.suppress(ProblemError):
            await rig.pool.acquire("k", timeout=0.2)
        await asyncio.sleep(70)
        await rig.pool.acquire("k", timeout=20)
        assert rig.pool.state is ServerState.READY


@pytest.mark.parametrize("code", ["start-failed", "missing-secrets"])
async def test_a_call_wakes_what_failed_and_was_to_be_idle_again(code):
    async with PoolRig(scaling=IDLE) as rig:
        rig.launcher.problems = [problem(code)] * 2
        await asyncio.sleep(0.05)
        assert rig.pool.state in (ServerState.FAILED, ServerState.BLOCKED)
        rig.pool.scale_to(0, "test")
        rig.launcher.problems.clear()
        await asyncio.sleep(100)
        assert rig.running == 0
        with contextlib.suppress(ProblemError):
            await rig.pool.acquire("k", timeout=20)
        await asyncio.sleep(1)
        assert rig.pool.state is ServerState.READY
