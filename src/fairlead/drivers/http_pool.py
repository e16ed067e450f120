"""The connections to one remote server: kept alive, bounded, handed out first come first served.

How it works. An exchange takes a place in one of three lanes, then the connection that was used last, or a
new one. CALLS has as many places as the launch allows connections. SIDE has a few more, for what calls may
be waiting for (an answer to the server's own request, a cancellation) and for what judges its health; STREAMS
for streams that stay open (what the server says first, `subscriptions/listen`). So neither starves when calls
fill their lane, and calls are not starved by them.

What is sent again. A server may close a kept connection at the very moment at which it is used. Where not
one byte of an answer came over a connection that had been kept idle, a repeatable exchange is sent once more,
over a new connection. One that is not repeatable (tools/call) fails instead, since it may have run; so does
everything on a connection made for it, and everything whose answer had begun.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from fairlead.drivers.http_connection import Exchange, HttpConnection, Lane
from fairlead.drivers.http_endpoint import Endpoint, dial
from fairlead.kit.tasks import Tasks
from fairlead.model.errors import ProblemError

SIDE_PLACES = 4
STREAM_PLACES = 16
IDLE_TIMEOUT = 55.0  # s; below the minute after which proxies commonly close
LINGER = 1.0  # s between an answer in an event stream and the stream's end
HIGH_BYTES, LOW_BYTES = 4 * 2**20, 2**20  # of requests that wait for a place
HIGH_COUNT, LOW_COUNT = 256, 64
MAX_BYTES, MAX_COUNT = 64 * 2**20, 4096
LOST_AFTER = 3  # failed attempts to connect, one after the other


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """`max_connections` bounds the calls in flight; `connect_timeout` is in seconds."""

    endpoint: Endpoint
    tls: ssl.SSLContext | None
    connect_timeout: float
    max_connections: int


@dataclass(slots=True)
class _Queue:
    """A lane's places, and who waits for one."""

    places: int
    taken: int = 0
    waiting: deque[Exchange] = field(default_factory=deque)
    held: bool = False  # nothing more is taken up for now


class PoolListener(Protocol):
    """What a pool tells the link that owns it."""

    def writable_changed(self, writable: bool) -> None: ...

    def unreachable(self, problem: ProblemError) -> None:
        """No connection could be made, several times in a row."""
        ...


class ConnectionPool:
    """See the module's head. Implements `http_connection.ConnectionOwner`."""

    def __init__(self, settings: PoolSettings, listener: PoolListener, tasks: Tasks) -> None:
        self._settings = settings
        self._listener = listener
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        places = {
            Lane.CALLS: max(1, settings.max_connections),
            Lane.SIDE: SIDE_PLACES,
            Lane.STREAMS: STREAM_PLACES,
        }
        self._lanes = [_Queue(places[lane]) for lane in Lane]
        self._open: set[HttpConnection] = set()
        self._idle: list[HttpConnection] = []  # the one used last is at the end
        self._lingering: dict[HttpConnection, float] = {}  # since when, loop time
        self._dialling: dict[Exchange, asyncio.Task[None]] = {}
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._sweep_due = float("inf")  # loop time
        self._linger_timer: asyncio.TimerHandle | None = None
        self._waiting_bytes = 0
        self._failures = 0
        self._writable = True
        self._closed = False
        self._gone = asyncio.Event()
        self.reading_paused = False

    def __repr__(self) -> str:
        taken = "+".join(str(queue.taken) for queue in self._lanes)
        return (
            f"ConnectionPool({self._settings.endpoint}: {len(self._open)} open, {len(self._idle)} idle, "
            f"{taken} taken, {self._waiting_count} waiting)"
        )

    @property
    def _waiting_count(self) -> int:
        return sum(len(queue.waiting) for queue in self._lanes)

    @property
    def queued_bytes(self) -> int:
        """Accepted, not yet taken by the network."""
        unsent = sum(connection.unsent_bytes for connection in self._open)
        return self._waiting_bytes + unsent + sum(len(exchange.request) for exchange in self._dialling)

    async def connect(self) -> None:
        """Make the first connection and keep it for the first exchange. Raises ProblemError."""
        connection = await self._dial()
        self._keep(connection)

    def submit(self, exchange: Exchange) -> None:
        """Send it as soon as there is a place; the outcome comes through the exchange's methods, later."""
        if self._closed:
            return
        queue = self._lanes[exchange.lane]
        if queue.taken < queue.places and not queue.held:
            queue.taken += 1
            self._start(exchange)
        elif self._waiting_bytes + len(exchange.request) > MAX_BYTES or self._waiting_count >= MAX_COUNT:
            self._loop.call_soon(exchange.failed, "too many requests wait for a connection to the server")
        else:
            queue.waiting.append(exchange)
            self._waiting_bytes += len(exchange.request)
            self._tell_writable()

    def hold(self) -> None:
        """Let what is submitted from now on wait until `release`."""
        for queue in self._lanes:
            queue.held = True

    def release(self, *lanes: Lane) -> None:
        """Let it go; without `lanes`, in all of them."""
        for queue in [self._lanes[lane] for lane in lanes] or self._lanes:
            queue.held = False
            while queue.waiting and queue.taken < queue.places:
                queue.taken += 1
                self._start_next(queue)

    def withdraw(self, exchange: Exchange) -> bool:
        """Give it up without a word. True where nothing of it can have reached the server."""
        queue = self._lanes[exchange.lane]
        if (connection := exchange.connection) is not None:
            exchange.connection = None
            connection.abort()
            self._free(queue)
            return False
        if exchange in self._dialling:
            del self._dialling[exchange]  # the connection will be kept for another one
            self._free(queue)
            return True
        try:
            queue.waiting.remove(exchange)
        except ValueError:
            return False  # over
        self._waiting_bytes -= len(exchange.request)
        self._tell_writable()
        return True

    def linger(self, exchange: Exchange) -> None:
        """The stream has brought its answer: if it does not end by itself soon, it is ended."""
        if exchange.connection is not None:
            self._lingering.setdefault(exchange.connection, self._loop.time())
            if self._linger_timer is None:
                self._linger_timer = self._loop.call_later(LINGER, self._end_lingering)

    def pause_reading(self) -> None:
        if not self.reading_paused:
            self.reading_paused = True
            for connection in self._open:
                connection.pause_reading()

    def resume_reading(self) -> None:
        if self.reading_paused:
            self.reading_paused = False
            for connection in self._open:
                connection.resume_reading()

    def abort(self) -> None:
        """Close every connection at once and drop what waits, without a word. Nothing works afterwards."""
        self._closed = True
        for timer in (self._sweep_timer, self._linger_timer):
            if timer is not None:
                timer.cancel()
        for queue in self._lanes:
            queue.waiting.clear()
        for task in self._dialling.values():
            task.cancel()
        self._dialling.clear()
        self._waiting_bytes = 0
        for connection in tuple(self._open):
            connection.abort()

    async def wait_closed(self) -> None:
        """After `abort`: until every connection is gone."""
        while self._open:
            self._gone.clear()
            await self._gone.wait()

    # Connections come and go

    def _start(self, exchange: Exchange) -> None:
        now = self._loop.time()
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and now - connection.idle_since < _patience(connection):
                connection.start(exchange)
                return
            connection.close()
        self._start_anew(exchange)

    def _start_anew(self, exchange: Exchange) -> None:
        self._dialling[exchange] = self._tasks.spawn(self._dial_for(exchange), "remote connect")

    async def _dial(self) -> HttpConnection:
        settings = self._settings
        return await dial(
            settings.endpoint,
            partial(HttpConnection, self),
            tls=settings.tls,
            timeout=settings.connect_timeout,
        )

    async def _dial_for(self, exchange: Exchange) -> None:
        try:
            connection = await self._dial()
        except ProblemError as error:
            self._dial_failed(exchange, error)
            return
        self._failures = 0
        if self._dialling.pop(exchange, None) is None:
            self._keep(connection)
        elif connection.usable:
            connection.start(exchange)
        else:
            self._free(self._lanes[exchange.lane])
            exchange.failed("the server closed the connection as soon as it was made")

    def _dial_failed(self, exchange: Exchange, error: ProblemError) -> None:
        self._failures += 1
        if self._dialling.pop(exchange, None) is not None:
            self._free(self._lanes[exchange.lane])
            exchange.failed(error.problem.detail)
        if self._failures >= LOST_AFTER and not self._closed:
            self._listener.unreachable(error)

    def connection_opened(self, connection: HttpConnection) -> None:
        self._open.add(connection)
        if self._closed:
            connection.abort()

    def connection_closed(self, connection: HttpConnection) -> None:
        self._open.discard(connection)
        self._lingering.pop(connection, None)
        if connection in self._idle:
            self._idle.remove(connection)
        self._gone.set()

    def exchange_over(self, connection: HttpConnection, exchange: Exchange, *, reusable: bool) -> None:
        self._failures = 0
        if self._lingering:
            self._lingering.pop(connection, None)
        if reusable:
            self._keep(connection)
        else:
            connection.close()
        self._free(self._lanes[exchange.lane])

    def exchange_broken(self, exchange: Exchange, reason: str, *, unheard: bool) -> None:
        if self._closed:
            return
        if unheard and exchange.repeatable:
            exchange.repeatable = False
            self._start_anew(exchange)
            return
        if unheard:
            reason += "; the request may have been carried out, so it was not sent again"
        self._free(self._lanes[exchange.lane])
        exchange.failed(reason)

    def _free(self, queue: _Queue) -> None:
        """A place has become free: the exchange that waits longest takes it."""
        if queue.waiting and not queue.held:
            self._start_next(queue)
        else:
            queue.taken -= 1

    def _start_next(self, queue: _Queue) -> None:
        exchange = queue.waiting.popleft()
        self._waiting_bytes -= len(exchange.request)
        self._tell_writable()
        self._start(exchange)

    def _keep(self, connection: HttpConnection) -> None:
        if self._closed or not connection.usable:
            return
        connection.kept = True
        connection.idle_since = now = self._loop.time()
        self._idle.append(connection)
        self._sweep_at(now + _patience(connection))

    def _sweep_at(self, due: float) -> None:
        if due < self._sweep_due:
            if self._sweep_timer is not None:
                self._sweep_timer.cancel()
            self._sweep_due = due
            self._sweep_timer = self._loop.call_at(due, self._sweep)

    def _sweep(self) -> None:
        """Close what has been idle for too long; come again when the next one will have been."""
        now = self._loop.time()
        stale = [c for c in self._idle if now - c.idle_since >= _patience(c)]
        for connection in stale:
            self._idle.remove(connection)
            connection.close()
        self._sweep_timer = None
        self._sweep_due = float("inf")
        if self._idle:
            self._sweep_at(min(c.idle_since + _patience(c) for c in self._idle))

    def _end_lingering(self) -> None:
        self._linger_timer = None
        now = self._loop.time()
        for connection, since in tuple(self._lingering.items()):
            if now - since >= LINGER and connection.exchange is not None:
                exchange = connection.exchange
                self.withdraw(exchange)
                exchange.ended(b"")
        if self._lingering:
            self._linger_timer = self._loop.call_later(LINGER, self._end_lingering)

    def _tell_writable(self) -> None:
        count = self._waiting_count
        if self._writable:
            writable = self._waiting_bytes <= HIGH_BYTES and count <= HIGH_COUNT
        else:
            writable = self._waiting_bytes <= LOW_BYTES and count <= LOW_COUNT
        if writable != self._writable:
            self._writable = writable
            self._listener.writable_changed(writable)


def _patience(connection: HttpConnection) -> float:
    """How long to keep it idle: a second less than the server does, where it says so."""
    hint = connection.keep_idle
    return IDLE_TIMEOUT if hint is None else min(IDLE_TIMEOUT, max(hint - 1, 0.5))
