"""Real files and real notifications; only where those must fail is something put in their place."""

# ruff: noqa: ASYNC240 - a test may block

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import os
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from fairlead.formats.yaml_tree import MAX_BYTES
from fairlead.stores import fleet_watch
from fairlead.stores.fleet_watch import watch

NEVER = 3600.0  # s between polls: what comes, comes from a notification


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "config").mkdir()
    path = tmp_path / "config" / "fleet.yml"
    path.write_bytes(b"old")
    return path


class Watching:
    """A watch whose watcher is there by the time that a test changes something."""

    def __init__(self, path: Path, **options: Any) -> None:
        self._changes = watch(path, **options)

    async def __aenter__(self) -> Watching:
        await _until_watched(False)  # the last watcher is closed by a thread of its own
        self._next = asyncio.ensure_future(anext(self._changes))
        await _until_watched(True)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._next.cancel()
        await asyncio.wait([self._next])
        async with aclosing(self._changes):  # type: ignore[type-var]
            pass

    async def change(self) -> bytes:
        async with asyncio.timeout(20):
            content = await self._next
        await self.__aenter__()
        return content


async def _until_watched(expected: bool) -> None:
    async with asyncio.timeout(20):
        while _watched() is not expected:
            await asyncio.sleep(0.005)


def _watched() -> bool:
    """Whether this process has a folder under inotify."""
    for info in Path("/proc/self/fdinfo").iterdir():
        try:
            if "inotify wd" in info.read_text():
                return True
        except OSError:
            continue
    return False


linux = pytest.mark.skipif(not Path("/proc/self/fdinfo").exists(), reason="looks for inotify in /proc")


@linux
class TestNotifications:
    async def test_a_file_that_is_written_in_place(self, file: Path) -> None:
        async with Watching(file, poll=NEVER) as watching:
            file.write_bytes(b"new")
            assert await watching.change() == b"new"
            file.write_bytes(b"newer")
            assert await watching.change() == b"newer"

    async def test_a_file_that_is_replaced_by_renaming(self, file: Path) -> None:
        async with Watching(file, poll=NEVER) as watching:
            for content in (b"one", b"two", b"three"):
                fresh = file.with_suffix(".swp")
                fresh.write_bytes(content)
                fresh.replace(file)
                assert await watching.change() == content

    async def test_a_file_that_is_away_for_a_while(self, file: Path) -> None:
        async with Watching(file, poll=NEVER) as watching:
            file.rename(file.with_suffix(".bak"))
            file.write_bytes(b"new")
            assert await watching.change() == b"new"

    async def test_a_folder_that_kubernetes_mounts(self, tmp_path: Path) -> None:
        for generation, content in enumerate((b"old", b"new")):
            (tmp_path / f"..{generation}").mkdir()
            (tmp_path / f"..{generation}" / "fleet.yml").write_bytes(content)
        (tmp_path / "..data").symlink_to("..0")
        (tmp_path / "fleet.yml").symlink_to("..data/fleet.yml")
        async with Watching(tmp_path / "fleet.yml", poll=NEVER) as watching:
            (tmp_path / "..data_tmp").symlink_to("..1")
            (tmp_path / "..data_tmp").rename(tmp_path / "..data")
            assert await watching.change() == b"new"

    async def test_a_link_to_a_file_elsewhere(self, file: Path, tmp_path: Path) -> None:
        link = tmp_path / "link.yml"
        link.symlink_to(file)
        async with Watching(link, poll=NEVER) as watching:
            file.write_bytes(b"new")
            assert await watching.change() == b"new"
            other = tmp_path / "other"
            other.mkdir()
            (other / "fleet.yml").write_bytes(b"newer")
            (tmp_path / "tmp").symlink_to(other / "fleet.yml")
            (tmp_path / "tmp").rename(link)
            assert await watching.change() == b"newer"
            (other / "fleet.yml").write_bytes(b"newest")
            assert await watching.change() == b"newest"

    async def test_what_does_not_change_the_content_does_not_come_out(self, file: Path) -> None:
        async with Watching(file, poll=NEVER) as watching:
            file.touch()
            file.with_name("neighbour").write_bytes(b"x")
            file.write_bytes(b"old")
            file.write_bytes(b"new")
            assert await watching.change() == b"new"

    async def test_nothing_is_left_when_it_ends(self, file: Path) -> None:
        for _ in range(10):
            async with Watching(file, poll=NEVER):
                assert _watched()
        await _until_watched(False)


async def next_change(changes: AsyncIterator[bytes]) -> bytes:
    async with asyncio.timeout(20):
        return await anext(changes)


async def test_what_changed_before_the_watch_comes_out_at_once(file: Path) -> None:
    async with aclosing(watch(file, seen=b"what was loaded", poll=NEVER)) as changes:
        assert await next_change(changes) == b"old"


class Reads:
    """Counts how often the watch looks at the file."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._count = 0
        self._read = fleet_watch._read
        monkeypatch.setattr(fleet_watch, "_read", self._counted)

    def _counted(self, path: Path) -> bytes | None:
        self._count += 1
        return self._read(path)

    async def more(self) -> None:
        """Two more looks: the watch has been round once since now."""
        wanted = self._count + 2
        async with asyncio.timeout(20):
            while self._count < wanted:
                await asyncio.sleep(0.002)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    return Reads(monkeypatch)


@contextlib.asynccontextmanager
async def polling(path: Path, reads: Reads) -> AsyncIterator[asyncio.Task[bytes]]:
    """The next change of a watch that goes round by now."""
    async with aclosing(watch(path, seen=b"old", poll=0.01)) as changes:
        waiting = asyncio.ensure_future(next_change(changes))
        await reads.more()
        yield waiting
        await waiting


async def test_a_file_that_is_not_there_yet_is_waited_for(tmp_path: Path, reads: Reads) -> None:
    file = tmp_path / "not" / "yet" / "fleet.yml"
    async with polling(file, reads) as change:
        file.parent.mkdir(parents=True)
        await reads.more()
        file.write_bytes(b"new")
        assert await change == b"new"


async def test_a_folder_that_is_itself_replaced(file: Path, reads: Reads) -> None:
    """The watcher still looks at the old one: only the poll can see it."""
    async with polling(file, reads) as change:
        file.parent.rename(file.parent.with_name("old"))
        await reads.more()
        file.parent.mkdir()
        file.write_bytes(b"new")
        assert await change == b"new"


async def test_a_loop_of_links_is_waited_out(tmp_path: Path, reads: Reads) -> None:
    file = tmp_path / "fleet.yml"
    file.symlink_to("fleet.yml")
    async with polling(file, reads) as change:
        fresh = tmp_path / "fresh"
        fresh.write_bytes(b"new")
        fresh.replace(file)
        assert await change == b"new"


@pytest.mark.parametrize(
    "failure", [OSError(errno.ENOSPC, "inotify watch limit reached"), RuntimeError("inside notify")]
)
async def test_without_notifications_the_poll_does_it(
    file: Path, reads: Reads, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    async def broken(*_: object, **__: object) -> AsyncIterator[set[Any]]:
        raise failure
        yield set()

    monkeypatch.setattr(fleet_watch, "awatch", broken)
    async with polling(file, reads) as change:
        file.write_bytes(b"new")
        assert await change == b"new"


async def test_a_lost_notification_is_made_up_for(
    file: Path, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def deaf(*_: object, rust_timeout: int, **__: object) -> AsyncIterator[set[Any]]:
        while True:
            await asyncio.sleep(rust_timeout / 1000)
            yield set()

    monkeypatch.setattr(fleet_watch, "awatch", deaf)
    async with polling(file, reads) as change:
        file.write_bytes(b"new")
        assert await change == b"new"


def scripted(monkeypatch: pytest.MonkeyPatch, *contents: bytes) -> None:
    """What the file holds each time that it is looked at; the last for ever."""
    reads = itertools.chain(contents, itertools.repeat(contents[-1]))
    monkeypatch.setattr(fleet_watch, "_read", lambda _: next(reads))


async def test_a_file_that_is_still_being_written_is_waited_for(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, b"old", b"", b"ne", b"new", b"new")
    async with aclosing(watch(file, poll=NEVER)) as changes:
        assert await next_change(changes) == b"new"


async def test_a_change_that_is_taken_back_at_once_does_not_come_out(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, b"old", b"new", b"old", b"old", b"newer")
    async with aclosing(watch(file, poll=0.01)) as changes:
        assert await next_change(changes) == b"newer"


@pytest.mark.looptime
async def test_a_file_that_never_holds_still_is_taken_in_the_end(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = itertools.count()
    monkeypatch.setattr(fleet_watch, "_read", lambda _: b"%d" % next(counter))
    async with aclosing(watch(file, seen=b"old", poll=NEVER)) as changes:
        assert int(await anext(changes)) >= 100


async def test_reading_is_bounded(file: Path) -> None:
    os.truncate(file, 2 * MAX_BYTES)
    async with aclosing(watch(file, seen=b"old", poll=NEVER)) as changes:
        assert len(await next_change(changes)) == MAX_BYTES + 1
