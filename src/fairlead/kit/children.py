"""Child processes of which nothing is left, whenever we are cancelled."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from typing import Any


async def start_child(argv: Sequence[str], **options: Any) -> asyncio.subprocess.Process:
    """`asyncio.create_subprocess_exec`, in a session of its own. Raises OSError when it cannot be started.

    It is always started to its end: asyncio's own, cancelled while it connects the pipes, forgets one of
    them, and kills the child without its group.
    """
    starting = asyncio.ensure_future(asyncio.create_subprocess_exec(*argv, start_new_session=True, **options))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        with suppress(OSError):
            await end_child(await starting)
        raise


async def end_child(process: asyncio.subprocess.Process) -> None:
    """Kill its process group, and wait until it and its pipes are gone. It may have ended already."""
    with suppress(ProcessLookupError, PermissionError):  # macOS: not permitted once it has ended
        os.killpg(process.pid, signal.SIGKILL)
    if process.stdin is not None:
        process.stdin.close()
    # What it has written is read: a pipe that is too full to be read from would never be seen to end.
    await asyncio.gather(
        *(stream.read() for stream in (process.stdout, process.stderr) if stream is not None)
    )
    await process.wait()
