"""Event streams of legacy sessions: a connection that breaks ends neither the stream nor the call.

Each stream of a session (the answer to a POST, and the one that GET opens for what is said unasked) is a
`Stream` of the event store with a carrier: the exchange whose connection it is written to, at first the one
that began it. When the connection breaks the stream goes on without a carrier, and a GET with `Last-Event-ID`
becomes the next one: it gets what was missed, then what comes. The exchange that began the stream stays the
one that others talk to; only its bytes go elsewhere.

The client is told where it can come back to by a first event without data, from 2025-11-25 on; clients of
older versions take such an event for a broken message.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final

from fairlead.mcp.errors import McpError
from fairlead.mcp.log_levels import is_heard
from fairlead.mcp.messages import encode_json, notification
from fairlead.orchestrator.gateway.event_store import MAIN, EventStore, Shelf, Stream, read_event_id

if TYPE_CHECKING:
    from fairlead.orchestrator.gateway.exchange import Exchange
    from fairlead.orchestrator.gateway.sessions import Session

PRIMED: Final = "2025-11-25"  # the first version whose clients know an event without data
RETRY: Final = 1000  # ms until a client should come back
NOT_RESUMABLE: Final = -32000


class Streams:
    """Of one gateway."""

    def __init__(self, store: EventStore | None = None) -> None:
        self.store = store or EventStore()
        self._away: dict[Session, float] = {}  # whose GET stream has no connection, since when (loop time)

    def __repr__(self) -> str:
        return f"<Streams away={len(self._away)} {self.store}>"

    # -- the answer to a POST ----------------------------------------------------------------------------

    def begin(self, exchange: Exchange, session: Session) -> Stream:
        """The answer to a POST has become an event stream."""
        stream = self.store.begin(_shelf_of(session))
        stream.carrier = exchange
        self._prime(stream, session, 0)
        return stream

    def say(self, stream: Stream, message: bytes) -> None:
        """One more message, JSON on one line: to the client if it is there, and for later."""
        event = self.store.add(stream, message)
        if stream.carrier is not None:
            stream.sent = stream.last
            stream.carrier.chunk(event)

    def end(self, stream: Stream) -> None:
        """Everything is said."""
        self.store.end(stream, monotonic())
        carrier, stream.carrier = stream.carrier, None
        if carrier is not None:
            carrier.hang_up()

    # -- GET ---------------------------------------------------------------------------------------------

    def open(self, session: Session, exchange: Exchange, last_event_id: str) -> bool:
        """A GET: the session's own stream, or any one that broke off after this event. Raises McpError.

        True when messages are missing that were said unasked.
        """
        main = self.store.main(_shelf_of(session))
        if not last_event_id:
            stream, number = main, main.sent
        else:
            stream, number = _place(session, last_event_id)
        if stream is main:
            self._away.pop(session, None)
            session.stream = session.stream or exchange
        return self._carry_on(stream, session, exchange, number) > 0 and stream is main

    def _carry_on(self, stream: Stream, session: Session, exchange: Exchange, number: int) -> int:
        """Let this exchange carry the stream on after the event; how many events are missing."""
        former, stream.carrier = stream.carrier, exchange
        if former is not None:
            former.hang_up()
        exchange.stream = stream
        exchange.open()
        self._prime(stream, session, number)
        events, missing = stream.after(number)
        if missing:
            self._tell_missing(stream, session, missing)
        if events:
            exchange.chunk(b"".join(events))
        stream.sent = stream.last
        if stream.ended:
            stream.carrier = None
            exchange.hang_up()
        return missing

    def _tell_missing(self, stream: Stream, session: Session, missing: int) -> None:
        """A gap must not look like none."""
        text = f"{missing} messages of this stream are no longer kept"
        params = encode_json({"level": "warning", "logger": "fairlead", "data": text})
        if session.log_level is None or is_heard(params, session.log_level):
            message = notification("notifications/message", params)
            stream.carrier.chunk(b"event: message\ndata: %b\n\n" % message)

    def _prime(self, stream: Stream, session: Session, number: int) -> None:
        if session.version >= PRIMED:
            stream.carrier.chunk(b"id: %b\nretry: %d\ndata:\n\n" % (stream.event_id(number), RETRY))

    # -- ends --------------------------------------------------------------------------------------------

    def lost(self, exchange: Exchange) -> None:
        """The connection of an exchange is gone; the stream that it carried goes on."""
        stream, session = exchange.stream, exchange.head.session
        if stream is None or session is None or stream.carrier is not exchange:
            return
        stream.carrier = None
        if stream.number == MAIN and not session.ended:
            self._away[session] = monotonic()

    def close(self, session: Session) -> None:
        """The session has ended: so does its own stream, and nothing is kept."""
        self._end_main(session)
        if session.shelf is not None:
            self.store.forget(session.shelf)

    def tick(self, now: float) -> None:
        """About once a second. `now` is loop time."""
        self.store.expire(now)
        while self._away:
            session, since = next(iter(self._away.items()))
            if since > now - self.store.bounds.keep:
                return
            self._end_main(session)

    def _end_main(self, session: Session) -> None:
        """Nothing is said unasked any more, until the client opens the stream anew."""
        self._away.pop(session, None)
        main, session.stream = session.stream, None
        if main is not None:
            main.end()
            if main.stream is not None:
                self.store.clear(main.stream)


def _place(session: Session, last_event_id: str) -> tuple[Stream, int]:
    """The stream and the number of an event that the client has. Raises McpError."""
    place = read_event_id(last_event_id)
    if place is not None:
        stream = _shelf_of(session).streams.get(place[0])
        if stream is not None and place[1] <= stream.last:
            return stream, place[1]
    what = f"no stream can be taken up after event {last_event_id[:40]!r}: it ended long ago, or never was"
    raise McpError(NOT_RESUMABLE, what, status=400)


def _shelf_of(session: Session) -> Shelf:
    if session.shelf is None:
        session.shelf = Shelf()
    return session.shelf
