"""Waking when something happens in some folders. What has happened is for the caller to find out.

Notifications may be lost (a queue that overflows, a folder that was replaced, a system without them), so
there is a wake now and then, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path

from watchfiles import Change, awatch

Wanted = Callable[[Change, str], bool]
STEP = 10  # ms without a further notification, before those that came are told
LONGEST = 50  # ms that notifications are gathered at most


async def wakes(
    folders: Callable[[], set[Path]],
    *,
    poll: float,
    wanted: Wanted | None = None,
    stop: asyncio.Event | None = None,
) -> AsyncGenerator[None]:
    """Once the folders are watched, without what is below them; then on every sign, and every `poll` seconds.

    Ends when `stop` is set, or where they cannot be watched, after `poll` seconds. `folders` runs in a
    thread and may raise OSError; `wanted` chooses among the notifications.
    """
    stop = stop or asyncio.Event()
    try:
        watched = await asyncio.to_thread(folders)
        notes = awatch(
            *watched,
            watch_filter=wanted,
            recursive=False,
            step=STEP,
            debounce=LONGEST,
            rust_timeout=int(poll * 1000),
            yield_on_timeout=True,
            stop_event=stop,
        )
        async with aclosing(notes):
            first = asyncio.ensure_future(anext(notes, None))
            try:
                await asyncio.sleep(0)  # they are watched from the first step of `notes` on
                yield
                await first
                yield
            finally:
                first.cancel()
                await asyncio.gather(first, return_exceptions=True)
            async for _ in notes:
                yield
    except (OSError, RuntimeError):  # no such folder, or no more notifications to be had
        yield
        await _pause(stop, poll)


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
