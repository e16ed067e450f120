"""Our ends of a child's pipes, on the bare event loop: the same under asyncio and uvloop.

No transports: `loop.add_reader` and `os.read` save a turn of the loop for each chunk (both loops hand a
subprocess's data on through `call_soon`), and leave no doubt about what is buffered where. Frames to the
child are gathered for one turn and leave in one `write`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Final

CHUNK: Final = 64 * 2**10  # bytes to a read
HIGH_WATER: Final = 256 * 2**10  # bytes queued: send no more
LOW_WATER: Final = 64 * 2**10  # bytes queued: go on


class PipeReader:
    """Reads a pipe, which it owns, and gives away what comes. `ended` is called at its end, not by `close`.

    Starts paused.
    """

    def __init__(self, descriptor: int, received: Callable[[bytes], None], ended: Callable[[], None]) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._received = received
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._open = True
        self._reading = False

    def resume(self) -> None:
        if self._open and not self._reading:
            self._reading = True
            self._loop.add_reader(self._descriptor, self._readable)

    def pause(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._descriptor)

    def drain(self, limit: int) -> None:
        """Give away what is in the pipe now, about `limit` bytes at most. `ended` is not called."""
        while self._open and limit > 0 and (data := self._read()):
            limit -= len(data)
            self._received(data)

    def close(self) -> None:
        if self._open:
            self.pause()
            self._open = False
            os.close(self._descriptor)

    def _readable(self) -> None:
        data = self._read()
        if data:
            self._received(data)
        elif data is not None:
            self.close()
            self._ended()

    def _read(self) -> bytes | None:
        """What there is; empty at the end, None when there is nothing yet."""
        try:
            return os.read(self._descriptor, CHUNK)
        except BlockingIOError:
            return None
        except OSError:  # the other side is gone in a way that only some systems know
            return b""


class FrameWriter:
    """Writes frames to a pipe, which it owns, in order and a turn's frames at once.

    `writable_changed` tells backpressure; `broken` is called once when the other side has closed.
    """

    __slots__ = (
        "_blocked",
        "_broken",
        "_descriptor",
        "_loop",
        "_open",
        "_outbox",
        "_queued",
        "_scheduled",
        "_unsent",
        "_writable",
        "_writable_changed",
    )

    def __init__(
        self, descriptor: int, writable_changed: Callable[[bool], None], broken: Callable[[], None]
    ) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._writable_changed = writable_changed
        self._broken = broken
        self._loop = asyncio.get_running_loop()
        self._outbox: list[bytes] = []
        self._unsent = memoryview(b"")  # of the last write, what the pipe did not take
        self._queued = 0
        self._scheduled = False  # a flush will come, or the pipe is full
        self._blocked = False  # the pipe is full
        self._writable = True  # what the listener was told last
        self._open = True

    @property
    def queued_bytes(self) -> int:
        return self._queued

    def send(self, frame: bytes) -> None:
        """Queue a frame without a newline; dropped when the pipe is closed."""
        if not self._open:
            return
        self._outbox.append(frame)
        self._queued += len(frame) + 1
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)
        elif self._blocked:
            self._tell()

    def close(self) -> None:
        """Close the pipe: the child sees the end of its input. What it has not taken is dropped."""
        if self._outbox and not self._blocked:
            self._flush()
        if self._open:
            self._open = False
            if self._blocked:
                self._loop.remove_writer(self._descriptor)
            os.close(self._descriptor)
            self._outbox.clear()
            self._unsent = memoryview(b"")
            self._queued = 0

    def _flush(self) -> None:
        if not self._outbox:  # closed meanwhile
            return
        self._scheduled = False
        frames, self._outbox = self._outbox, []
        frames.append(b"")
        self._write(memoryview(b"\n".join(frames)))

    def _write(self, data: memoryview) -> None:
        try:
            written = os.write(self._descriptor, data)
        except BlockingIOError:
            written = 0
        except OSError:  # EPIPE: the child has closed its stdin, or is gone
            self._outbox.clear()
            self.close()
            self._broken()
            return
        self._queued -= written
        self._unsent = data[written:]
        if self._unsent and not self._blocked:
            self._blocked = self._scheduled = True
            self._loop.add_writer(self._descriptor, self._drain)
        self._tell()

    def _drain(self) -> None:
        self._write(self._unsent)
        if self._open and not self._unsent:
            self._blocked = self._scheduled = False
            self._loop.remove_writer(self._descriptor)
            self._flush()

    def _tell(self) -> None:
        writable = self._queued <= (HIGH_WATER if self._writable else LOW_WATER)
        if writable is not self._writable:
            self._writable = writable
            self._writable_changed(writable)
