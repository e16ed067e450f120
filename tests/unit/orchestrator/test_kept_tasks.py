"""An instance that has tasks does not end before they do, nor for ever. In virtual time."""

import asyncio

import pytest

from fairlead.core.lifecycle import InstanceState
from fairlead.model.fleet import Scaling
from support.pool_rig import PoolRig, stateful

pytestmark = pytest.mark.looptime


def two():
    return PoolRig(scaling=Scaling(min_instances=1, max_instances=2), ticking=True)


async def begun(rig, **ends_in):
    """Both of two instances, the second one with tasks; `ends_in` has the seconds that each may take."""
    rig.pool.scale_to(2, "test")
    await rig.ready(2)
    first, second = rig.pool.members.ready()
    for task, seconds in ends_in.items():
        second.tasks[task] = rig.now + seconds
    return first, second


async def test_an_instance_that_is_not_needed_stays_until_its_tasks_are_over():
    async with two() as rig:
        first, second = await begun(rig, one=30.0, other=100.0)
        first.tasks["x"] = rig.now + 1000.0
        rig.pool.scale_to(0, "test")
        await asyncio.sleep(50)
        assert second.state is InstanceState.DRAINING
        second.tasks.pop("other")  # its client has fetched the result
        await asyncio.sleep(2)
        assert second.state is InstanceState.STOPPED
        assert first.state is InstanceState.DRAINING
        await asyncio.sleep(1000)
        assert first.state is InstanceState.STOPPED


async def test_without_tasks_it_goes_at_once():
    async with two() as rig:
        _, second = await begun(rig)
        rig.pool.scale_to(1, "test")
        await asyncio.sleep(0.5)
        assert rig.running == 1
        assert second.tasks == {}


async def test_a_server_that_is_stopped_waits_for_no_task():
    async with two() as rig:
        await begun(rig, one=1000.0)
        rig.pool.drain()
        await asyncio.sleep(2)
        assert rig.running == 0


async def test_a_principals_own_instance_stays_for_its_tasks():
    async with stateful(ticking=True) as rig:
        instance = await rig.pool.acquire("principal:ada", timeout=10)
        instance.tasks["x"] = rig.now + 50
        rig.pool.release_idle(rig.now + 1000)
        await asyncio.sleep(1)
        assert instance.state is InstanceState.READY
        await asyncio.sleep(60)
        rig.pool.release_idle(rig.now + 1000)
        await asyncio.sleep(1)
        assert instance.state is InstanceState.STOPPED
