"""Waking when something happens in some folders."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from fairlead.kit import watching
from fairlead.kit.watching import Watching
from support.until import until

GUARD = 20.0  # s
NEVER = 3600.0  # s
SOON = 0.02  # s


@pytest.fixture
async def shared() -> AsyncIterator[Watching]:
    failures: list[BaseException] = []
    made = Watching(lambda _, error: failures.append(error))
    yield made
    await made.close()
    assert failures == []


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    found = [tmp_path / name for name in "abc"]
    for folder in found:
        folder.mkdir()
    return found


async def woken(wakes: AsyncIterator[None]) -> None:
    async with asyncio.timeout(GUARD):
        await anext(wakes)


async def test_each_hears_of_its_own_folders_through_one_watcher(shared: Watching, folders: list[Path]):
    one = shared.wakes(folders[:2], poll=NEVER)
    two = shared.wakes([folders[1]], poll=NEVER)
    async with aclosing(one), aclosing(two):
        await asyncio.gather(woken(one), woken(two))
        assert shared.statistics() == {"listeners": 2, "folders": 2, "made": 1}
        (folders[0] / "x").touch()
        await woken(one)
        second = asyncio.ensure_future(woken(two))
        (folders[0] / "y").touch()
        await woken(one)
        assert not second.done()
        (folders[1] / "z").touch()
        await asyncio.gather(woken(one), second)
    assert shared.statistics() == {"listeners": 0, "folders": 0, "made": 1}


async def test_what_is_of_no_interest_wakes_nobody(shared: Watching, folders: list[Path]):
    heard: list[str] = []

    def wanted(path: str) -> bool:
        heard.append(path)
        return path.endswith("/x")

    wakes = shared.wakes(folders, poll=NEVER, wanted=wanted)
    async with aclosing(wakes):
        await woken(wakes)
        waiting = asyncio.ensure_future(woken(wakes))
        (folders[0] / "y").touch()
        await until(lambda: heard)
        assert not waiting.done()
        (folders[2] / "x").touch()
        await waiting


async def test_one_who_comes_later_takes_nothing_from_the_others(shared: Watching, folders: list[Path]):
    one = shared.wakes([folders[0]], poll=NEVER)
    async with aclosing(one):
        await woken(one)
        for number in range(3):
            later = shared.wakes([folders[1]], poll=NEVER)
            async with aclosing(later):
                await woken(later)
                (folders[0] / str(number)).touch()
                await woken(one)
                (folders[1] / str(number)).touch()
                await woken(later)
        assert shared.statistics()["made"] == 4


async def test_there_is_a_wake_now_and_then_whatever_is_watched(shared: Watching, tmp_path: Path):
    unwatchable: list[list[Path]] = [[], [tmp_path / "missing"], [tmp_path / ("x" * 300)]]
    for folders in unwatchable:
        wakes = shared.wakes(folders, poll=SOON)
        async with aclosing(wakes):
            for _ in range(3):
                await woken(wakes)


async def test_the_caller_may_wake_itself(shared: Watching, folders: list[Path]):
    heard = asyncio.Event()
    wakes = shared.wakes(folders, poll=NEVER, heard=heard)
    async with aclosing(wakes):
        await woken(wakes)
        heard.set()
        await woken(wakes)


async def test_a_watcher_that_fails_is_made_anew_and_all_look(
    shared: Watching, folders: list[Path], monkeypatch: pytest.MonkeyPatch
):
    awatch = watching.awatch
    limits = [OSError(errno.ENOSPC, "max_user_watches")]

    def limited(*paths: str, **options: Any) -> Any:
        if limits:
            raise limits.pop()
        return awatch(*paths, **options)

    monkeypatch.setattr(watching, "awatch", limited)
    monkeypatch.setattr(watching, "AGAIN", SOON)
    heard = asyncio.Event()
    wakes = shared.wakes(folders, poll=NEVER, heard=heard)
    async with aclosing(wakes):
        await woken(wakes)  # not watched, but it may look
        await until(lambda: shared.statistics()["made"] == 2)
        await woken(wakes)  # something may have been missed
        heard.clear()
        (folders[0] / "x").touch()
        await woken(wakes)
