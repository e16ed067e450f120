"""Background tasks that cannot get lost."""

import asyncio

import pytest

from fairlead.kit.tasks import Tasks, attended, require_running


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


async def test_a_cancellation_that_a_library_lost_is_found_again():
    async def lossy() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ConnectionError from None

    async def loop() -> None:
        while True:
            try:
                await lossy()
            except ConnectionError:
                require_running()

    tasks = Tasks(lambda name, error: pytest.fail(f"{name}: {error}"))
    task = tasks.spawn(loop(), "loop")
    await asyncio.sleep(0)
    async with asyncio.timeout(20):
        await tasks.close()
    assert task.cancelled()


async def test_who_was_not_cancelled_goes_on():
    require_running()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await asyncio.Event().wait()
    require_running()


class EnoughError(Exception):
    pass


@pytest.mark.parametrize("finished", [True, False])
async def test_attended_work_ends_when_a_look_says_so_unless_it_is_done_by_then(finished: bool):
    steps: list[str] = []
    may_end = asyncio.Event()

    async def work() -> str:
        try:
            await may_end.wait()
        except asyncio.CancelledError:
            steps.append("cancelled")
            raise
        return "done"

    async def look() -> None:
        steps.append("look")
        if len(steps) < 3:
            return
        if finished:
            may_end.set()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        raise EnoughError

    if finished:
        assert await attended(work(), look, 0.001) == "done"
    else:
        with pytest.raises(EnoughError):
            await attended(work(), look, 0.001)
    assert steps == ["look"] * 3 + ([] if finished else ["cancelled"])


async def test_attended_work_is_cancelled_with_who_waits_for_it():
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def look() -> None:
        pass

    waiting = asyncio.ensure_future(attended(work(), look, 0.001))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended.is_set()
