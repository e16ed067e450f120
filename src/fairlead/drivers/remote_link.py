"""What both HTTP transports have in common: what comes in is told in order, and the end exactly once."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from fairlead import __version__
from fairlead.drivers.http_endpoint import Endpoint
from fairlead.drivers.http_pool import ConnectionPool, PoolSettings
from fairlead.kit.tasks import Tasks
from fairlead.model.errors import ProblemError
from fairlead.model.launch import RemoteLaunch
from fairlead.ports import LinkListener, LinkLost, LinkStatistics

ACCEPT_TIMEOUT = 30.0  # s for a message to be taken by the server
INITIALIZED = "notifications/initialized"  # servers refuse what overtakes it on another connection
NEVER_TWICE = frozenset({"tools/call"})  # what is not sent again where it may have run

_log = structlog.get_logger(__name__)
_SHORTEST_SECRET = 6  # characters; shorter header values are words, not secrets


@dataclass(frozen=True, slots=True)
class Target:
    """Where to send what: `headers` are the configured ones as header lines, secrets and all."""

    endpoint: Endpoint
    tls: ssl.SSLContext | None
    headers: bytes = field(repr=False)

    def head(self, method: str, target: str, accept: str) -> bytes:
        """The part of a request's head that stays the same."""
        lines = f"{method} {target} HTTP/1.1\r\nHost: {self.endpoint.authority}\r\nAccept: {accept}\r\n"
        agent = b"" if b"\r\nuser-agent:" in b"\r\n" + self.headers.lower() else _AGENT
        return lines.encode("ascii") + b"Accept-Encoding: identity\r\n" + agent + self.headers


_AGENT = f"User-Agent: fairlead/{__version__}\r\n".encode()


class Inbox:
    """Tells the listener what comes in, in order; holds it back while reading is paused.

    What is held back is bounded by what the connections had read when they were paused.
    """

    def __init__(self, listener: LinkListener, secrets: tuple[str, ...]) -> None:
        self._listener = listener
        self._secrets = secrets
        self._held: deque[tuple[bytes, int | None] | tuple[int, str, float | None]] = deque()
        self.paused = False
        self.ended = False

    def frame(self, frame: bytes, origin: int | None = None) -> None:
        """A message, and the request on whose stream it came."""
        if self.ended:
            return
        if self.paused or self._held:
            self._held.append((frame, origin))
        else:
            self._listener.frame_received(frame, origin)

    def failed(self, request_id: int, reason: str, retry_after: float | None = None) -> None:
        """Tell that a request has failed; configured headers that a server quotes are struck out."""
        if self.ended:
            return
        for secret in self._secrets:
            reason = reason.replace(secret, "***")
        if self.paused or self._held:
            self._held.append((request_id, reason, retry_after))
        else:
            self._listener.request_failed(request_id, reason, retry_after)

    def writable(self, writable: bool) -> None:
        if not self.ended:
            self._listener.writable_changed(writable)

    def resume(self) -> None:
        self.paused = False
        self._tell(lambda: self.paused)

    def lost(self, lost: LinkLost) -> None:
        """The end, once, after everything that is still held back."""
        if not self.ended:
            self._tell(lambda: False)
            self.ended = True
            self._listener.link_lost(lost)

    def _tell(self, stopped: Callable[[], bool]) -> None:
        while self._held and not stopped():
            match self._held.popleft():
                case (frame, origin):
                    self._listener.frame_received(frame, origin)
                case (request_id, reason, retry_after):
                    self._listener.request_failed(request_id, reason, retry_after)


class RemoteLink:
    """A `ports.Link` over a pool of HTTP connections. `on_end` is called when the link is over."""

    def __init__(
        self,
        launch: RemoteLaunch,
        target: Target,
        listener: LinkListener,
        on_end: Callable[[RemoteLink], None],
    ) -> None:
        self._launch = launch
        self.target = target
        self._on_end = on_end
        self.inbox = Inbox(listener, _secrets(launch.headers))
        self._tasks = Tasks(_report)
        settings = PoolSettings(target.endpoint, target.tls, launch.connect_timeout, launch.max_connections)
        self.pool = ConnectionPool(settings, self, self._tasks)
        self._closing = asyncio.Lock()
        self._released = False
        self.over = False  # lost or closed: nothing is sent any more

    def __repr__(self) -> str:
        state = "over" if self.over else "open"
        return f"{type(self).__name__}({self._launch.instance_id}: {state}, {self.pool!r})"

    async def connect(self) -> None:
        """Make sure that the server can be reached. Raises ProblemError; then only `discard` is left."""
        await self.pool.connect()

    async def discard(self) -> None:
        """Close a link that never came to be, without a word to its listener."""
        self.inbox.ended = True
        await self.close()

    # What `ports.Link` asks for, and both transports do alike

    def pause_reading(self) -> None:
        self.inbox.paused = True
        self.pool.pause_reading()

    def resume_reading(self) -> None:
        self.inbox.resume()
        if not self.inbox.paused:
            self.pool.resume_reading()

    def statistics(self) -> LinkStatistics:
        return LinkStatistics(pid=None, queued_bytes=self.pool.queued_bytes)

    async def close(self) -> None:
        self.over = True
        async with self._closing:
            if self._released:
                return
            try:
                if not self.inbox.ended:
                    await self._say_goodbye()
            finally:
                self._end(LinkLost("closed", expected=True))
                await self._tasks.close()
                await self.pool.wait_closed()
                self._released = True

    # What the transports fill in

    async def _say_goodbye(self) -> None:
        """Take leave of the server, for `stop_grace` at most."""

    def _drop_timers(self) -> None:
        """Cancel every timer of the transport's own."""

    # What the pool and the exchanges tell

    def writable_changed(self, writable: bool) -> None:
        self.inbox.writable(writable)

    def unreachable(self, problem: ProblemError) -> None:
        self.lose(problem.problem.detail)

    def lose(self, reason: str, *, refused: int | None = None) -> None:
        """The server is gone: end everything at once and say so. `refused` is a request it turned away."""
        self.over = True
        self._end(LinkLost(reason, refused=frozenset() if refused is None else frozenset({refused})))

    def _end(self, lost: LinkLost) -> None:
        self._drop_timers()
        self.pool.abort()
        self._on_end(self)
        self.inbox.lost(lost)


def _secrets(headers: dict[str, str]) -> tuple[str, ...]:
    """Header values, whole and without their scheme (`Bearer`), the longest first."""
    parts = {part for value in headers.values() for part in (value.strip(), value.strip().rpartition(" ")[2])}
    return tuple(sorted((part for part in parts if len(part) >= _SHORTEST_SECRET), key=len, reverse=True))


def _report(name: str, error: BaseException) -> None:
    _log.error("background task failed", task=name, error=repr(error))
