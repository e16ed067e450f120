"""Streamable HTTP: every message is a POST, its answer comes as JSON or as an event stream.

How it works. A message becomes a `Post`, an exchange that takes itself to its end: it reads the head, then
either collects one JSON body or decodes events as they come, hands on every message, and settles. What is
between requests (the session id, the version header, the stream on which a legacy server speaks first) is
the link's.

The two eras differ in what a closed stream means. Modern: closing it is how a request is cancelled. Legacy:
it is not; the request gets `notifications/cancelled`, and where the server leaves the stream open all the
same it is closed after a while, so that a cancelled call does not hold its connection for ever. A legacy
stream that breaks after events with ids is taken up again with `Last-Event-ID`.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable

import structlog

from fairlead.drivers.http_answer import (
    EVENT_STREAM,
    JSON,
    answers,
    content_type,
    event_frames,
    frames_of,
    knows_no_session,
    read_refusal,
)
from fairlead.drivers.http_connection import MAX_MESSAGE, Exchange, Lane
from fairlead.drivers.listening import Listening
from fairlead.drivers.remote_link import ACCEPT_TIMEOUT, INITIALIZED, NEVER_TWICE, RemoteLink, Target
from fairlead.mcp.eras import Era, era_of_header
from fairlead.mcp.headers import encode_header_value
from fairlead.mcp.param_headers import Pairs
from fairlead.mcp.sse import SseDecoder, SseError
from fairlead.model.launch import RemoteLaunch
from fairlead.ports import LinkListener

LISTEN_TIMEOUT = 0.5  # s that requests wait for the stream on which the server speaks first
ABANDON_GRACE = 10.0  # s between a legacy cancellation and the end of the request's stream
RESUME_DELAY = 1.0  # s before a broken stream is taken up again, unless the server says otherwise
MIN_RESUME_DELAY, MAX_RESUME_DELAY = 0.05, 30.0  # s, whatever the server says
MAX_RESUMPTIONS = 3  # in a row that brought nothing

_log = structlog.get_logger(__name__)
_SESSION_ID = re.compile(rb"[\x21-\x7e]{1,1024}")
_LANES = {
    "subscriptions/listen": Lane.STREAMS,
    "ping": Lane.SIDE,  # health must not wait behind the calls that it is about
    "server/discover": Lane.SIDE,
}


class Post(Exchange):
    """One message on its way to the server, and what comes back for it."""

    __slots__ = (
        "_answered",
        "_decoder",
        "_headers",
        "_kind",
        "_link",
        "_resumptions",
        "_status",
        "abandoned",
        "method",
        "modern",
        "request_id",
        "timer",
    )

    def __init__(self, link: StreamableLink, request: bytes, method: str, request_id: int | None) -> None:
        lane = Lane.SIDE if request_id is None else _LANES.get(method, Lane.CALLS)
        super().__init__(request, lane, repeatable=method not in NEVER_TWICE)
        self.method = method
        self.request_id = request_id
        self.modern = link.modern
        self.abandoned = False  # nobody waits for its answer any more
        self.timer: asyncio.TimerHandle | None = None
        self._link = link
        self._status = 0
        self._headers: dict[bytes, bytes] = {}
        self._kind = b""  # the media type of a 2xx
        self._decoder: SseDecoder | None = None
        self._answered = False
        self._resumptions = 0

    @property
    def unsent(self) -> bool:
        """Nothing of it is on the way: it waits for a connection."""
        return self.connection is None and self.timer is None and self._status == 0

    def begun(self, status: int, headers: dict[bytes, bytes]) -> bool:
        self._status = status
        self._headers = headers
        self._kind = content_type(headers) if 200 <= status < 300 else b""
        if self.method == "initialize" and status < 300:
            self._link.session_given(headers.get(b"mcp-session-id"))
        if self._kind != EVENT_STREAM:
            return False
        last = self._decoder.last_event_id if self._decoder else ""
        self._decoder = SseDecoder(max_event=MAX_MESSAGE, last_event_id=last)
        return True

    def received(self, data: bytes) -> None:
        assert self._decoder is not None
        try:
            events = self._decoder.feed(data)
        except SseError as error:
            self._link.pool.withdraw(self)
            self._fail(str(error))
            return
        if events:
            self._resumptions = 0
        for event in events:
            self._hand_on(event_frames(event))
        if self._answered:
            self._link.pool.linger(self)

    def ended(self, body: bytes) -> None:
        if self._finds_no_session(body):
            taken = self._decoder is not None  # its stream had begun
            self._link.lose("session ended by the server", refused=None if taken else self.request_id)
        elif self.request_id is None:
            self._link.noticed(self, accepted=self._status < 300)
        elif self._kind == EVENT_STREAM:
            if not self._answered:
                self._broken("the server ended the event stream before its answer")
        elif self._kind == JSON:
            self._hand_on(frames_of(body))
            if not self._answered:
                self._fail("the server's HTTP answer holds no answer to the request")
        else:
            self._refused(self.request_id, body)

    def _finds_no_session(self, body: bytes) -> bool:
        if not self._link.has_session or self.method == "initialize":
            return False
        return self._status == 404 or (self._decoder is None and knows_no_session(self._status, body))

    def failed(self, reason: str) -> None:
        if self.request_id is None:
            self._link.noticed(self, accepted=False)
        elif not self._answered:
            self._broken(reason)

    def _hand_on(self, frames: list[bytes]) -> None:
        for frame in frames:
            if self.request_id is not None and not self._answered and answers(frame, self.request_id):
                self._answered = True
                self._link.settled(self)
            self._link.inbox.frame(frame, self.request_id)

    def _refused(self, request_id: int, body: bytes) -> None:
        refusal = read_refusal(self._status, self._headers, body, request_id, now=time.time())
        if isinstance(refusal, bytes):
            self._hand_on([refusal])
        else:
            self._fail(refusal.reason, refusal.retry_after)

    def _broken(self, reason: str) -> None:
        """No answer has come, and none will on this connection: take the stream up again or give up."""
        decoder = self._decoder
        if self.abandoned or self.modern or decoder is None or not decoder.last_event_id:
            self._fail(reason)
        elif self._resumptions >= MAX_RESUMPTIONS:
            self._fail(f"{reason}; it could not be taken up again")
        else:
            self._resumptions += 1
            self.request = self._link.get_request(decoder.last_event_id)
            self.repeatable = True
            wish = RESUME_DELAY if decoder.retry is None else decoder.retry
            delay = min(max(wish, MIN_RESUME_DELAY) * self._resumptions, MAX_RESUME_DELAY)
            self.timer = self._link.later(delay, self._resume)

    def _resume(self) -> None:
        self.timer = None
        self._link.pool.submit(self)

    def _fail(self, reason: str, retry_after: float | None = None) -> None:
        self._link.settled(self)
        if not self.abandoned and self.request_id is not None:
            self._link.inbox.failed(self.request_id, reason, retry_after)


class StreamableLink(RemoteLink):
    """See the module's head."""

    def __init__(
        self,
        launch: RemoteLaunch,
        target: Target,
        listener: LinkListener,
        on_end: Callable[[RemoteLink], None],
    ) -> None:
        super().__init__(launch, target, listener, on_end)
        path = target.endpoint.target
        post = target.head("POST", path, "application/json, text/event-stream")
        self._first = post + b"Content-Type: application/json\r\n"  # `initialize` has no version yet
        self._prefix = self._first
        self._get = target.head("GET", path, "text/event-stream")
        self._delete = target.head("DELETE", path, "*/*")
        self._context = b""  # the header lines that every later message carries
        self._version: str | None = None
        self._session: bytes | None = None
        self._requests: dict[int, Post] = {}
        self._notices: set[Post] = set()
        self._listening: Listening | None = None
        self._patience: asyncio.TimerHandle | None = None  # for its first answer
        self.modern = False

    # ports.Link

    def send(
        self,
        frame: bytes,
        method: str,
        request_id: int | None,
        name: str | None,
        parameters: Pairs = (),
    ) -> None:
        if self.over:
            return
        head = self._first if method == "initialize" else self._prefix
        if self.modern:
            head += _routing(method, name, parameters)
        request = b"%bContent-Length: %d\r\n\r\n%b" % (head, len(frame), frame)
        post = Post(self, request, method, request_id)
        if request_id is not None:
            self._requests[request_id] = post
        else:
            self._notices.add(post)
            post.timer = self.later(ACCEPT_TIMEOUT, self._not_accepted, post)
        self.pool.submit(post)
        if method == INITIALIZED:
            self.pool.hold()

    def abandon(self, request_id: int) -> bool:
        post = self._requests.get(request_id)
        if post is None:
            return self.modern
        if post.modern or post.unsent:
            self._drop(post)
            return True
        post.abandoned = True
        if post.timer is not None:  # it waits to take its stream up again
            self._drop(post)
        else:
            post.timer = self.later(ABANDON_GRACE, self._drop, post)
        return False

    def negotiated(self, version: str) -> None:
        self._version = version
        self.modern = era_of_header(version) is Era.MODERN
        self._set_context()

    # What posts and the listening stream tell and ask

    @property
    def has_session(self) -> bool:
        return self._session is not None and not self.modern

    def later(self, delay: float, action: Callable[..., None], *args: object) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(delay, action, *args)

    def get_request(self, last_event_id: str) -> bytes:
        """A GET for an event stream, taken up behind `last_event_id` unless that is empty."""
        resume = f"Last-Event-ID: {encode_header_value(last_event_id)}\r\n" if last_event_id else ""
        return self._get + self._context + resume.encode("ascii") + b"\r\n"

    def session_given(self, session: bytes | None) -> None:
        """What the answer to `initialize` says of the session."""
        if session is not None and not _SESSION_ID.fullmatch(session):
            self.lose("the server gave a session id that is not visible ASCII")
            return
        self._session = session
        self._set_context()

    def settled(self, post: Post) -> None:
        """A request has its answer or its failure."""
        if post.request_id is not None and self._requests.get(post.request_id) is post:
            del self._requests[post.request_id]
        if post.timer is not None:
            post.timer.cancel()

    def noticed(self, post: Post, *, accepted: bool) -> None:
        """A notification or an answer of ours has been taken, or not."""
        self._notices.discard(post)
        if post.timer is not None:
            post.timer.cancel()
        if not accepted:
            _log.warning("message not accepted", instance=self._launch.instance_id, method=post.method)
        if post.method == INITIALIZED:
            if accepted and not self.modern and not self.over:
                self._listen()
            else:
                self.pool.release()

    def _listen(self) -> None:
        """Open the stream on which the server speaks first, then let requests go: it may ask at once."""
        release = self.pool.release
        timer = self._patience = self.later(LISTEN_TIMEOUT, release)

        def opened() -> None:
            timer.cancel()
            release()

        self._listening = Listening(self, opened)
        self.pool.release(Lane.STREAMS)
        self._listening.open()

    def _set_context(self) -> None:
        context = ""
        if self._version is not None:
            context = f"MCP-Protocol-Version: {encode_header_value(self._version)}\r\n"
        self._context = context.encode("ascii")
        if self._session is not None and not self.modern:
            self._context += b"Mcp-Session-Id: %b\r\n" % self._session
        self._prefix = self._first + self._context

    def _not_accepted(self, post: Post) -> None:
        self.pool.withdraw(post)
        self.noticed(post, accepted=False)

    def _drop(self, post: Post) -> None:
        post.abandoned = True
        self.settled(post)
        self.pool.withdraw(post)

    # The end

    async def _say_goodbye(self) -> None:
        for post in (*self._requests.values(), *self._notices):
            self.pool.withdraw(post)
        self._drop_timers()
        self.pool.release()
        if self.has_session:
            farewell = _Farewell(self._delete + self._context + b"\r\n")
            self.pool.submit(farewell)
            await asyncio.wait((farewell.over,), timeout=self._launch.stop_grace)

    def _drop_timers(self) -> None:
        for post in (*self._requests.values(), *self._notices):
            if post.timer is not None:
                post.timer.cancel()
        self._requests.clear()
        self._notices.clear()
        if self._patience is not None:
            self._patience.cancel()
        if self._listening is not None:
            self._listening.stop()


class _Farewell(Exchange):
    """DELETE ends the session. A server may refuse it (405); there is nothing to do about that."""

    __slots__ = ("over",)

    def __init__(self, request: bytes) -> None:
        super().__init__(request, Lane.SIDE)
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def ended(self, body: bytes) -> None:
        if not self.over.done():
            self.over.set_result(None)

    def failed(self, reason: str) -> None:
        self.ended(b"")


def _routing(method: str, name: str | None, parameters: Pairs) -> bytes:
    """The headers of the modern era that say what is asked for."""
    lines = f"Mcp-Method: {encode_header_value(method)}\r\n" if method else ""
    if name is not None:
        lines += f"Mcp-Name: {encode_header_value(name)}\r\n"
    for header, value in parameters:
        lines += f"{header}: {encode_header_value(value)}\r\n"
    return lines.encode("ascii")
