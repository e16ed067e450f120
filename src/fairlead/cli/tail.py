"""The end of a log file, and what is added to it, across rotation.

A rotated file is renamed to `NAME.1` (or cut back to nothing) and a new one takes its place. The follower
keeps the old file open, reads it to its end, and only then goes over to the new one.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

_LONGEST = 2**20  # bytes: a line that is longer is shown in pieces


def rotated_lines(path: Path) -> list[str]:
    """The lines of the rotated sibling `path.1`, which come before those of `path`."""
    try:
        content = path.with_name(path.name + ".1").read_bytes()
    except FileNotFoundError:
        return []
    return [_text(line) for line in content.splitlines()]


class Follower:
    """Reads a file from its byte `position` on. The file need not be there yet."""

    def __init__(self, path: Path, *, position: int = 0) -> None:
        self._path = path
        self._rest = b""
        self._file = self._open()
        if self._file is not None:
            self._file.seek(position)

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def new_lines(self) -> list[str]:
        """Whole lines that came since the last call, without their ends. Never waits."""
        content = self._added()
        while self._moved_on():
            self.close()
            self._file = self._open()
            content += self._added()
        *whole, self._rest = (self._rest + content).split(b"\n")
        if len(self._rest) > _LONGEST:
            whole, self._rest = [*whole, self._rest], b""
        return [_text(line) for line in whole]

    def unfinished(self) -> list[str]:
        """The line that has no end yet, if there is one."""
        return [_text(self._rest)] if self._rest else []

    def _open(self) -> BinaryIO | None:
        try:
            return self._path.open("rb")
        except FileNotFoundError:
            return None

    def _added(self) -> bytes:
        if self._file is None:
            return b""
        if os.fstat(self._file.fileno()).st_size < self._file.tell():  # cut back
            self._file.seek(0)
        return self._file.read()

    def _moved_on(self) -> bool:
        """Whether another file stands at the path now."""
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return False
        return self._file is None or not os.path.samestat(there, os.fstat(self._file.fileno()))


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").rstrip("\r")
