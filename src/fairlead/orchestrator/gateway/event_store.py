"""What legacy clients were told on event streams, kept for a while in case their connections broke.

A stream numbers its events from 1; an event's id is `<stream>-<number>`, unique in its session. What is kept
of a stream is always its latest events without a gap, so "everything after n" is a tail of what there is, or
the whole of it with a known number of events missing. Bounds hold for each session and for all together;
over them the oldest events go first. A stream that has ended is forgotten some minutes later.

Pure: no sockets, no clock.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final

MAIN: Final = 0  # the number of a session's stream for what is said unasked; calls have streams from 1 on
OVERHEAD: Final = 500  # bytes that one kept event costs beside its own, with a stream to itself
_EVENT_ID: Final = re.compile(r"(0|[1-9][0-9]{0,14})-(0|[1-9][0-9]{0,14})")


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much is kept: events and bytes of one session, bytes of all; `keep` is in s, from the end on."""

    events: int = 512
    session_bytes: int = 2 * 2**20
    total_bytes: int = 64 * 2**20
    keep: float = 300.0


class Stream:
    """One stream's events. `carrier` is whoever writes them to a client now, no business of the store's."""

    __slots__ = ("carrier", "ended", "events", "last", "number", "sent", "shelf")

    def __init__(self, shelf: Shelf, number: int) -> None:
        self.shelf = shelf
        self.number = number
        self.last = 0  # the number of the latest event
        self.sent = 0  # and of the latest one that went to a client
        self.ended = False
        self.events: list[tuple[int, bytes]] = []  # (place among all events, event), oldest first
        self.carrier: Any = None

    def __repr__(self) -> str:
        return f"<Stream {self.number} last={self.last} kept={self.kept} carrier={self.carrier}>"

    @property
    def kept(self) -> int:
        return len(self.events)

    def event_id(self, number: int) -> bytes:
        return b"%d-%d" % (self.number, number)

    def after(self, number: int) -> tuple[list[bytes], int]:
        """The events after this one that are kept, in order, and how many are missing before them."""
        missed = max(0, self.last - number)
        there = min(missed, self.kept)
        return [event for _, event in self.events[self.kept - there :]], missed - there


class Shelf:
    """The streams of one session that something is known of."""

    __slots__ = ("begun", "bytes", "events", "streams")

    def __init__(self) -> None:
        self.begun = MAIN  # streams of calls so far
        self.events = 0
        self.bytes = 0  # with what keeping them costs
        self.streams: dict[int, Stream] = {}

    def __repr__(self) -> str:
        return f"<Shelf streams={len(self.streams)} events={self.events} bytes={self.bytes}>"


class EventStore:
    """The events of all sessions. `now` is loop time in seconds."""

    def __init__(self, bounds: Bounds | None = None) -> None:
        self.bounds = bounds or Bounds()
        self.bytes = 0
        self._next = 0
        self._order: OrderedDict[int, Stream] = OrderedDict()  # every kept event, oldest first: whose it is
        self._ended: OrderedDict[Stream, float] = OrderedDict()  # since when

    def __repr__(self) -> str:
        return f"<EventStore events={len(self._order)} bytes={self.bytes} ended={len(self._ended)}>"

    def main(self, shelf: Shelf) -> Stream:
        """The session's stream for what is said unasked; it stays as long as the session."""
        return shelf.streams.setdefault(MAIN, Stream(shelf, MAIN))

    def begin(self, shelf: Shelf) -> Stream:
        """A new stream of a call."""
        shelf.begun += 1
        stream = shelf.streams[shelf.begun] = Stream(shelf, shelf.begun)
        return stream

    def add(self, stream: Stream, message: bytes) -> bytes:
        """Keep one more event with this message (JSON on one line); the event as it goes to a client.

        Nothing is kept of a stream that was forgotten.
        """
        stream.last += 1
        event = b"id: %b\nevent: message\ndata: %b\n\n" % (stream.event_id(stream.last), message)
        if stream.shelf.streams.get(stream.number) is not stream:
            return event  # its session has ended: nobody can come back for it
        self._next += 1
        stream.events.append((self._next, event))
        self._order[self._next] = stream
        self._count(stream.shelf, 1, len(event))
        bounds, shelf = self.bounds, stream.shelf
        while shelf.events > bounds.events or shelf.bytes > bounds.session_bytes:
            self._drop_oldest(min((s for s in shelf.streams.values() if s.events), key=_place))
        while self.bytes > bounds.total_bytes:
            self._drop_oldest(next(iter(self._order.values())))
        return event

    def end(self, stream: Stream, now: float) -> None:
        """Nothing more comes on it."""
        if stream.number != MAIN and not stream.ended:
            stream.ended = True
            self._ended[stream] = now
            self._forget_empty(stream)

    def clear(self, stream: Stream) -> None:
        """Drop what is kept of it; its numbers go on."""
        while stream.events:
            self._drop_oldest(stream)

    def forget(self, shelf: Shelf) -> None:
        """Its session has ended."""
        for stream in list(shelf.streams.values()):
            self.clear(stream)
            self._ended.pop(stream, None)
        shelf.streams.clear()

    def expire(self, now: float) -> None:
        """Forget the streams that ended too long ago."""
        while self._ended:
            stream, since = next(iter(self._ended.items()))
            if since > now - self.bounds.keep:
                return
            self.clear(stream)  # and with its last event it is gone

    def _drop_oldest(self, stream: Stream) -> None:
        place, event = stream.events.pop(0)
        del self._order[place]
        self._count(stream.shelf, -1, -len(event))
        self._forget_empty(stream)

    def _forget_empty(self, stream: Stream) -> None:
        if not stream.events and stream in self._ended:
            del self._ended[stream]
            stream.shelf.streams.pop(stream.number, None)

    def _count(self, shelf: Shelf, events: int, size: int) -> None:
        cost = size + events * OVERHEAD
        shelf.events += events
        shelf.bytes += cost
        self.bytes += cost


def read_event_id(value: str) -> tuple[int, int] | None:
    """The stream and the number of an event; None for what is no id of ours."""
    match = _EVENT_ID.fullmatch(value)
    return None if match is None else (int(match[1]), int(match[2]))


def _place(stream: Stream) -> int:
    return stream.events[0][0]
