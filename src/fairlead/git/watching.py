"""Watching a repository of this machine: each change of a branch wakes, at once.

Git replaces ref files by renaming, so folders are watched. Notifications only wake; what counts is whether
the files' marks are other ones. A look every two seconds covers what a notification missed: a lost one, a
folder that was made or replaced meanwhile, a system without them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Hashable
from contextlib import aclosing
from pathlib import Path

from watchfiles import awatch


async def changes(
    mark: Callable[[], Hashable], folders: Callable[[], set[Path]], *, poll: float = 2.0
) -> AsyncIterator[None]:
    """Once at the start, when nothing is missed any more, and for each change of `mark()`.

    Both functions run in a thread; they may raise OSError.
    """
    seen = await asyncio.to_thread(_quietly, mark)
    yield
    while True:
        async with aclosing(_wakes(folders, poll)) as wakes:
            async for _ in wakes:
                now = await asyncio.to_thread(_quietly, mark)
                if now != seen:
                    seen = now
                    break
        yield


def _quietly(mark: Callable[[], Hashable]) -> Hashable:
    try:
        return mark()
    except OSError as error:
        return error.errno


async def _wakes(folders: Callable[[], set[Path]], poll: float) -> AsyncGenerator[None]:
    """At the start, on every sign, and every `poll` seconds."""
    yield
    try:
        watched = await asyncio.to_thread(folders)
        notes = awatch(
            *watched,
            watch_filter=None,
            recursive=False,
            step=10,
            debounce=50,
            rust_timeout=int(poll * 1000),
            yield_on_timeout=True,
        )
        async with aclosing(notes):
            async for _ in notes:
                yield
    except (OSError, RuntimeError):  # no such folder, or no more notifications to be had
        await asyncio.sleep(poll)
