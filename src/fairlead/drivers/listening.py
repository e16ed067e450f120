"""The stream on which a legacy server speaks first: a GET that is opened again whenever it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from fairlead.drivers.http_answer import event_frames, is_event_stream
from fairlead.drivers.http_connection import MAX_MESSAGE, Exchange, Lane
from fairlead.drivers.http_pool import ConnectionPool
from fairlead.drivers.remote_link import Inbox
from fairlead.mcp.sse import SseDecoder, SseError

FIRST_DELAY = 1.0  # s, unless the server says otherwise
SHORTEST_DELAY, LONGEST_DELAY = 0.05, 60.0  # s, whatever the server says
_WORTH_ANOTHER_TRY = frozenset({408, 409, 425, 429})  # and all of 5xx


class ListeningLink(Protocol):
    """What the stream needs of its link."""

    inbox: Inbox
    pool: ConnectionPool

    def get_request(self, last_event_id: str) -> bytes: ...

    def later(self, delay: float, action: Callable[..., None]) -> asyncio.TimerHandle: ...

    def lose(self, reason: str) -> None: ...


class Listening(Exchange):
    """Opens, decodes, reopens behind the last event. A server that offers no such stream is left alone."""

    __slots__ = ("_attempts", "_decoder", "_link", "_offered", "_opened", "_status", "_streaming", "_timer")

    def __init__(self, link: ListeningLink, opened: Callable[[], None]) -> None:
        """`opened` is called once, when the server has answered the first attempt, or could not."""
        super().__init__(b"", Lane.STREAMS)
        self._link = link
        self._decoder = SseDecoder(max_event=MAX_MESSAGE)
        self._opened: Callable[[], None] | None = opened
        self._attempts = 0  # since the last event
        self._offered = False  # the server has opened it before
        self._status = 0
        self._streaming = False
        self._timer: asyncio.TimerHandle | None = None

    def open(self) -> None:
        self._timer = None
        self.request = self._link.get_request(self._decoder.last_event_id)
        self.repeatable = True
        self._link.pool.submit(self)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._link.pool.withdraw(self)

    def begun(self, status: int, headers: dict[bytes, bytes]) -> bool:
        self._answered()
        self._status = status
        self._streaming = is_event_stream(status, headers)
        if self._streaming:
            self._offered = True
            retry = self._decoder.retry
            self._decoder = SseDecoder(max_event=MAX_MESSAGE, last_event_id=self._decoder.last_event_id)
            self._decoder.retry = retry
        return self._streaming

    def received(self, data: bytes) -> None:
        try:
            events = self._decoder.feed(data)
        except SseError:
            self._link.pool.withdraw(self)
            self._again()
            return
        if events:
            self._attempts = 0
        for event in events:
            for frame in event_frames(event):
                self._link.inbox.frame(frame)

    def ended(self, body: bytes) -> None:
        if self._streaming or self._status >= 500 or self._status in _WORTH_ANOTHER_TRY:
            self._again()
        elif self._status == 404 and self._offered:
            self._link.lose("session ended by the server")

    def failed(self, reason: str) -> None:
        self._answered()
        self._again()

    def _answered(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            opened()

    def _again(self) -> None:
        wish = FIRST_DELAY if self._decoder.retry is None else self._decoder.retry
        backoff = 2.0**self._attempts if self._attempts else 0.0
        self._attempts = min(self._attempts + 1, 10)
        self._timer = self._link.later(min(max(wish, backoff, SHORTEST_DELAY), LONGEST_DELAY), self.open)
