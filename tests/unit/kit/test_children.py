"""Children that are cancelled at any moment leave neither a process nor a pipe."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import psutil
import pytest
import uvloop

from fairlead.kit.children import end_child, start_child
from support.until import until

PIPE = asyncio.subprocess.PIPE
TWO = "sleep 1000 & echo $!; wait"  # a process with a process of its own
FLOOD = "while :; do echo 0123456789012345678901234567890123456789; done"


def is_running(pid: int) -> bool:
    """Whoever inherits an orphan reaps it, sooner or later."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True) if is_running(child.pid)}


Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a story on the loop of tests, and on that of services."""

    def it(story: Coroutine[Any, Any, None]) -> None:
        factory = uvloop.new_event_loop if request.param == "uvloop" else None
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(story)

    return it


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="it looks into /proc")
def test_cancelled_at_any_moment_nothing_is_left(run: Run) -> None:
    cut = begun = 0

    async def story(steps: int) -> None:
        nonlocal cut, begun
        starting = asyncio.ensure_future(
            start_child(("/bin/sh", "-c", TWO), stdin=PIPE, stdout=PIPE, stderr=PIPE)
        )
        for _ in range(steps):
            await asyncio.sleep(0)
        if starting.cancel():
            with pytest.raises(asyncio.CancelledError):
                await starting
            cut += 1
        else:
            await end_child(starting.result())
            begun += 1
        await until(lambda: children() <= before)

    before = children()
    run(story(10_000))  # a loop's first child opens what all later ones use
    pipes = descriptors()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for steps in (*range(12), 100, 1000, 10_000):
            run(story(steps))
        gc.collect()
    assert cut > 3
    assert begun > 0
    assert descriptors() <= pipes


def test_its_whole_group_ends(run: Run) -> None:
    async def story() -> None:
        process = await start_child(("/bin/sh", "-c", TWO), stdin=PIPE, stdout=PIPE)
        assert process.stdout is not None
        inner = int(await process.stdout.readline())
        await end_child(process)
        assert process.returncode == -9
        await until(lambda: not is_running(inner))

    run(story())


def test_one_that_nobody_reads_from_ends(run: Run) -> None:
    async def story() -> None:
        process = await start_child(("/bin/sh", "-c", FLOOD), stdout=PIPE)
        await asyncio.sleep(0.3)  # by now we have stopped reading
        async with asyncio.timeout(30):
            await end_child(process)
        await end_child(process)  # and once more

    run(story())


def test_one_that_has_ended_already(run: Run) -> None:
    async def story() -> None:
        process = await start_child(("/bin/sh", "-c", "exit 3"), stdin=PIPE, stdout=PIPE)
        await process.wait()
        await end_child(process)
        assert process.returncode == 3

    run(story())


async def test_what_cannot_be_started() -> None:
    with pytest.raises(FileNotFoundError):
        await start_child(("/nowhere/at/all",), stdin=PIPE)
