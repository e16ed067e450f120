"""Watching the fleet file: whatever an editor, Git or Kubernetes does to it, its new content comes out once.

The folders of the file and of what it links to are watched, since editors and Kubernetes replace files and
links by renaming. Notifications only wake: the content is then read until it holds still and is compared
with the last. A slow poll does the same, and so covers lost notifications, a folder that was itself
replaced, and systems without notifications; each change that comes out gets a new watcher, on the folders as
they are then.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path

from watchfiles import awatch

from fairlead.formats.yaml_tree import MAX_BYTES

_STILL = 0.05  # s between two reads that must agree
_TRIES = 100  # a file that never holds still is taken as it is


async def watch(path: Path, *, seen: bytes | None = None, poll: float = 2.0) -> AsyncIterator[bytes]:
    """Yield the file's content each time it has changed and settled.

    `seen` is the content that the caller has already; without it, changes count from now. `poll` is in
    seconds. A file that is away or cannot be read is waited for; of one that is too large, one byte too many
    is read.
    """
    if seen is None:
        seen = await asyncio.to_thread(_read, path)
    while True:
        seen = await _changed(path, seen, poll)
        yield seen


async def _changed(path: Path, seen: bytes | None, poll: float) -> bytes:
    while True:
        async with aclosing(_wakes(path, poll)) as wakes:
            async for _ in wakes:
                content = await _settled(path, seen)
                if content is not None and content != seen:
                    return content


async def _wakes(path: Path, poll: float) -> AsyncGenerator[None]:
    """Once at the start (much may have happened since the last watcher), on every sign, and every `poll`."""
    yield
    try:
        notes = awatch(
            *await asyncio.to_thread(_folders, path),
            watch_filter=None,
            recursive=False,
            step=20,
            debounce=200,
            rust_timeout=int(poll * 1000),
            yield_on_timeout=True,
        )
        async with aclosing(notes):
            async for _ in notes:
                yield
    except (OSError, RuntimeError):  # no such folder, no more notifications to be had, a loop of links
        await asyncio.sleep(poll)


def _folders(path: Path) -> set[Path]:
    return {path.absolute().parent, path.resolve().parent}


async def _settled(path: Path, seen: bytes | None) -> bytes | None:
    """The content when two reads agree, or at once when it is what was seen."""
    content = await asyncio.to_thread(_read, path)
    for _ in range(_TRIES):
        if content is None or content == seen:
            break
        await asyncio.sleep(_STILL)
        last, content = content, await asyncio.to_thread(_read, path)
        if content == last:
            break
    return content


def _read(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError:
        return None
