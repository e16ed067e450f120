"""One running MCP server and the connection to it.

An instance owns a `Link` (a process's pipes, an HTTP connection pool) and speaks JSON-RPC over it: it numbers
the requests of all callers with one counter, keeps a table of who waits for which number, and gives each
answer to its own. The hot path is `forward` and `frame_received`; both are synchronous, make no task and no
future, and touch no lock. Everything else (launching, negotiating the era, reading lists, stopping) is
ordinary asynchronous code on top of the same two.

An instance also keeps what its pool decides by: how many good answers it gave, its breaker, what the health
checks say, its weight and how busy its processes are. The hot path pays one counter for all of that; failures
and slow calls are told to the pool as they are found.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from itertools import takewhile
from typing import Any, Final, NamedTuple, Protocol

import msgspec
import structlog
from msgspec import UNSET, Raw

from fairlead.core.breaker import Breaker
from fairlead.core.health import Health
from fairlead.core.lifecycle import ENDED, InstanceState, move
from fairlead.mcp import eras
from fairlead.mcp.caching import CacheHint, read_hint, strictest
from fairlead.mcp.eras import Era
from fairlead.mcp.errors import (
    INTERNAL_ERROR,
    UPSTREAM_FAILED,
    McpError,
)
from fairlead.mcp.messages import (
    FromServer,
    decode_from_server,
    decode_members,
    encode_json,
    notification,
)
from fairlead.mcp.param_headers import Pairs
from fairlead.mcp.profiles import NOBODY, ROOTS, Profile
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.model.launch import Launch, ProcessLaunch, RemoteLaunch
from fairlead.model.status import BreakerState, InstanceStatus
from fairlead.orchestrator.ears import Ear, Ears
from fairlead.orchestrator.negotiation import GATEWAY_INFO, Negotiated, negotiate
from fairlead.orchestrator.oddities import NO_CALL, NOISE, Oddities
from fairlead.orchestrator.questions import Questions
from fairlead.orchestrator.replies import Failure, FailureKind, FutureReply, Reply, error_from_server
from fairlead.orchestrator.rules import CallRules
from fairlead.orchestrator.server_requests import ServerRequest, params_of
from fairlead.ports import Confinement, Driver, Link, LinkLost

SET_LEVEL_TIMEOUT: Final = 10.0  # s
MAX_PAGES: Final = 1000
MAX_QUEUED_BYTES: Final = 32 * 2**20  # towards the server; beyond it calls are refused

_CHANGED: Final = {
    "notifications/tools/list_changed": "tools",
    "notifications/prompts/list_changed": "prompts",
    "notifications/resources/list_changed": "resources",
}


SERVER_FAULTS: Final = frozenset({INTERNAL_ERROR, *range(-32019, -31999)}) - {-32002}
"""Codes of errors that say that the server failed; -32002 is "resource not found" of the legacy era."""

LOG = structlog.get_logger("fairlead.instance")


class InstanceListener(Protocol):
    """Gets what an instance tells of itself. Called from the event loop; must not raise."""

    def list_changed(self, instance: MCPServerInstance, kind: str) -> None: ...

    def instance_started(self, instance: MCPServerInstance) -> None:
        """It was launched; its `instance_ended` will follow."""
        ...

    def instance_ended(self, instance: MCPServerInstance, lost: LinkLost) -> None:
        """The link is gone; the calls in flight fail right after this."""
        ...

    def answered(self, instance: MCPServerInstance, number: int) -> None:
        """This request has ended with an answer; told only while the instance is `watched`."""
        ...

    def call_failed(self, instance: MCPServerInstance, reason: str, *, number: int, transport: bool) -> None:
        """A call failed by the server's fault; `transport`: it could not even be delivered."""
        ...

    def calls_slow(self, instance: MCPServerInstance, numbers: Sequence[int]) -> None:
        """These calls have by now been in flight for longer than the breaker allows."""
        ...

    def session_asked(self, instance: MCPServerInstance, request: ServerRequest) -> None:
        """The server asks something while none of its calls is in flight; it has a session of its own."""
        ...

    def session_told(self, instance: MCPServerInstance, method: str, params: bytes) -> None:
        """A notification that belongs to no call in flight, of a server that has a session of its own."""
        ...

    def resource_updated(self, instance: MCPServerInstance, uri: str) -> None:
        """`notifications/resources/updated`; the URI is the server's own."""
        ...


class PoolKey(NamedTuple):
    """What makes instances of a server equal. Those of another version get no calls."""

    server: str
    environment: str  # digest of all that the server's processes depend on
    profile: str  # which requests of its own the server may send to a client

    def __str__(self) -> str:
        return f"{self.server}@{self.environment}/{self.profile}"

    def same_version(self, other: PoolKey) -> bool:
        """Whether they differ at most in what their clients can be asked."""
        return self[:2] == other[:2]


class MCPServerInstance:
    """One running server. Create, `start`, `forward` many times, `stop`; never started twice."""

    def __init__(
        self,
        launch: Launch,
        driver: Driver,
        listener: InstanceListener,
        key: PoolKey,
        breaker: Breaker,
        *,
        profile: Profile = NOBODY,
    ) -> None:
        self.id = launch.instance_id
        self.key = key
        self.profile = profile  # what a legacy server was told that it can ask
        self.tainted = False  # a call of it was given up: what it asks from now on may belong to that one
        self.parked_since: float | None = None  # loop time, while its only call is parked
        self.log_level: str | None = None  # that a legacy server was told last
        self.breaker = breaker
        self.health = Health()
        self.rules = CallRules(float("inf"))
        self.weight = 1.0
        self.pressure = 0.0  # share of its CPU or memory that is used, as last sampled
        self.cpu_cores: float | None = None
        self.limit = 1  # of calls in flight
        # Never more than one; for calls that need one of its profile, so not in rotation.
        self.alone = self.exclusive = False
        self.watched = False  # its answers are told to the listener
        self.breaker_told = breaker.state  # to the log
        self.trials_after = 0  # the last number of before its breaker became half-open
        self.server_trials_after = 0  # and of before its server's did
        self.retiring = False  # goes as soon as another one has taken its place
        self.answers = 0  # good ones, to calls
        self.lost_calls = 0  # that were in flight when it ended
        self.errors = 0  # answers to calls that say that something failed
        self.state = InstanceState.CREATED
        self.negotiated: Negotiated | None = None
        self.era = Era.LEGACY
        self.leased_to: str | None = None
        self.started_at: float | None = None  # Unix time, s
        self.ready_at: float | None = None  # loop time, s
        self.calls_total = 0
        self.lost: LinkLost | None = None
        self._memory_limit = launch.memory_limit if isinstance(launch, ProcessLaunch) else None
        self._cpu_seconds: float | None = None  # at the last sample
        self._launch = launch
        self._driver = driver
        self._listener = listener
        self._link: Link | None = None
        self._pending: dict[int, Reply] = {}
        self._deadlines: dict[int, float] = {}
        self._next_id = 0
        self._progress = 0  # notifications of progress of calls that wait
        self.questions = Questions(self, listener)
        self._ears = Ears()
        self.tasks: dict[str, float] = {}  # the server's id of a task -> loop time until which it is kept
        self._odd = Oddities(self.id)
        self._cancelled: deque[int] = deque(maxlen=256)  # the last ones; their answers may still come
        self._spoilt = 0  # numbers up to this one were in flight when an answer was spoilt
        self._doubtful = 0  # the same, as of the last look
        self._slow_up_to = 0  # numbers of calls that were told to be slow
        self._numbers: deque[tuple[float, int]] = deque()  # when which number was the last one
        self.writable = True  # the server reads what it is sent

    def __repr__(self) -> str:
        return f"<{self.id} {self.state} pending={len(self._pending)} calls={self.calls_total}>"

    # -- the hot path ------------------------------------------------------------------------------------

    def forward(
        self,
        method: str,
        params: bytes,
        reply: Reply,
        *,
        deadline: float,
        name: str | None = None,
        parameters: Pairs = (),
    ) -> int:
        """Send a request and have its one answer given to `reply`; returns the request's number.

        `params` is a JSON object on one line; `deadline` is in loop time; `name` and `parameters` are what
        HTTP headers mirror (see `Link.send`). Only for instances that are ready.
        """
        self._next_id = number = self._next_id + 1
        self._pending[number] = reply
        self._deadlines[number] = deadline
        self.calls_total += 1
        self._link.send(  # type: ignore[union-attr] # a ready instance has a link
            b'{"jsonrpc":"2.0","id":%d,"method":"%b","params":%b}' % (number, method.encode(), params),
            method,
            number,
            name,
            parameters,
        )
        return number

    def frame_received(self, frame: bytes, origin: int | None = None) -> None:
        """One message from the server; `origin` is the request on whose stream it came, if any."""
        message = decode_from_server(frame)
        if message is None or message.method is not UNSET or type(message.id) is not int:
            self._received_other(message, frame, origin)
            return
        reply = self._pending.pop(message.id, None)
        if reply is None:
            self._answer_to_nobody(message.id, frame)
            return
        del self._deadlines[message.id]
        if message.error is UNSET and not self.rules.error_patterns:
            if not reply.own:
                self.answers += 1
        elif not reply.own:
            self._judge(message, message.id)
        try:
            reply.answered(message)
        except Exception:  # a fault with one answer must not lose the others of the same read
            LOG.exception("answer failed", instance=self.id)
        if self.watched:
            self._listener.answered(self, message.id)

    @property
    def in_flight(self) -> int:
        """Calls that wait for an answer, and the gateway's own requests."""
        return len(self._pending)

    @property
    def calls_in_flight(self) -> int:
        return sum(1 for reply in self._pending.values() if not reply.own)

    @property
    def answered_total(self) -> int:
        """Answers to calls, good or bad, and progress of calls: signs of life."""
        return self.answers + self.errors + self._progress

    def is_pending(self, number: int) -> bool:
        return number in self._pending

    @property
    def sent(self) -> int:
        """The number of the last request."""
        return self._next_id

    def calls_after(self, number: int) -> int:
        """Calls in flight that were sent after this request, but for those that wait for their clients."""
        open_ = self.questions.is_open
        return sum(1 for n, reply in self._pending.items() if n > number and not (reply.own or open_(n)))

    @property
    def room(self) -> int:
        """How many more calls it may take; its breaker bounds the trials.

        Calls from before those do not count: it was tried with them, and they may hang until their deadlines.
        """
        before = sum(1 for _ in takewhile(self.trials_after.__ge__, self._pending))
        room = self.limit - len(self._pending) + before
        if self.breaker.state is BreakerState.HALF_OPEN:
            room = min(room, (self.breaker.limit or 0) - self.calls_after(self.trials_after))
        return room

    def _judge(self, message: FromServer, number: int) -> None:
        """Whether an answer counts as a failure of the server: its own faults do, a client's do not."""
        if message.error is not UNSET and bytes(message.error) != b"null":
            self.errors += 1
            error = error_from_server(message.error)
            if error.code in SERVER_FAULTS:
                reason = f"error {error.code}: {error.message}"
                self._listener.call_failed(self, reason, number=number, transport=False)
            return
        found = None if message.result is UNSET else self.rules.failure_in(message.result)
        if found is None:
            self.answers += 1
            return
        self.errors += 1
        reason = f"an answer says {found[:100]!r}"
        self._listener.call_failed(self, reason, number=number, transport=False)

    @property
    def remote(self) -> bool:
        """It is a connection, and no process of ours."""
        return isinstance(self._launch, RemoteLaunch)

    @property
    def mirrors(self) -> bool:
        """Its server wants arguments repeated in headers, where the schema says so."""
        return self.era is Era.MODERN and self.remote

    def has_tasks(self, now: float) -> bool:
        """Whether tasks of it may still be asked for; `now` is loop time."""
        self.tasks = {task: until for task, until in self.tasks.items() if until > now}
        return bool(self.tasks)

    @property
    def aside_since(self) -> float | None:
        """Since when its only call waits for its client, who may be a person; loop time."""
        if self.parked_since is not None or not self.alone:
            return self.parked_since
        return self.questions.since

    @property
    def overloaded(self) -> bool:
        """The server does not read what it is sent."""
        return (
            not self.writable
            and self._link is not None
            and (self._link.statistics().queued_bytes > MAX_QUEUED_BYTES)
        )

    def require_ear(self) -> None:
        """Raise ProblemError when the server does not keep up with what it is sent."""
        if self.overloaded:
            detail = f"{self.id} does not keep up with what it is sent"
            raise ProblemError(Problem("server-busy", "Server busy", detail, 503, Fault.UPSTREAM, 1.0))

    def reattach(self, number: int, reply: Reply, *, deadline: float) -> bool:
        """Give the answer to this request to somebody else, by loop time; False when it is not awaited."""
        if number not in self._pending:
            return False
        self._pending[number] = reply
        self._deadlines[number] = deadline
        return True

    def next_token(self) -> int:
        """The number that the next `forward` will use: also the progress token of its call."""
        return self._next_id + 1

    # -- what else a server says -------------------------------------------------------------------------

    def _answer_to_nobody(self, number: int, frame: bytes) -> None:
        if self._ears.answered(decode_from_server(frame), number):
            return
        if number in self._cancelled:
            self._cancelled.remove(number)  # it had answered before it heard
        else:
            self._note(NO_CALL, frame)

    def _note(self, kind: str, frame: bytes) -> None:
        """Something that nobody asked for; what looks like a message may be a spoilt answer."""
        self._odd.note(kind, frame, time.monotonic())
        if b'"jsonrpc"' in frame:  # a log line in JSON is none
            self._spoilt = self._next_id

    def _received_other(self, message: FromServer | None, frame: bytes, origin: int | None) -> None:
        if message is None or message.method is UNSET:
            self._note(NOISE if message is None else NO_CALL, frame)
            return
        self._odd.notifications += 1
        if message.id is not UNSET and message.id is not None:
            self.questions.received(message, origin)
        elif message.method == "notifications/progress":
            self._received_progress(message)
        elif (kind := _CHANGED.get(message.method)) is not None:
            self._listener.list_changed(self, kind)
        elif message.method == "notifications/message":
            self._received_log(message, origin)
        elif message.method == "notifications/resources/updated":
            self._received_update(message)
        elif message.method == "notifications/subscriptions/acknowledged":
            self._ears.acknowledged(message)
        elif message.method == "notifications/tasks":
            self._ears.told(message)
        elif message.method == "notifications/cancelled":
            self._withdrawn(message)
        elif message.method == "notifications/elicitation/complete":
            self._listener.session_told(self, message.method, params_of(message))

    def _received_progress(self, message: FromServer) -> None:
        try:
            params = decode_members(message.params)
            token = msgspec.json.decode(params.get("progressToken", Raw(b"null")))
        except (McpError, msgspec.DecodeError):
            return
        reply = self._pending.get(token) if type(token) is int else None
        if reply is not None:
            self._progress += 1
            reply.progressed(params)

    def whose(self, origin: int | None) -> Reply | None:
        """The call that a message of the server belongs to: by its stream, or because there is no other.

        Where it may be about a call that was given up there is another one, which may be somebody else's.
        """
        if origin is not None:
            reply = self._pending.get(origin)
            return None if reply is None or reply.own else reply
        calls = [reply for reply in self._pending.values() if not reply.own]
        of_one_session = self.leased_to is not None and self.leased_to.startswith("session:")
        the_only_one = len(calls) == 1 and (not self.tainted or self.leased_to is not None)
        return calls[-1] if the_only_one or (calls and of_one_session) else None

    def respond(self, request: ServerRequest, answer: bytes) -> None:
        """Give the server the answer to a request of its own."""
        self.questions.answered(request)
        if self._link is not None and self.state not in ENDED:
            self._link.send(answer, "", None, None)

    def _withdrawn(self, message: FromServer) -> None:
        """The server does not want the answer to a request of its own any more."""
        try:
            wanted = bytes(decode_members(message.params).get("requestId", Raw(b"null")))
        except McpError:
            return
        if not self.questions.withdrawn(wanted) and wanted.isdigit() and len(wanted) < 20:
            self._ears.end(int(wanted), None)  # over stdio that is how a server ends a subscription

    def _received_log(self, message: FromServer, origin: int | None) -> None:
        reply = self.whose(origin)
        if reply is not None:
            reply.told("notifications/message", params_of(message))
        elif self.leased_to is not None and not self.calls_in_flight:
            self._listener.session_told(self, "notifications/message", params_of(message))

    def _received_update(self, message: FromServer) -> None:
        try:
            uri = msgspec.json.decode(decode_members(message.params).get("uri", Raw(b"null")), type=str)
        except (McpError, msgspec.DecodeError):
            return
        self._listener.resource_updated(self, uri)

    # -- listening (modern era) --------------------------------------------------------------------------

    def listen(self, wanted: dict[str, Any], ear: Ear) -> int:
        """Open a `subscriptions/listen`, which is no call; returns its number. Only when ready."""
        self._next_id = number = self._next_id + 1
        request = self._ears.open(number, wanted, ear, GATEWAY_INFO)
        self._link.send(request, "subscriptions/listen", number, None)  # type: ignore[union-attr]
        return number

    def stop_listening(self, number: int) -> None:
        """End it; nothing, when it has ended."""
        if self._ears.forget(number) and self.state not in ENDED:
            self._cancelled.append(number)
            self._withdraw(number, "no longer needed")

    # -- cancelling and time -----------------------------------------------------------------------------

    def cancel(self, number: int, reason: str) -> None:
        """Tell the server that nobody waits for this request any more. Its reply gets nothing further."""
        reply = self._pending.pop(number, None)
        if reply is None:
            return
        del self._deadlines[number]
        self._cancelled.append(number)
        self.tainted = self.tainted or not reply.own
        self._withdraw(number, reason)

    def _withdraw(self, number: int, reason: str) -> None:
        if self._link is None or self._link.abandon(number):
            return
        params = encode_json({"requestId": number, "reason": reason})
        self._link.send(
            notification("notifications/cancelled", params), "notifications/cancelled", None, None
        )

    def expire(self, now: float) -> None:
        """Fail the requests whose deadline has passed, tell of slow ones. `now` is loop time."""
        for number in [n for n, deadline in self._deadlines.items() if deadline <= now]:
            reply = self._pending[number]
            self.cancel(number, "timed out")
            if not reply.own:
                self._listener.call_failed(self, "did not answer in time", number=number, transport=False)
            reply.failed(
                Failure(FailureKind.TIMED_OUT, f"{self.id} did not answer in time and the call was cancelled")
            )
        self.questions.expire(now)
        self._find_slow(now)
        self._odd.look(time.monotonic())
        self._ask_again()

    def _ask_again(self) -> None:
        """Calls that were in flight when an answer was spoilt, and still wait: who can, asks elsewhere."""
        doubtful, self._doubtful, self._spoilt = self._doubtful, self._spoilt, 0
        if doubtful:
            for number, reply in list(self._pending.items()):
                if number <= doubtful:
                    reply.stuck()

    def _find_slow(self, now: float) -> None:
        """Numbers grow with time, so one remembered number for each look tells which calls are old."""
        numbers = self._numbers
        numbers.append((now, self._next_id))
        slow_up_to = self._slow_up_to
        while numbers[0][0] <= now - self.rules.slow_call:
            slow_up_to = numbers.popleft()[1]
            if not numbers:
                break
        if slow_up_to > self._slow_up_to:
            before, self._slow_up_to = self._slow_up_to, slow_up_to
            slow = [n for n, r in self._pending.items() if before < n <= slow_up_to and not r.own]
            slow = [n for n in slow if not self.questions.is_open(n)]  # those wait for their clients
            if slow:
                self._listener.calls_slow(self, slow)

    def hand_over(self) -> None:
        """It looks hung: let the callers ask elsewhere, where that is safe."""
        for reply in list(self._pending.values()):
            reply.stuck()

    # -- the link's events -------------------------------------------------------------------------------

    def request_failed(self, request_id: int, reason: str, retry_after: float | None) -> None:
        if self._ears.end(request_id, McpError(UPSTREAM_FAILED, f"{self.id}: {reason}")):
            return
        reply = self._pending.pop(request_id, None)
        if reply is not None:
            del self._deadlines[request_id]
            if not reply.own:
                self._listener.call_failed(self, reason, number=request_id, transport=True)
            reply.failed(Failure(FailureKind.LOST, f"{self.id}: {reason}", retry_after))

    def writable_changed(self, writable: bool) -> None:
        self.writable = writable

    def link_lost(self, lost: LinkLost) -> None:
        self.lost = lost
        if self.state not in ENDED:
            stopping = self.state is InstanceState.STOPPING
            self.state = move(self.state, InstanceState.STOPPED if stopping else InstanceState.FAILED)
        self.lost_calls = self.calls_in_flight
        self.questions.close()
        pending, self._pending, self._deadlines = self._pending, {}, {}
        self._listener.instance_ended(self, lost)  # first, so that nobody replays to this instance
        reason = f"{self.id} {lost.reason}"
        for number, reply in pending.items():
            try:
                reply.failed(Failure(FailureKind.LOST, reason, untouched=number in lost.refused))
            except Exception:  # a fault with one call must not leave the others without an answer
                LOG.exception("failing a call failed", instance=self.id)

    def drain(self) -> None:
        """Take no new calls; those in flight end by themselves, or at their deadlines."""
        self.state = move(self.state, InstanceState.DRAINING)

    def sample(self, seconds: float, cores: float) -> None:
        """How busy its processes were in the last `seconds`, of `cores` that it may use; off the hot path."""
        link = self._link.statistics() if self._link is not None else None
        if link is None or link.cpu_seconds is None:
            return
        if self._cpu_seconds is not None:
            used = max(0.0, link.cpu_seconds - self._cpu_seconds) / seconds
            before = used if self.cpu_cores is None else self.cpu_cores
            self.cpu_cores = (before + used) / 2
            memory = (link.memory_bytes or 0) / limit if (limit := self._memory_limit) else 0.0
            # In steps: a hair's breadth less must not draw all calls.
            self.pressure = round(20 * max(self.cpu_cores / cores, memory)) / 20
        self._cpu_seconds = link.cpu_seconds

    # -- start and stop ----------------------------------------------------------------------------------

    async def start(self, timeout: float) -> None:  # noqa: ASYNC109 - one bound over several steps
        """Launch and negotiate. Raises ProblemError; afterwards the instance has ended and left nothing."""
        self.state = move(self.state, InstanceState.LAUNCHING)
        self.started_at = time.time()
        try:
            async with asyncio.timeout(timeout):
                self._link = await self._driver.open(self._launch, self)
                self._listener.instance_started(self)
                self.state = move(self.state, InstanceState.NEGOTIATING)
                self.negotiated = await negotiate(self, self.profile, timeout)
            self.era = self.negotiated.era
            self.ready_at = asyncio.get_running_loop().time()
            self.health = Health(checked_at=self.ready_at, seen_at=self.ready_at)
            self.state = move(self.state, InstanceState.READY)
        except TimeoutError:
            await self._abort()
            raise self._problem("start-timeout", f"did not answer within {timeout:g} s") from None
        except McpError as refused:
            why = self._why(refused)  # before our own stop becomes the last thing that happened
            await self._abort()
            raise self._problem("start-failed", why) from None
        except ProblemError:
            self.state = InstanceState.FAILED
            raise
        except asyncio.CancelledError:
            await self._abort()
            raise

    def _why(self, refused: McpError) -> str:
        if self.lost is None:
            return f"refused the handshake: {refused.message}"
        tail = f": {self.lost.detail.strip().splitlines()[-1][:300]}" if self.lost.detail.strip() else ""
        return f"{self.lost.reason}{tail}"

    def _problem(self, code: str, what: str) -> ProblemError:
        detail = f"{self.id} {what}"
        return ProblemError(Problem(code, "The server could not start", detail, 503, Fault.UPSTREAM))

    async def _abort(self) -> None:
        if self._link is not None:
            await asyncio.shield(self._link.close())
        if self.state not in ENDED:
            self.state = InstanceState.FAILED

    async def stop(self) -> None:
        """Stop gracefully, then by force; idempotent. Calls still in flight fail."""
        if self.state in ENDED or self._link is None:
            if self.state is InstanceState.CREATED:
                self.state = InstanceState.STOPPED
            return
        if self.state is not InstanceState.STOPPING:
            self.state = move(self.state, InstanceState.STOPPING)
        await self._link.close()

    # -- requests without a client that speaks MCP -------------------------------------------------------

    async def call(
        self,
        method: str,
        members: dict[str, Any],
        *,
        timeout: float,  # noqa: ASYNC109
        reply: FutureReply | None = None,
        parameters: Pairs = (),
    ) -> bytes:
        """A request that a task waits for: the raw result. Raises McpError, CallLostError, TimeoutError."""
        reply = reply or FutureReply()
        if self.lost is not None:  # no answer would ever come
            reply.failed(Failure(FailureKind.LOST, f"{self.id} {self.lost.reason}", untouched=True))
            return await reply.future
        params: dict[str, Any] = dict(members)
        if self.era is Era.MODERN:
            params["_meta"] = Raw(eras.meta_for(Era.MODERN, eras.NO_META, GATEWAY_INFO, None))
        deadline = asyncio.get_running_loop().time() + timeout
        name = members.get(eras.NAME_MEMBER.get(method, ""))
        number = self.forward(
            method, encode_json(params), reply, deadline=deadline, name=name, parameters=parameters
        )
        try:
            return await reply.future
        finally:
            self.cancel(number, "no longer needed")  # nothing, when it was answered

    async def ask(self, method: str, members: dict[str, Any], *, timeout: float) -> bytes:  # noqa: ASYNC109
        """A request of the gateway's own, which is no call. Raises McpError, TimeoutError."""
        self.calls_total -= 1
        return await self.call(method, members, timeout=timeout, reply=FutureReply(own=True))

    def set_log_level(self, level: str) -> asyncio.Future[bytes]:
        """Tell a legacy server from which level on its messages are wanted; sent at once, in order."""
        self.log_level = level
        reply = FutureReply(own=True)
        reply.future.add_done_callback(lambda done: done.cancelled() or done.exception())
        deadline = asyncio.get_running_loop().time() + SET_LEVEL_TIMEOUT
        self.calls_total -= 1
        self.forward("logging/setLevel", encode_json({"level": level}), reply, deadline=deadline)
        return reply.future

    def roots_changed(self) -> None:
        """Tell a server that was offered roots to ask for them again."""
        if self._link is not None and self.profile.can(ROOTS):
            method = "notifications/roots/list_changed"
            self._link.send(notification(method), method, None, None)

    async def list_all(
        self,
        method: str,
        member: str,
        *,
        timeout: float,  # noqa: ASYNC109
    ) -> tuple[list[Raw], CacheHint | None]:
        """All items of a paginated list, in the server's order; `""` is a cursor like any other.

        With them, how long they may be kept, if the server says so.
        """
        items: list[Raw] = []
        hints: list[CacheHint] = []
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            page = decode_members(
                await self.ask(method, {} if cursor is None else {"cursor": cursor}, timeout=timeout)
            )
            try:
                items += msgspec.json.decode(page.get(member, Raw(b"[]")), type=list[Raw])
                following = msgspec.json.decode(page.get("nextCursor", Raw(b"null")), type=str | None)
            except (msgspec.DecodeError, RecursionError) as error:
                raise McpError(UPSTREAM_FAILED, f"{method} gave no list of {member}: {error}") from None
            if (hint := read_hint(page)) is not None:
                hints.append(hint)
            if following is None or following == cursor:
                break
            cursor = following
        return items, strictest(hints)

    async def ping(self, *, timeout: float) -> None:  # noqa: ASYNC109
        """A health check that does no harm: never a second handshake. Raises McpError, TimeoutError."""
        await self.ask("ping" if self.era is Era.LEGACY else "server/discover", {}, timeout=timeout)

    # -- the handshake (negotiation.Server) --------------------------------------------------------------

    def speak(self, era: Era, version: str) -> None:
        """In this version of the protocol, from now on."""
        self.era = era
        self._link.negotiated(version)  # type: ignore[union-attr] # there is one while it starts

    @property
    def gone(self) -> bool:
        return self.lost is not None

    def initialized(self) -> None:
        """Tell the server that the legacy handshake is done."""
        method = "notifications/initialized"
        self._link.send(notification(method), method, None, None)  # type: ignore[union-attr]

    # -- being looked at ---------------------------------------------------------------------------------

    def supports(self, feature: str) -> bool:
        """Whether the server declared `tools`, `resources`, `prompts` or `completions`."""
        return self.negotiated is not None and feature in self.negotiated.capabilities

    def declares(self, feature: str, part: str) -> bool:
        """Whether it declared a part of that: `listChanged`, `subscribe`."""
        declared = None if self.negotiated is None else self.negotiated.capabilities.get(feature)
        return isinstance(declared, dict) and declared.get(part) is True

    @property
    def confinement(self) -> Confinement | None:
        """How its process is held; None for none, or for a remote server."""
        return self._link.statistics().confinement if self._link is not None else None

    def status(self, *, in_rotation: bool = False) -> InstanceStatus:
        link = self._link.statistics() if self._link is not None else None
        return InstanceStatus(
            id=self.id,
            state=self.state.value,
            pid=link.pid if link else None,
            protocol_version=self.negotiated.version if self.negotiated else None,
            started_at=self.started_at,
            calls_in_flight=self.calls_in_flight,
            calls_total=self.calls_total,
            memory_bytes=link.memory_bytes if link else None,
            cpu_cores=self.cpu_cores,
            leased=self.leased_to is not None,
            profile=self.profile.key,
            health=self.health.standing,
            breaker=self.breaker.state,
            weight=self.weight,
            in_rotation=in_rotation,
            detail=self.lost.reason if self.lost else "retiring" if self.retiring else "",
        )
