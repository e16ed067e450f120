"""Files that several processes share: written whole or not at all, and one writer at a time."""

from __future__ import annotations

import asyncio
import fcntl
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

_LOOK_AGAIN: Final = 0.05  # s; there is no way to wait for a lock that can be cancelled


def write_whole(path: Path, content: bytes) -> None:
    """Replace the file; a reader or a crash finds the old content or the new. The folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
            os.fchmod(descriptor, 0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@asynccontextmanager
async def alone(path: Path, waiting: Callable[[], None]) -> AsyncIterator[int]:
    """Hold the lock file `path` against other tasks and processes; gives its descriptor.

    A subprocess that inherits the descriptor holds the lock too: so what a killed process left running
    cannot disturb the next one. `waiting` is called once when somebody else has the lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not _taken(descriptor):
            waiting()
            while not _taken(descriptor):  # noqa: ASYNC110 - another process has it: nothing can wake us
                await asyncio.sleep(_LOOK_AGAIN)
        yield descriptor
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
