"""The HTTP transport of 2024-11-05: one event stream brings everything, messages are posted beside it.

The stream's first event, `endpoint`, says where to post. It must be of the same origin: the configured
headers, secrets among them, go there. When the stream ends, so does the link.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from fairlead.drivers.http_answer import event_frames, is_event_stream, read_refusal, refusal_of
from fairlead.drivers.http_connection import MAX_MESSAGE, Exchange, Lane
from fairlead.drivers.http_endpoint import upstream_problem
from fairlead.drivers.remote_link import ACCEPT_TIMEOUT, INITIALIZED, NEVER_TWICE, RemoteLink, Target
from fairlead.mcp.param_headers import Pairs
from fairlead.mcp.sse import SseDecoder, SseError
from fairlead.model.errors import ProblemError
from fairlead.model.launch import RemoteLaunch
from fairlead.ports import LinkListener

_CHECK = "Check `url` and `transport` in the fleet file: newer servers speak streamable-http."


class LegacySseLink(RemoteLink):
    """See the module's head."""

    def __init__(
        self,
        launch: RemoteLaunch,
        target: Target,
        listener: LinkListener,
        on_end: Callable[[RemoteLink], None],
    ) -> None:
        super().__init__(launch, target, listener, on_end)
        self._head = b""  # of each POST, once the endpoint is known
        self._posts: dict[_Post, asyncio.TimerHandle] = {}  # not yet taken by the server

    async def connect(self) -> None:
        await super().connect()
        endpoint = self.target.endpoint
        head = self.target.head("GET", endpoint.target, "text/event-stream")
        stream = _EventStream(self, head + b"\r\n")
        self.pool.submit(stream)
        done, _ = await asyncio.wait((stream.endpoint,), timeout=self._launch.connect_timeout)
        if not done:
            detail = f"{endpoint} opened no event stream within {self._launch.connect_timeout:g} s. {_CHECK}"
            raise upstream_problem("connect-timeout", "No event stream", detail)
        self._post_to(stream.endpoint.result())

    def _post_to(self, reference: str) -> None:
        here = self.target.endpoint
        try:
            there = here.join(reference)
            same = there.origin == here.origin
        except ProblemError:
            same = False
        if not same:
            detail = f"{here} wants messages posted to another origin. Headers for it would go to a stranger."
            raise upstream_problem("foreign-endpoint", "Endpoint refused", detail)
        head = self.target.head("POST", there.target, "application/json, text/event-stream")
        self._head = head + b"Content-Type: application/json\r\n"

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
        request = b"%bContent-Length: %d\r\n\r\n%b" % (self._head, len(frame), frame)
        post = _Post(self, request, method, request_id)
        self._posts[post] = asyncio.get_running_loop().call_later(ACCEPT_TIMEOUT, self._not_taken, post)
        self.pool.submit(post)
        if method == INITIALIZED:
            self.pool.hold()

    def abandon(self, request_id: int) -> bool:
        for post in self._posts:
            if post.request_id == request_id and post.connection is None:
                self.pool.withdraw(post)
                self.taken(post)
                return True
        return False

    def negotiated(self, version: str) -> None:
        """Nothing depends on it here: this transport knows no version header."""

    def taken(self, post: _Post) -> None:
        """The POST is over, one way or the other."""
        if (timer := self._posts.pop(post, None)) is not None:
            timer.cancel()
        if post.method == INITIALIZED:
            self.pool.release()

    def _not_taken(self, post: _Post) -> None:
        self.pool.withdraw(post)
        post.failed(f"the server did not take the message within {ACCEPT_TIMEOUT:g} s")

    def _drop_timers(self) -> None:
        for timer in self._posts.values():
            timer.cancel()
        self._posts.clear()


class _EventStream(Exchange):
    """The GET that brings everything. `endpoint` gets the first event's data, or a ProblemError."""

    __slots__ = ("_decoder", "_headers", "_link", "_status", "endpoint")

    def __init__(self, link: LegacySseLink, request: bytes) -> None:
        super().__init__(request, Lane.STREAMS)
        self._link = link
        self._decoder = SseDecoder(max_event=MAX_MESSAGE)
        self._status = 0
        self._headers: dict[bytes, bytes] = {}
        self.endpoint: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def begun(self, status: int, headers: dict[bytes, bytes]) -> bool:
        self._status = status
        self._headers = headers
        return is_event_stream(status, headers)

    def received(self, data: bytes) -> None:
        try:
            events = self._decoder.feed(data)
        except SseError as error:
            self._link.pool.withdraw(self)
            self.failed(str(error))
            return
        for event in events:
            if event.event == "endpoint" and not self.endpoint.done():
                self.endpoint.set_result(event.data.decode("utf-8", "replace"))
            for frame in event_frames(event):
                self._link.inbox.frame(frame)

    def ended(self, body: bytes) -> None:
        if is_event_stream(self._status, self._headers):
            self.failed("the server ended its event stream")
        else:
            self.failed(refusal_of(self._status, self._headers, body, now=time.time()).reason)

    def failed(self, reason: str) -> None:
        if self.endpoint.done():
            self._link.lose(reason)
        else:
            detail = f"{self._link.target.endpoint}: {reason}. {_CHECK}"
            self.endpoint.set_exception(upstream_problem("no-event-stream", "No event stream", detail))


class _Post(Exchange):
    """One message on its way; its answer comes on the event stream."""

    __slots__ = ("_headers", "_link", "_status", "method", "request_id")

    def __init__(self, link: LegacySseLink, request: bytes, method: str, request_id: int | None) -> None:
        lane = Lane.SIDE if request_id is None else Lane.CALLS
        super().__init__(request, lane, repeatable=method not in NEVER_TWICE)
        self.method = method
        self.request_id = request_id
        self._link = link
        self._status = 0
        self._headers: dict[bytes, bytes] = {}

    def begun(self, status: int, headers: dict[bytes, bytes]) -> bool:
        self._status = status
        self._headers = headers
        return False

    def ended(self, body: bytes) -> None:
        self._link.taken(self)
        if self._status == 404:
            self._link.lose("session ended by the server", refused=self.request_id)
        elif self.request_id is not None and not 200 <= self._status < 300:
            refusal = read_refusal(self._status, self._headers, body, self.request_id, now=time.time())
            if isinstance(refusal, bytes):
                self._link.inbox.frame(refusal)
            else:
                self._link.inbox.failed(self.request_id, refusal.reason, refusal.retry_after)

    def failed(self, reason: str) -> None:
        self._link.taken(self)
        if self.request_id is not None:
            self._link.inbox.failed(self.request_id, reason)
