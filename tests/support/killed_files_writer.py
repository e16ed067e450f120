"""Writes files, and is killed at one of the steps: `python killed_files_writer.py ROOT STEP N`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from fairlead.ports.gitops import Write
from fairlead.targets.files import FilesTarget

NAME = "sub/.mcp.json"
GONE = "sub/gone.md"
NEW = "made/x.md"


async def main(root: Path, step: str, nth: int) -> None:
    reached = 0

    def at(here: str) -> None:
        nonlocal reached
        if here == step:
            reached += 1
            if reached == nth:
                os.kill(os.getpid(), signal.SIGKILL)

    target = FilesTarget(root, lambda name: f"value of {name}", at=at)
    lives = await target.read([NAME, GONE, NEW])
    if NAME in lives:
        content = lives[NAME].content.replace(b'"old"', b'"new"')
        await target.write(Write(NAME, lives[NAME].tag, content, None))
    await target.write(Write(NEW, lives[NEW].tag if NEW in lives else None, b"made\n" * 10_000, None))
    if GONE in lives:
        await target.write(Write(GONE, lives[GONE].tag, None, None))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
