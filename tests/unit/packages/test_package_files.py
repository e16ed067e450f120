import asyncio
import sys

import pytest

from fairlead.packages.files import alone, write_whole
from support.until import until


def test_a_file_is_written_with_its_folder_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "a/b/file"
    write_whole(path, b"one")
    write_whole(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_keeps_the_old_content(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_whole(path, b"old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


async def test_only_one_holds_the_lock_and_the_others_are_told(tmp_path):
    told, order = [], []
    release = asyncio.Event()

    async def hold(name):
        async with alone(tmp_path / "locks/x", lambda: told.append(name)):
            order.append(f"{name} in")
            await release.wait()
            order.append(f"{name} out")

    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        group.create_task(hold("a"))
        group.create_task(hold("b"))
        await until(lambda: told)
        release.set()
    assert told == ["b"]
    assert order == ["a in", "a out", "b in", "b out"]


async def test_waiting_can_be_cancelled(tmp_path):
    async with alone(tmp_path / "x", lambda: None):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01), alone(tmp_path / "x", lambda: None):
                pass


async def test_a_process_that_inherits_the_lock_holds_it(tmp_path):
    told = asyncio.Event()
    async with alone(tmp_path / "x", lambda: None) as lock:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "input()", stdin=asyncio.subprocess.PIPE, pass_fds=(lock,)
        )

    async def take():
        async with alone(tmp_path / "x", told.set):
            pass

    async with asyncio.timeout(20):
        taking = asyncio.ensure_future(take())
        await told.wait()
        assert not taking.done()
        await child.communicate(b"\n")
        await taking  # the lock may be free a moment before the child's end is known
        assert child.returncode == 0
