"""Children that are cancelled at any moment leave neither a process nor a pipe."""

from __future__ import annotations

import asyncio
import gc
import warnings
from pathlib import Path

import psutil
import pytest

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


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="it looks into /proc")
async def test_cancelled_at_any_moment_nothing_is_left() -> None:
    before, pipes = children(), descriptors()
    cut, begun = 0, 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for steps in range(30):
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
            del starting
        gc.collect()
    assert cut > 3
    assert begun > 0
    await until(lambda: children() <= before)
    assert descriptors() == pipes


async def test_its_whole_group_ends() -> None:
    process = await start_child(("/bin/sh", "-c", TWO), stdin=PIPE, stdout=PIPE)
    assert process.stdout is not None
    inner = int(await process.stdout.readline())
    await end_child(process)
    assert process.returncode == -9
    await until(lambda: not is_running(inner))


async def test_one_that_nobody_reads_from_ends() -> None:
    process = await start_child(("/bin/sh", "-c", FLOOD), stdout=PIPE)
    await asyncio.sleep(0.3)  # by now we have stopped reading
    async with asyncio.timeout(30):
        await end_child(process)
    await end_child(process)  # and once more


async def test_what_cannot_be_started() -> None:
    with pytest.raises(FileNotFoundError):
        await start_child(("/nowhere/at/all",), stdin=PIPE)
