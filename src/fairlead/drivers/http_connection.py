"""One HTTP/1.1 client connection: an asyncio protocol around httptools' response parser.

How it works. An `Exchange` is one request and what becomes of its answer. The pool hands an idle
connection one exchange at a time (`start`); the connection writes it in one go, feeds what arrives to the
parser, and the parser's callbacks only note down what they saw. After each chunk the notes are acted upon,
outside of the parser: the head is announced once, a streamed body is passed on as it comes, a collected one
when it is whole. The connection goes back to the pool *before* the exchange hears that it is done, so that
whatever the exchange sends next can use it.

Everything is bounded: a collected body by `MAX_MESSAGE`; and bytes that bring no body (head, interim answers,
chunk extensions, trailers) by `MAX_OVERHEAD` in a row. Bytes behind the end of an answer were asked for by
nobody: the answer counts, the connection does not live on.
"""

from __future__ import annotations

import asyncio
from enum import IntEnum
from typing import Protocol, cast

import httptools

MAX_MESSAGE = 16 * 2**20  # bytes of one collected body, or of one event
MAX_OVERHEAD = 64 * 2**10  # bytes in a row that bring no body


class Lane(IntEnum):
    """Which of the pool's places an exchange takes (see `http_pool`)."""

    CALLS = 0
    SIDE = 1
    STREAMS = 2


class Exchange:
    """One request and what becomes of its answer. Exactly one of `ended`, `failed` is called for each submit.

    `repeatable` says that the server may get it twice; the pool then repeats it once when a kept connection
    turns out to be closed (see `http_pool`).
    """

    __slots__ = ("connection", "lane", "repeatable", "request")

    def __init__(self, request: bytes, lane: Lane, *, repeatable: bool = True) -> None:
        self.request = request
        self.lane = lane
        self.repeatable = repeatable
        self.connection: HttpConnection | None = None

    def begun(self, status: int, headers: dict[bytes, bytes]) -> bool:
        """The head is here, names in lower case. True: stream the body to `received`; False: collect it."""
        return False

    def received(self, data: bytes) -> None:
        """A piece of a streamed body."""

    def ended(self, body: bytes) -> None:
        """The answer is whole. `body` is empty where it was streamed."""
        raise NotImplementedError

    def failed(self, reason: str) -> None:
        """There will be no (further) answer. `reason` is for a person."""
        raise NotImplementedError


class ConnectionOwner(Protocol):
    """What a connection tells its pool."""

    reading_paused: bool

    def connection_opened(self, connection: HttpConnection) -> None: ...

    def connection_closed(self, connection: HttpConnection) -> None: ...

    def exchange_over(self, connection: HttpConnection, exchange: Exchange, *, reusable: bool) -> None: ...

    def exchange_broken(self, exchange: Exchange, reason: str, *, unheard: bool) -> None: ...


class HttpConnection(asyncio.Protocol):
    """See the module's head. Idle while `exchange` is None."""

    __slots__ = (
        "_chunks",
        "_complete",
        "_framed",
        "_head_pending",
        "_headers",
        "_heard",
        "_keep_alive",
        "_overhead",
        "_owner",
        "_parser",
        "_size",
        "_status",
        "_streamed",
        "_tainted",
        "_transport",
        "exchange",
        "idle_since",
        "keep_idle",
        "kept",
    )
    _transport: asyncio.Transport

    def __init__(self, owner: ConnectionOwner) -> None:
        self._owner = owner
        self._parser = httptools.HttpResponseParser(self)
        self.exchange: Exchange | None = None
        self.idle_since = 0.0  # loop time, s; the pool's note
        self.keep_idle: float | None = None  # s, as the server said in Keep-Alive
        self.kept = False  # it has been idle: the server may have closed it by the time it is used
        self._reset()

    def _reset(self) -> None:
        self._status = 0  # of the final answer; 0 before its head is whole
        self._headers: dict[bytes, bytes] = {}
        self._chunks: list[bytes] = []
        self._size = 0
        self._overhead = 0
        self._head_pending = self._complete = self._tainted = False
        self._heard = False  # a byte of an answer has come
        self._framed = False  # the body's end is told by a length or by chunks, not by the connection's end
        self._keep_alive = False
        self._streamed = False

    # What the pool and the exchanges call

    def start(self, exchange: Exchange) -> None:
        """Send `exchange`'s request; the connection is idle."""
        self.exchange = exchange
        exchange.connection = self
        self._transport.write(exchange.request)

    @property
    def usable(self) -> bool:
        return self.exchange is None and not self._transport.is_closing()

    @property
    def unsent_bytes(self) -> int:
        return self._transport.get_write_buffer_size()

    def abort(self) -> None:
        """Close at once. An exchange in flight is dropped without a word."""
        self.exchange = None
        self._transport.abort()

    def close(self) -> None:
        """Close an idle connection."""
        self._transport.close()

    def pause_reading(self) -> None:
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is not a subclass
        if self._owner.reading_paused:
            self._transport.pause_reading()
        self._owner.connection_opened(self)

    def data_received(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None:  # nobody asked: a goodbye, or an attack
            self._transport.abort()
            return
        self._heard = True
        size = self._size
        fault = ""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            fault = "the server switched to another protocol"
        except httptools.HttpParserError as error:
            fault = f"the server's answer is not HTTP ({error})"
        self._overhead = 0 if self._size != size else self._overhead + len(data)
        if not fault and self._overhead > MAX_OVERHEAD:
            fault = f"the server sent more than {MAX_OVERHEAD} bytes of headers"
        if self._complete:
            self._tainted |= bool(fault)
        self._act(exchange)
        if fault and self.exchange is exchange:  # what came before the fault has been passed on
            self._break(fault)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.exchange is not None:
            if self._status and not self._framed and exc is None:
                self._finish(self.exchange)
            else:
                self._break("the server closed the connection " + self._progress())
        self._owner.connection_closed(self)

    # What the parser calls: notes only

    def on_message_begin(self) -> None:
        if self._complete:
            self._tainted = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._status:  # else: a trailer
            self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if self._complete:
            return
        if 100 <= status < 200:
            self._headers.clear()
            return
        headers = self._headers
        self._status = status
        self._head_pending = True
        self._keep_alive = self._parser.should_keep_alive()
        self._framed = b"content-length" in headers or (
            headers.get(b"transfer-encoding", b"").lower().endswith(b"chunked")
        )

    def on_body(self, body: bytes) -> None:
        if not self._complete:
            self._chunks.append(body)
            self._size += len(body)

    def on_message_complete(self) -> None:
        if self._status:
            self._complete = True

    # Acting upon the notes

    def _act(self, exchange: Exchange) -> None:
        if self._head_pending:
            self._head_pending = False
            self._streamed = exchange.begun(self._status, self._headers)
            if self.exchange is not exchange:
                return  # given up while it was told
        if self._streamed:
            if self._chunks:
                self._pass_on(exchange)
                if self.exchange is not exchange:
                    return
        elif self._size > MAX_MESSAGE:
            self._break(f"the server's answer is larger than {MAX_MESSAGE} bytes")
            return
        if self._complete:
            self._finish(exchange)

    def _pass_on(self, exchange: Exchange) -> None:
        chunks = self._chunks
        self._chunks = []
        exchange.received(chunks[0] if len(chunks) == 1 else b"".join(chunks))

    def _finish(self, exchange: Exchange) -> None:
        chunks = self._chunks
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        whole = self._complete and not self._tainted and not self._transport.get_write_buffer_size()
        reusable = whole and self._keep_alive
        if reusable and (hint := self._headers.get(b"keep-alive")) is not None:
            self.keep_idle = _keep_alive_seconds(hint)
        self.exchange = exchange.connection = None
        self._reset()
        self._owner.exchange_over(self, exchange, reusable=reusable)
        exchange.ended(body)

    def _break(self, reason: str) -> None:
        exchange = self.exchange
        assert exchange is not None
        self.exchange = exchange.connection = None
        self._transport.abort()
        self._owner.exchange_broken(exchange, reason, unheard=self.kept and not self._heard)

    def _progress(self) -> str:
        if not self._heard:
            return "before it answered"
        return "in the middle of its answer" if self._status else "in the middle of its answer's headers"


def _keep_alive_seconds(value: bytes) -> float | None:
    """How long the server keeps an idle connection, from `Keep-Alive: timeout=5, max=100`."""
    for part in value.lower().split(b","):
        name, _, seconds = part.strip().partition(b"=")
        if name == b"timeout" and seconds.isdigit() and len(seconds) < 7:
            return float(int(seconds))
    return None
