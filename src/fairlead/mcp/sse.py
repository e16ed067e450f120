"""Server-sent events, both ways, without I/O: what the HTML standard says, with a bound on each event.

Data stays bytes: what an event carries is passed on as it came, and whoever parses it judges its UTF-8.
"""

from __future__ import annotations

from dataclasses import dataclass

_BOM = b"\xef\xbb\xbf"
_MAX_RETRY_DIGITS = 9


class SseError(ValueError):
    """The stream cannot be read on: an event over the limit."""


@dataclass(frozen=True, slots=True)
class SseEvent:
    """One event. `event_id` is the stream's last id so far, `retry` the server's wish in seconds, if any.

    An event without data is passed on where it set an id: that is how a stream is primed for resumption.
    """

    data: bytes
    event: str = "message"
    event_id: str = ""
    retry: float | None = None


class SseDecoder:
    """Decodes one stream, cut into chunks anywhere. `max_event` bounds an event and a line, in bytes."""

    def __init__(self, *, max_event: int, last_event_id: str = "") -> None:
        self.last_event_id = last_event_id
        self.retry: float | None = None  # s, the last that the server gave
        self._max_event = max_event
        self._tail = bytearray()  # the line that has not ended yet
        self._after_cr = False  # the last chunk ended in CR: an LF that follows belongs to it
        self._first = True
        self._data: list[bytes] = []
        self._size = 0
        self._event = ""
        self._touched = False  # something in this event is worth telling

    def feed(self, chunk: bytes) -> list[SseEvent]:
        """The events that `chunk` completes. Raises SseError for an event over the limit."""
        if self._after_cr and chunk:
            self._after_cr = False
            if chunk.startswith(b"\n"):
                chunk = chunk[1:]
        if not chunk:
            return []
        lines = chunk.splitlines()
        last = chunk[-1:]
        self._after_cr = last == b"\r"
        rest = b"" if last in b"\r\n" else lines.pop()
        events: list[SseEvent] = []
        for line in lines:
            whole = line
            if self._tail:
                self._tail += line
                whole = bytes(self._tail)
                self._tail.clear()
            self._line(whole, events)
        self._tail += rest
        self._check(len(self._tail))
        return events

    def _line(self, line: bytes, events: list[SseEvent]) -> None:
        if self._first:
            self._first = False
            line = line.removeprefix(_BOM)
        if not line:
            self._dispatch(events)
            return
        name, _, value = line.partition(b":")
        if not name:
            return  # a comment
        value = value.removeprefix(b" ")
        self._size += len(line)
        self._check(0)
        if name == b"data":
            self._data.append(value)
            self._touched = True
        elif name == b"event":
            self._event = value.decode("utf-8", "replace")
        elif name == b"id":
            if b"\0" not in value:
                self.last_event_id = value.decode("utf-8", "replace")
                self._touched = True
        elif name == b"retry" and value.isdigit() and len(value) <= _MAX_RETRY_DIGITS:
            self.retry = int(value) / 1000

    def _dispatch(self, events: list[SseEvent]) -> None:
        if self._touched:
            data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
            events.append(SseEvent(data, self._event or "message", self.last_event_id, self.retry))
            self._data = []
            self._touched = False
        self._event = ""
        self._size = 0

    def _check(self, pending: int) -> None:
        if self._size + pending > self._max_event:
            msg = f"an event of the stream is larger than {self._max_event} bytes"
            raise SseError(msg)


def encode_event(
    data: bytes, *, event: str | None = None, event_id: str | None = None, retry: float | None = None
) -> bytes:
    """One event as it stands on the wire. `retry` is in seconds; `event` and `event_id` must be printable."""
    head = b""
    for name, value in (("event", event), ("id", event_id)):
        if value is not None:
            if not value.isprintable():
                msg = f"an event's {name} must be printable: {value!r}"
                raise ValueError(msg)
            head += f"{name}: {value}\n".encode()
    if retry is not None:
        head += b"retry: %d\n" % round(retry * 1000)
    if b"\n" not in data and b"\r" not in data:
        return b"%bdata: %b\n\n" % (head, data)
    lines = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    return b"%b%b\n" % (head, b"".join(b"data: %b\n" % line for line in lines))
