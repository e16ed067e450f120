"""uvicorn's WebSocket protocol, with bounds where it has none.

uvicorn stops reading until the application has taken a message, and holds `send` back while the client does
not read. What is missing there, and stands here:

- A message may come in any number of empty fragments, and any number of messages in one read: both are
  counted.
- Pings are answered whether or not the answers are read: a client that reads none of them is cut off.
- A connection that is to be closed waits for as long as its client does not read: it is cut off in the end.
- A handshake that the library refuses for its form can fail an assertion: it is answered.

Messages are never compressed: a small message cannot become a large one. Nothing that the library logs of a
handshake is kept: tokens stand in it.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any, Final

import msgspec
from uvicorn._types import ASGISendEvent
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.datastructures import Headers
from websockets.frames import Frame
from websockets.http11 import Response

from fairlead.core.admission import SECURITY_HEADERS
from fairlead.model.errors import Fault, Problem
from fairlead.web.live_messages import LAST_WORD
from fairlead.web.problems import PROBLEM_JSON

MAX_MESSAGE: Final = 64 * 1024  # bytes
MAX_FRAGMENTS: Final = 1024  # of one message
MAX_QUEUED: Final = 512  # messages that came in one read
MAX_UNREAD: Final = 2**20  # bytes that wait in our memory for a client
PING_INTERVAL: Final = 20.0  # s
PING_TIMEOUT: Final = 20.0  # s
LINGER: Final = 5.0  # s in which a client may still read what was said last

UVICORN: Final[dict[str, Any]] = {
    "ws_max_size": MAX_MESSAGE,
    "ws_ping_interval": PING_INTERVAL,
    "ws_ping_timeout": PING_TIMEOUT,
    "ws_per_message_deflate": False,
}
"""What `uvicorn.Config` needs beside `ws=LiveSocket`."""

_LOGGER: Final = logging.getLogger("fairlead.web.socket")
_LOGGER.setLevel(logging.WARNING)


def _reject(status: int, _: str = "") -> Response:
    """The library's own refusals, in our words: its text repeats headers, which may hold a token."""
    phrase = HTTPStatus(status).phrase
    detail = "This is not the handshake of a WebSocket (RFC 6455, 4.2.1)."
    problem = Problem("bad-handshake", phrase.capitalize(), detail, status, Fault.CLIENT)
    body = msgspec.json.encode(problem.document(""))
    headers = [(name.decode(), value.decode()) for name, value in SECURITY_HEADERS]
    headers += [("content-type", PROBLEM_JSON), ("content-length", str(len(body))), ("connection", "close")]
    return Response(status, phrase, Headers(headers), body)


class LiveSocket(WebSocketsSansIOProtocol):
    """One WebSocket. See the top of this file."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = self.conn.logger = _LOGGER
        self.conn.debug = False
        self.conn.reject = _reject  # type: ignore[assignment, method-assign]

    def data_received(self, data: bytes) -> None:
        if not self.handshake_initiated:
            self.conn.receive_data(data)
            if self.conn.handshake_exc is not None:
                self._refuse_handshake()
                return
            self.handle_events()
            return
        super().data_received(data)
        if self.transport.get_write_buffer_size() > MAX_UNREAD:
            self.transport.abort()

    def _refuse_handshake(self) -> None:
        answer = b"".join(self.conn.data_to_send())
        self.handshake_complete = self.close_sent = True
        self.transport.write(answer or _reject(400).serialize())
        self.transport.close()

    def handle_cont(self, event: Frame) -> None:
        if self.close_sent:
            return
        super().handle_cont(event)
        if len(self.frames) > MAX_FRAGMENTS:
            self._fail(1009, "too many fragments")

    def send_receive_event_to_app(self) -> None:
        super().send_receive_event_to_app()
        if self.queue.qsize() > MAX_QUEUED:
            self._fail(1008, "too many messages at once")

    def _fail(self, code: int, reason: str) -> None:
        self.frames = []
        if not self.close_sent:
            self.conn.fail(code, reason)
            self.handle_parser_exception()

    def handle_parser_exception(self) -> None:
        """Say what is wrong. Closing while the client still sends would reset what it is to read."""
        close = self.conn.close_sent
        if self.close_sent or close is None:
            return
        self.close_sent = True
        self.queue.put_nowait({"type": "websocket.disconnect", "code": close.code, "reason": close.reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.transport.resume_reading()
        self.close_timer = self.loop.call_later(LINGER, self.transport.abort)

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self.transport.abort()

    async def send(self, message: ASGISendEvent) -> None:
        if self.close_sent:
            raise ClientDisconnected
        if message["type"] == "websocket.close":
            self.writable.set()  # a few bytes, which may still be read
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True  # by a refusal

    async def run_asgi(self) -> None:
        await super().run_asgi()
        self.loop.call_later(LINGER, self.transport.abort)

    def shutdown(self) -> None:
        """The service stops. The application tells its clients so; what it does not end is ended here."""
        self.loop.call_later(LAST_WORD, super().shutdown)
        self.loop.call_later(LAST_WORD + 1.0, self.transport.abort)
