"""What a server says on stderr, kept in a file of bounded size and never with its secrets in it.

Instances of one server share the file, so each line names its instance:
`2026-11-22T10:00:00.123Z filesystem-1 | Secure MCP Filesystem Server running on stdio`. The file is
rotated at 1 MiB, one old one (`NAME.1`) is kept. The event loop only cuts and masks, a thread writes. A flood
costs next to nothing: what exceeds the allowance of a second, or what a slow disk cannot take, is counted
and dropped, and the child is never held up.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Executor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

MAX_FILE: Final = 2**20  # bytes
ALLOWANCE: Final = 256 * 2**10  # bytes a second, and bytes that wait for the disk
MAX_LINE: Final = 8 * 2**10  # bytes; the rest of a longer line is dropped
TAIL_LINES: Final = 20
_TAIL_LINE: Final = 1000  # bytes of a line that are kept in memory
_GLANCE: Final = 4096  # bytes of a dropped chunk that are still looked at, for the tail
SHORTEST_SECRET: Final = 8  # characters; shorter values are words, not secrets
_LONGEST_SECRET: Final = 64 * 2**10  # bytes
_MASK: Final = b"***"


class ServerLog:
    """The log of one instance. `write`s happen in `files`, one after the other."""

    def __init__(self, path: Path, label: str, secrets: Iterable[str], files: Executor) -> None:
        self._path = path
        self._label = b" " + label.encode() + b" | "
        self._secrets = _parts(secrets)
        self._files = files
        self._loop = asyncio.get_running_loop()
        self._partial = b""
        self._skipping = False  # until the end of a line that was too long
        self._tail: deque[bytes] = deque(maxlen=TAIL_LINES)
        self._waiting = bytearray()
        self._writing: asyncio.Future[None] | None = None
        self._second = 0.0
        self._taken = 0
        self._dropped = 0

    def tail(self) -> str:
        """The last lines, secrets masked."""
        return b"\n".join(self._tail).decode(errors="replace")

    def feed(self, data: bytes) -> None:
        """Take what came from stderr."""
        now = self._loop.time()
        if now >= self._second + 1.0:
            self._second, self._taken = now, 0
        self._taken += len(data)
        if self._taken > ALLOWANCE or len(self._waiting) > ALLOWANCE:
            self._drop(data)
        else:
            self._take(data)

    def note(self, text: str) -> None:
        """Add a line of our own; a line of the server's that has no end yet ends here."""
        self._take(b"\n")
        self._keep([b"--- " + _masked(text.encode(), self._secrets)])

    async def written(self) -> None:
        """Wait until everything is in the file."""
        while self._writing is not None:
            await asyncio.wait([self._writing])

    def _lines(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes, masked and cut."""
        if self._skipping:
            _, newline, data = data.partition(b"\n")
            self._skipping = not newline
        block, newline, rest = data.rpartition(b"\n")
        if newline:
            block, self._partial = self._partial + block, rest
        else:
            block, self._partial = b"", self._partial + rest
        if len(self._partial) > MAX_LINE + _LONGEST_SECRET:  # no secret can reach over the cut
            block, self._partial, self._skipping = block + newline + self._partial, b"", True
        lines = _masked(block, self._secrets).split(b"\n")
        return [line[:MAX_LINE] for each in lines if (line := each.rstrip())]

    def _take(self, data: bytes) -> None:
        lines = self._lines(data)
        self._remember(lines)
        self._keep(lines)

    def _remember(self, lines: list[bytes]) -> None:
        self._tail.extend(line[:_TAIL_LINE] for line in lines[-TAIL_LINES:])

    def _keep(self, lines: list[bytes]) -> None:
        if self._dropped and lines:
            lines = [b"--- %d bytes dropped: more than is kept" % self._dropped, *lines]
            self._dropped = 0
        if lines:
            start = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3].encode() + b"Z" + self._label
            self._waiting += start + (b"\n" + start).join(lines) + b"\n"
            self._write()

    def _drop(self, data: bytes) -> None:
        self._dropped += len(data)
        if len(data) > _GLANCE:
            data = data[-_GLANCE:]
            self._partial, self._skipping = b"", True  # it starts inside a line
        self._remember(self._lines(data))

    def _write(self) -> None:
        if self._writing is None and self._waiting:
            data, self._waiting = bytes(self._waiting), bytearray()
            self._writing = self._loop.run_in_executor(self._files, _append, self._path, data)
            self._writing.add_done_callback(self._written)

    def _written(self, done: asyncio.Future[None]) -> None:
        self._writing = None
        done.result()
        self._write()


def _append(path: Path, data: bytes) -> None:
    """A disk that is full or a folder that is gone must not touch the server: its log is lost, no more."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "ab") as file:
            if (size := file.tell()) and size + len(data) > MAX_FILE:
                path.replace(path.with_name(path.name + ".1"))
                _append(path, data)
            else:
                file.write(data)


def _parts(secrets: Iterable[str]) -> tuple[bytes, ...]:
    """What is to be masked: each long enough line of each value, the longest first."""
    lines = {line.strip() for secret in secrets for line in secret.splitlines()}
    parts = {line.encode()[:_LONGEST_SECRET] for line in lines if len(line) >= SHORTEST_SECRET}
    return tuple(sorted(parts, key=len, reverse=True))


def _masked(text: bytes, secrets: tuple[bytes, ...]) -> bytes:
    for secret in secrets:
        text = text.replace(secret, _MASK)
    return text
