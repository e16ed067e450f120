"""One request of a client and its answer, on their way through the fast lane (see `lane.py`).

An `Exchange` is a slot of its connection, the reply of the call that was forwarded for it, and, where
something has to be said before the result, an event stream. Its hot half is `send` and `answered`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Raw
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from fairlead.mcp import eras
from fairlead.mcp.eras import NO_META, Era, Meta
from fairlead.mcp.errors import (
    HEADER_MISMATCH,
    HTTP_STATUS,
    INVALID_PARAMS,
    OVERLOADED,
    UPSTREAM_FAILED,
    McpError,
)
from fairlead.mcp.log_levels import is_heard
from fairlead.mcp.messages import (
    FromServer,
    error,
    join_members,
    notification,
    one_line,
    result,
)
from fairlead.mcp.param_headers import Pairs
from fairlead.mcp.profiles import CAPABILITY_OF, Profile
from fairlead.mcp.rewrite import wrap_uris
from fairlead.model.errors import Problem
from fairlead.model.fleet import Sharing
from fairlead.orchestrator.gateway.bridge import URL_ELICITATION_REQUIRED
from fairlead.orchestrator.gateway.event_store import Stream
from fairlead.orchestrator.gateway.head import (
    Head,
)
from fairlead.orchestrator.gateway.refused import refused_request, word_of
from fairlead.orchestrator.gateway.tracing import TracedCall
from fairlead.orchestrator.instance import MCPServerInstance
from fairlead.orchestrator.metrics import CallStats, Outcome
from fairlead.orchestrator.negotiation import GATEWAY_INFO
from fairlead.orchestrator.replies import Failure, FailureKind, result_of, too_large
from fairlead.orchestrator.server_requests import ServerRequest

if TYPE_CHECKING:
    from fairlead.orchestrator.exclusive import Need
    from fairlead.orchestrator.gateway.lane import Lane
    from fairlead.orchestrator.gateway.rounds import Rounds
    from fairlead.orchestrator.pool import ServerPool

MAX_HELD: Final = 2 * 2**20  # bytes of a stream that its client does not read
CANCELLED: Final = -32800  # the code that LSP and the SDKs know for it


class Exchange:
    """One request and its answer. The reply of a forwarded call, and the stream of a listening client."""

    __slots__ = (
        "_ended", "_held", "_held_size", "_streaming", "earlier", "exposed", "furthest", "gateway", "head",
        "id", "instance", "keep", "lacking", "lane", "meta", "method", "name", "need", "number", "parameters",
        "params", "pool", "prefers", "progress_token", "replays", "rounds", "safe", "server", "span",
        "started", "stats", "stream", "waiting",
    )  # fmt: skip

    def __init__(self, lane: Lane, head: Head, started: float) -> None:
        self.lane: Lane | None = lane  # None once the client has gone, or the stream goes on elsewhere
        self.stream: Stream | None = None  # of a legacy session: what is said is kept, and can be resumed
        self.gateway = lane.gateway
        self.head = head
        self.started = started  # loop time, s; not rounded as uvloop's own is
        self.id = b"null"  # the client's id, as JSON
        self.method = ""
        self.stats: CallStats | None = None  # once the call is forwarded
        self.pool: ServerPool | None = None
        self.params = b""
        self.meta = NO_META
        self.name = ""  # the server's own, of the tool, prompt or resource
        self.exposed = ""  # the same as the client says it
        self.parameters: Pairs = ()  # arguments that headers repeat
        self.need: Need | None = None  # what its instance must be able to ask the client
        self.prefers: str | None = None  # the instance that began it, in an earlier round
        self.lacking = ""  # the capability that its client would have needed
        self.rounds: Rounds | None = None  # of a modern server that needs input of a legacy client
        self.safe = False  # the call does no harm when it happens twice
        self.replays = 0
        self.furthest = float("-inf")  # progress that was told since the call was replayed
        self.instance: MCPServerInstance | None = None
        self.number = 0  # the instance's number for it
        self.earlier: tuple[tuple[MCPServerInstance, int], ...] = ()  # that may still answer, too
        self.keep: Callable[[bytes], None] | None = None  # what is to be kept for others gets the result
        self.waiting: asyncio.Task[None] | None = None  # for an instance, or for the first lists
        self.server: str | None = None  # whose URIs must be wrapped
        self.span: TracedCall | None = None  # while it is in flight, where calls are traced
        self.progress_token: bytes | None = None
        self._streaming = False
        self._ended = False
        self._held: list[bytes] = []
        self._held_size = 0

    def __repr__(self) -> str:
        return f"<Exchange {self.method} {self.id!r} streaming={self._streaming} ended={self._ended}>"

    @property
    def ended(self) -> bool:
        return self._ended

    # -- forwarding --------------------------------------------------------------------------------------

    own = False  # see Reply

    def forward(
        self, instance: MCPServerInstance, pool: ServerPool, params: bytes, meta: Meta, name: str
    ) -> None:
        """Give the call to an instance. `params` is an object without `_meta`; `name` is the server's own."""
        self.params, self.meta, self.name = params, meta, name
        self.progress_token = meta.progress_token
        self.send(instance, pool)

    def send(self, instance: MCPServerInstance, pool: ServerPool) -> None:
        """Send it, for the first time or again: as it would be if it had just come, but for its deadline."""
        params, meta = self.params, self.meta
        token = instance.next_token() if self.progress_token is not None else None
        if (session := self.head.session) is not None and instance.era is Era.MODERN:
            meta = session.as_modern(meta)
        upstream_meta = eras.meta_for(instance.era, meta, GATEWAY_INFO, token)
        if upstream_meta:
            comma = b"," if params != b"{}" else b""
            params = b'%b%b"_meta":%b}' % (params[:-1], comma, upstream_meta)
        self.instance = instance
        deadline = self.started + pool.spec.timeouts.call
        self.number = instance.forward(
            self.method, params, self, deadline=deadline, name=self.name, parameters=self.parameters
        )

    # -- the reply of an instance ------------------------------------------------------------------------

    def answered(self, message: FromServer) -> None:
        if self._ended:
            return
        if self.replays:
            self._forget_others()
        head = self.head
        raw = result_of(message)
        if self.lacking:
            raw = self.gateway.bridge.for_lack_of(self, raw)
        if isinstance(raw, McpError):
            if raw.code == URL_ELICITATION_REQUIRED and self.gateway.bridge.url_required(self, raw):
                return
            if raw.code == HEADER_MISMATCH and self.pool is not None:
                self.pool.lists_changed()  # its headers were made of a schema that is old by now
            self._end_with(raw.concealed(self.gateway.conceal))  # a server may tell its environment
            return
        size = len(raw)
        if size > self.gateway.max_answer:
            self._end_with(too_large(size, self.gateway.max_answer))
            return
        if b'"input_required"' in raw and self.gateway.bridge.needs_input(self, raw):
            return
        if self.keep is not None:
            self.keep(raw)
        if self.meta.tasks and b'"taskId"' in raw:
            raw = self.gateway.tasks.relay(self, raw)
        self._leave(Outcome.TOOL_ERROR if b'"isError":true' in raw else Outcome.OK, size)
        if self.server is not None:
            raw = wrap_uris(self.method, raw, self.server)
        modern = head.era is Era.MODERN
        raw = eras.complete_result(self.method, raw) if modern else eras.strip_result_type(raw)
        if modern and self.method == "resources/read" and self._of_one_session:
            raw = eras.as_private(raw)
        self.finish(200, result(self.id, raw))

    def _end_with(self, error: McpError) -> None:
        """The server, which has done its part, has no result for the client."""
        if self.span is not None:
            self.span.failed(error)
        self._leave(Outcome.RPC_ERROR)
        self.fail(error)

    @property
    def _of_one_session(self) -> bool:
        """The server holds state for each session."""
        return self.pool is not None and self.pool.spec.sharing is Sharing.SESSION

    def failed(self, failure: Failure) -> None:
        if not self._ended and not self._runs():
            self.gateway.forwarder.call_failed(self, failure)

    def stuck(self) -> None:
        if not self._ended:
            self.gateway.forwarder.call_stuck(self)

    def asked(self, request: ServerRequest) -> None:
        self.gateway.bridge.asked(self, request)

    def unable(self, method: str) -> None:
        if not self.profile.can(method):  # else the server was not told that it could
            self.lacking = CAPABILITY_OF.get(method, "")

    def told(self, method: str, params: bytes) -> None:
        if not self._ended and self.head.accepts_stream and self._hears(params):
            self.event(notification(method, params))

    @property
    def profile(self) -> Profile:
        """What its client can be asked."""
        session = self.head.session
        return self.meta.profile if session is None else session.profile

    @property
    def log_level(self) -> str | None:
        """From which on its client wants to hear messages, where it said so."""
        session = self.head.session
        if session is not None:
            return session.log_level
        return self.meta.log_level

    def _hears(self, params: bytes) -> bool:
        """Messages are for who asked for them, and for who has the server, or a stream of it, alone."""
        level, instance = self.log_level, self.instance
        if level is not None:
            return is_heard(params, level)
        alone = instance is not None and (instance.remote or instance.leased_to is not None)
        return alone and self.head.era is Era.LEGACY

    def give_up(self, failure: Failure, not_replayed: str = "") -> None:
        """End with a failure that cannot be mended; `not_replayed` says why not."""
        timed_out = failure.kind is FailureKind.TIMED_OUT
        error = failure.as_error(not_replayed)
        if self.span is not None:
            self.span.failed(error)
        self._leave(Outcome.TIMEOUT if timed_out else Outcome.UPSTREAM_FAILED)
        self.fail(error)

    def attempts(self) -> list[tuple[MCPServerInstance, int]]:
        """Where the call is on its way now."""
        latest = () if self.instance is None else ((self.instance, self.number),)
        return [(i, number) for i, number in (*self.earlier, *latest) if i.is_pending(number)]

    def stay_with(self, chosen: MCPServerInstance) -> None:
        """Only this instance's attempt goes on: the others must not do again what it has come to."""
        for instance, number in self.attempts():
            if instance is chosen:
                self.instance, self.number = instance, number
            else:
                instance.cancel(number, "another instance goes on")
        if self.waiting is not None:
            self.waiting.cancel()
        self.earlier = ()

    def _runs(self) -> bool:
        """Some attempt may still bring an answer."""
        return bool(self.attempts()) or (self.waiting is not None and not self.waiting.done())

    def _forget_others(self) -> None:
        """One attempt has brought the answer."""
        for instance, number in self.attempts():
            instance.cancel(number, "another instance has answered")
        if self.waiting is not None:
            self.waiting.cancel()
        self.earlier = ()

    def progressed(self, params: dict[str, Raw]) -> None:
        if self.progress_token is None or self._ended or not self.head.accepts_stream:
            return
        if self.replays and not self._is_further(params):
            return  # of an attempt that is behind another one
        members: dict[str, Raw | bytes] = {**params, "progressToken": self.progress_token}
        self.event(notification("notifications/progress", join_members(members)))

    def _is_further(self, params: dict[str, Raw]) -> bool:
        """Progress must grow, though several attempts tell of it."""
        try:
            progress = msgspec.json.decode(params.get("progress", Raw(b"")), type=float)
        except msgspec.DecodeError:
            return False
        further = progress > self.furthest
        self.furthest = max(self.furthest, progress)
        return further

    def _leave(self, outcome: Outcome, size: int = 0) -> None:
        """The call is no longer in flight."""
        self.gateway.leave(self, outcome, size)
        self.instance = None

    def cancel(self, reason: str) -> None:
        """Nobody waits any more: tell the server, and end."""
        if self.waiting is not None:
            self.waiting.cancel()
        for instance, number in self.attempts():
            instance.cancel(number, reason)
        if self.stats is not None:
            self._leave(Outcome.CANCELLED)
        if not self._ended:
            self.fail(McpError(CANCELLED, f"Request cancelled: {reason}"))

    # -- answering the client ----------------------------------------------------------------------------

    def fail(self, refused: McpError, extra: bytes = b"") -> None:
        """End with a JSON-RPC error; `extra` are further headers."""
        status = refused.status
        if self.head.era is Era.MODERN:
            if refused.code == -32002:  # "resource not found" of the legacy era
                refused = McpError(INVALID_PARAMS, refused.message, refused.data)
            status = status or HTTP_STATUS.get(refused.code)
        if self.pool is None and refused.code != CANCELLED and not self._ended:  # no call has begun
            self.gateway.audit.refused(refused_request(self, word_of(refused)))
        self.finish(status or 200, error(self.id, refused.encode()), extra)

    def fail_with(self, problem: Problem, *, status: int | None = None) -> None:
        """End with a problem of ours as a JSON-RPC error; over a limit, a modern one is HTTP's 429, too."""
        limited = problem.status == 429
        if limited:
            self.gateway.metrics.refused(problem.code)
            status = 429 if self.head.era is Era.MODERN else status
        data: dict[str, Any] = {"problem": problem.code}
        extra = b""
        if problem.retry_after is not None:
            data["retryAfter"] = problem.retry_after
            extra = b"retry-after: %d\r\n" % max(1, -int(-problem.retry_after // 1))
        code = OVERLOADED if limited else UPSTREAM_FAILED
        self.fail(McpError(code, problem.detail, data, status=status), extra)

    def finish(self, status: int, body: bytes, extra: bytes = b"") -> None:
        """The last thing said: a JSON body, or the last event of a stream. `extra` are further headers."""
        if self._ended:
            return
        if self._streaming:
            self.event(body)
            self.end()
            return
        self._ended = True
        head = self.head
        if not head.accepts_json and head.accepts_stream and status == 200:
            self._ended = False
            self.event(body, extra)
            self.end()
            return
        if self.lane is not None and self.lane.leaving and head.keep_alive:
            extra += b"connection: close\r\n"
        start = STATUS_LINE[status] + extra + b"content-length: %d" % len(body)
        self._write(start + head.tails.json + body, last=True)

    def respond(self, status: int, extra: bytes = b"") -> None:
        """An answer without a body."""
        self._ended = True
        length = b"" if status == 204 else b"content-length: 0\r\n"
        self._write(STATUS_LINE[status] + length + extra + self.head.tails.common + b"\r\n", last=True)

    def event(self, message: bytes, extra: bytes = b"") -> None:
        """Say something before the result: the answer is (or becomes) an event stream."""
        if self._ended:
            return
        if not self._streaming:
            self.open(extra)
            session = self.head.session
            if session is not None and not session.ended and self.lane is not None:
                self.stream = self.gateway.streams.begin(self, session)
        if self.stream is not None:
            self.gateway.streams.say(self.stream, one_line(message))
        else:
            self.chunk(b"event: message\ndata: " + one_line(message) + b"\n\n")

    def comment(self) -> None:
        """A keep-alive that no client sees as a message."""
        if self._streaming and not self._ended:
            self.chunk(b": keep-alive\n\n")

    def open(self, extra: bytes = b"") -> None:
        """Begin an event stream, with nothing to say yet."""
        self._streaming = True
        if self.lane is not None:
            self.gateway.metrics.streams += 1
            self._write(STATUS_LINE[200] + extra + self.head.tails.stream, last=False)

    def end(self) -> None:
        """End the stream, on whichever connection it is by now."""
        if not self._ended:
            self._ended = True
            if self.stream is not None:
                self.gateway.streams.end(self.stream)
            else:
                self.hang_up()

    def hang_up(self) -> None:
        """End the stream on this connection; it may go on elsewhere."""
        lane = self.lane
        if lane is not None:
            self.lost()
            lane.write(self, b"0\r\n\r\n" if self.head.chunked_answers else b"", last=True)

    def lost(self) -> None:
        """The connection does not carry it any more."""
        if self._streaming and self.lane is not None:
            self.gateway.metrics.streams -= 1
        self.lane = None

    @property
    def reachable(self) -> bool:
        """Whether its client can be told anything on its stream, if only when it comes back."""
        return not self._ended and (self.lane is not None or self.stream is not None)

    def chunk(self, data: bytes) -> None:
        """Bytes of the stream, as they are."""
        if self.head.chunked_answers:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        self._write(data, last=False)

    def _write(self, data: bytes, *, last: bool) -> None:
        if self.lane is not None:
            self.lane.write(self, data, last=last)

    # -- as a slot ---------------------------------------------------------------------------------------

    def hold(self, data: bytes) -> bool:
        """Keep bytes until it is this slot's turn; False when too much would be kept."""
        self._held.append(data)
        self._held_size += len(data)
        return not self._streaming or self._held_size <= MAX_HELD

    def take_held(self) -> bytes:
        held, self._held, self._held_size = b"".join(self._held), [], 0
        return held
