"""Watching the fleet file: whatever an editor, Git or Kubernetes does to it, its new content comes out once.

The folders of the file and of what it links to are watched, since editors and Kubernetes replace files and links
by renaming. Notifications only wake: the content is then read until it holds still and is compared with the last.
A slow poll does the same, and so covers lost notifications, a folder that was itself replaced, and systems
without notifications; each change that comes out gets a new watcher, on the folders as they are then.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

from watchfiles import awatch

from fairlead.stores.yaml_tree import MAX_BYTES

_STILL = 0.05  # s between two reads that must agree
_TRIES = 100


async def watch(path: Path, *, seen: bytes | None = None, poll: float = 2.0) -> AsyncIterator[bytes]:
    """Yield the file's content each time it has changed and settled.

    `seen` is the content that the caller has already; without it, changes count from now. `poll` is in seconds.
    A file that is away, or cannot be read, is waited for. At most one byte more than the largest fleet file is read.
    """
    if seen is None:
        seen = await asyncio.to_thread(_read, path)
    while True:
        async with aclosing(_wakes(path, poll)) as wakes:
            async for _ in wakes:
                content = await _settled(path)
                if content is not None and content != seen:
                    break
        if content is not None:
            seen = content
            yield content


async def _wakes(path: Path, poll: float) -> AsyncIterator[None]:
    """Once at the start (something may have happened before the watcher was there), then on every sign."""
    folders = {path.absolute().parent, path.resolve().parent}
    try:
        notes = awatch(
            *folders,
            watch_filter=None,
            recursive=False,
            step=20,
            debounce=200,
            rust_timeout=int(poll * 1000),
            yield_on_timeout=True,
        )
        yield
        async for _ in notes:
            yield
    except OSError:
        await asyncio.sleep(poll)
