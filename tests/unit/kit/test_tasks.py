"""Background tasks that cannot get lost."""

import asyncio

import pytest

from fairlead.kit.tasks import Tasks


async def test_a_failure_is_told_once_and_takes_nothing_with_it():
    told = []
    tasks = Tasks(lambda name, error: told.append((name, str(error))))

    async def fail():
        raise ValueError("no")

    async def work():
        return 7

    failing, working = tasks.spawn(fail(), "failing"), tasks.spawn(work(), "working")
    assert await working == 7
    await asyncio.wait([failing])
    await asyncio.sleep(0)
    assert told == [("failing", "no")]
    assert len(tasks) == 0


async def test_close_ends_what_runs_and_refuses_what_comes():
    tasks = Tasks(lambda name, error: None)
    task = tasks.spawn(asyncio.Event().wait(), "waiting")
    assert "waiting" in repr(tasks)
    await tasks.close()
    assert task.cancelled()
    with pytest.raises(RuntimeError, match="late"):
        tasks.spawn(asyncio.Event().wait(), "late")


async def test_a_task_may_close_its_own_owner():
    tasks = Tasks(lambda name, error: pytest.fail(f"{name}: {error}"))
    await asyncio.wait_for(tasks.spawn(tasks.close(), "closing"), 5)
