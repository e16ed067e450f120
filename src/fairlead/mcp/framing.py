"""Newline framing, as MCP has it over stdio: chunks of bytes in, whole messages out. No sockets here.

A chunk without a newline is only put aside, and a line is joined once, when its end has come: the cost is
linear in the bytes, however they were cut up. What is put aside is bounded by `limit`. Of a line that is
longer, only the beginning and the end are kept: where they show that it answers a request, and which, an
error stands for it, and the next line is as good as any.
"""

from __future__ import annotations

import re
from typing import Final, NoReturn

from fairlead.mcp.errors import UPSTREAM_FAILED, encode_error

MAX_FRAME: Final = 16 * 2**20  # bytes
LONGEST: Final = 4  # times the limit; a line that goes on after that is not waited for
_ENDS: Final = 256  # bytes of each end of a long line that are looked at
_ANSWERS: Final = re.compile(
    rb'\s*\{\s*(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?(?:"id"\s*:\s*(\d{1,18})\s*,\s*)?'
    rb'(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?"(?:result|error)"'
)
_ENDS_WITH_ID: Final = re.compile(rb',\s*"id"\s*:\s*(\d{1,18})\s*(?:,\s*"jsonrpc"\s*:\s*"2\.0"\s*)?\}\s*\Z')
LF: Final = 10  # a byte is found in bytes ten times as fast as a string of length one
CR: Final = 13


class FrameTooLongError(Exception):
    """A line grew over the limit, and is not known to be an answer. The splitter is of no use afterwards."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"a message of more than {limit} bytes")


class LineSplitter:
    """Cuts a byte stream into frames: without newline and padding, never empty, at most `limit` bytes.

    A carriage return cannot stand inside a JSON string, so it means no more than a space and becomes one:
    CRLF is tolerated, and a frame holds neither CR nor LF. A last line without a newline is not a frame.
    """

    __slots__ = ("_cut", "_limit", "_parts", "_size")

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self._limit = limit
        self._parts: list[bytes] = []  # of a line whose end has not come
        self._size = 0  # bytes of that line
        self._cut = False  # it is too long, and `_parts` are its two ends

    @property
    def buffered_bytes(self) -> int:
        return sum(map(len, self._parts)) if self._cut else self._size

    def feed(self, chunk: bytes) -> list[bytes]:
        """The frames that this chunk completes, in order. Raises FrameTooLongError."""
        if CR in chunk:
            chunk = chunk.replace(b"\r", b" ")
        lines = chunk.split(b"\n")
        if self._size + len(chunk) > self._limit:
            return self._feed_long(lines)
        if self._parts:
            self._parts.append(lines[0])
            if len(lines) == 1:
                self._size += len(chunk)
                return []
            lines[0] = b"".join(self._parts)
        rest = lines.pop()
        self._parts = [rest] if rest else []
        self._size = len(rest)
        return [frame for line in lines if (frame := line.strip())]

    def _feed_long(self, lines: list[bytes]) -> list[bytes]:
        """The same, where some line may be too long."""
        rest = lines.pop()
        frames: list[bytes] = []
        for line in lines:
            self._put(line)
            frames.append(self._stand_in() if self._cut else b"".join(self._parts).strip())
            self._parts, self._size, self._cut = [], 0, False
        self._put(rest)
        return [frame for frame in frames if frame]

    def _put(self, part: bytes) -> None:
        self._size += len(part)
        if self._cut:
            self._parts[1] = (self._parts[1] + part[-_ENDS:])[-_ENDS:]
        else:
            self._parts.append(part)
            if self._size > self._limit:
                self._parts = [_start(self._parts), _end(self._parts)]
                self._cut = True
        if self._cut and (self._size > LONGEST * self._limit or not _ANSWERS.match(self._parts[0])):
            self._give_up()

    def _stand_in(self) -> bytes:
        """The error that is answered in place of a line that was cut."""
        start, end = self._parts
        found = _ANSWERS.match(start)
        number = found[1] if found is not None else None
        if number is None and (last := _ENDS_WITH_ID.search(end)) is not None:
            number = last[1]
        if number is None:
            self._give_up()
        text = f"The answer has {self._size} bytes, more than the {self._limit} that are taken; ask for less"
        data = {"problem": "answer-too-large", "size": self._size, "limit": self._limit}
        return b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (number, encode_error(UPSTREAM_FAILED, text, data))

    def _give_up(self) -> NoReturn:
        self._parts.clear()
        raise FrameTooLongError(self._limit)


def _start(parts: list[bytes]) -> bytes:
    found = b""
    for part in parts:
        found += part[: _ENDS - len(found)]
        if len(found) == _ENDS:
            break
    return found


def _end(parts: list[bytes]) -> bytes:
    found = b""
    for part in reversed(parts):
        found = part[-_ENDS:] + found
        if len(found) >= _ENDS:
            break
    return found[-_ENDS:]
