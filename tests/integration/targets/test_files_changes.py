"""Hearing of changes of files on a real disk."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from fairlead.ports.gitops import Write
from fairlead.targets.files import FilesTarget

GUARD = 30.0  # s
NEVER = 3600.0  # s: no change is found by a look
SOON = 0.05  # s


class Heard:
    """What came out of `changes`, as it came."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._news = asyncio.Event()

    def add(self, name: str) -> None:
        self.names.append(name)
        self._news.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(GUARD):
            while not condition():
                await self._news.wait()
                self._news.clear()

    async def name(self, name: str) -> None:
        await self.until(lambda: name in self.names)
        self.names.clear()


@asynccontextmanager
async def listening(target: FilesTarget) -> AsyncIterator[Heard]:
    heard = Heard()

    async def listen() -> None:
        async with aclosing(target.changes()) as changes:
            async for name in changes:
                heard.add(name)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(listen())
        try:
            await heard.name("")
            yield heard
        finally:
            task.cancel()
            await target.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    (folder / "sub").mkdir(parents=True)
    (folder / "x.md").write_text("one")
    (folder / "sub/y.md").write_text("one")
    return folder


async def test_an_edit_is_told_at_once_however_it_is_made(root: Path):
    target = FilesTarget(root, str, interval=NEVER)
    await target.read(["x.md", "sub/y.md", "sub/new.md"])
    async with listening(target) as heard:
        (root / "x.md").write_text("two")
        await heard.name("x.md")
        (root / "sub/temp").write_text("three")
        (root / "sub/temp").rename(root / "sub/y.md")
        await heard.name("sub/y.md")
        (root / "sub/new.md").write_text("new")
        await heard.name("sub/new.md")
        (root / "x.md").unlink()
        await heard.name("x.md")
        (root / "sub/y.md").chmod(0o755)
        await heard.name("sub/y.md")
        live = (await target.read(["x.md", "sub/y.md", "sub/new.md"]))["sub/y.md"]
        await target.write(Write("sub/y.md", live.tag, b"ours", None))
        await heard.name("sub/y.md")


async def test_folders_that_come_and_go_are_followed(root: Path):
    target = FilesTarget(root, str, interval=NEVER)
    await target.read(["a/b/c/z.md"])
    async with listening(target) as heard:
        for _ in range(2):
            (root / "a/b/c").mkdir(parents=True)
            (root / "a/b/c/z.md").write_text("one")
            await heard.name("a/b/c/z.md")
            (root / "a/b/c/z.md").write_text("other")
            await heard.name("a/b/c/z.md")
            (root / "a").rename(root / "gone")
            await heard.name("a/b/c/z.md")
            (root / "gone").rename(root / "a")
            await heard.name("a/b/c/z.md")
            (root / "a/b/c/z.md").unlink()
            (root / "a/b/c").rmdir()
            (root / "a/b").rmdir()
            (root / "a").rmdir()
            await heard.name("a/b/c/z.md")


async def test_a_folder_in_the_place_of_another_is_watched_as_that_was(root: Path):
    target = FilesTarget(root, str, interval=NEVER)
    await target.read(["sub/y.md"])
    (root / "other").mkdir()
    (root / "other/y.md").write_text("other")
    async with listening(target) as heard:
        (root / "sub").rename(root / "gone")
        (root / "other").rename(root / "sub")
        await heard.name("sub/y.md")
        (root / "sub/y.md").write_text("edited")
        await heard.name("sub/y.md")


async def test_what_is_read_for_the_first_time_is_watched_from_then_on(root: Path):
    target = FilesTarget(root, str, interval=NEVER)
    async with listening(target) as heard:
        await target.read(["x.md"])
        (root / "x.md").write_text("two")
        await heard.name("x.md")
        await target.read(["x.md", "sub/y.md"])
        (root / "sub/y.md").write_text("two")
        await heard.name("sub/y.md")


async def test_a_change_between_reading_and_listening_is_told(root: Path):
    target = FilesTarget(root, str, interval=NEVER)
    await target.read(["x.md"])
    (root / "x.md").write_text("other")
    async with listening(target) as heard:
        await heard.until(lambda: "x.md" in heard.names)


async def test_what_no_notification_told_of_is_found_by_a_look(root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WATCHFILES_FORCE_POLLING", "1")  # of the file system, now and then
    monkeypatch.setenv("WATCHFILES_POLL_DELAY_MS", str(int(NEVER * 1000)))
    target = FilesTarget(root, str, interval=SOON)
    await target.read(["x.md"])
    async with listening(target) as heard:
        (root / "x.md").write_text("two")
        await heard.name("x.md")


async def test_a_root_that_goes_and_comes_back_is_followed(root: Path):
    target = FilesTarget(root, str, interval=SOON)
    await target.read(["x.md"])
    async with listening(target) as heard:
        moved = root.rename(root.parent / "moved")  # noqa: ASYNC240 - a moment
        await heard.name("x.md")
        moved.rename(root)
        await heard.name("x.md")
        (root / "x.md").write_text("two")
        await heard.name("x.md")


async def test_others_changes_and_unchanged_files_wake_nobody(root: Path):
    target = FilesTarget(root, str, interval=SOON)
    await target.read(["x.md", "sub/y.md"])
    async with listening(target) as heard:
        (root / "unrelated").write_text("one")
        (root / "sub/deep").mkdir()
        (root / "sub/deep/y.md").write_text("one")
        (root / "x.md").write_text("two")
        await heard.until(lambda: bool(heard.names))
        assert set(heard.names) == {"x.md"}


async def test_many_changes_at_once_are_told_as_one(root: Path):
    target = FilesTarget(root, str, interval=NEVER)
    names = [f"{number}.md" for number in range(200)]
    await target.read(names)
    async with listening(target) as heard:
        for name in names:
            (root / name).write_text("one")
        await heard.name("")


async def test_listening_costs_next_to_nothing_when_nothing_happens(root: Path):
    target = FilesTarget(root, str, interval=SOON)
    await target.read(["x.md", "sub/y.md", "../up", "missing/z.md"])
    async with listening(target) as heard:
        before = os.times()
        await asyncio.sleep(1.0)
        after = os.times()
        assert heard.names == []
        assert after.user + after.system - before.user - before.system < 0.5
