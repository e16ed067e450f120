"""What the lanes share: the endpoints, the sessions, the limits; and the requests that are not a plain call.

`dispatch` takes every message that the fast lane does not finish by itself. What the gateway knows (the
handshakes, the merged lists, pings) is answered at once; what a server must answer is forwarded, at once if
an instance is ready, else from a task that waits for one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

import structlog
from msgspec import UNSET, Raw

from fairlead.core import refusals
from fairlead.core.accounts import Account, AccountLimits, Accounts, rate_of
from fairlead.core.admission import AdmissionPolicy
from fairlead.kit.tasks import Tasks
from fairlead.mcp import eras
from fairlead.mcp.eras import NO_META, Era, Meta
from fairlead.mcp.errors import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    OVERLOADED,
    SESSION_ENDED,
    McpError,
)
from fairlead.mcp.log_levels import require_level
from fairlead.mcp.messages import (
    Incoming,
    decode_any,
    decode_incoming,
    decode_members,
    encode_json,
    request_id,
    result,
)
from fairlead.mcp.messages import error as error_message
from fairlead.mcp.profiles import Profile, read_profile
from fairlead.mcp.sealing import Sealer
from fairlead.model.access import Caller
from fairlead.model.errors import Problem, ProblemError
from fairlead.model.fleet import ResourceLimits
from fairlead.model.toolset import CALL_TOOL, SEARCH_TOOLS, Toolset
from fairlead.orchestrator.gateway.bridge import Bridge
from fairlead.orchestrator.gateway.endpoints import Endpoints
from fairlead.orchestrator.gateway.event_store import MAIN
from fairlead.orchestrator.gateway.exchange import Exchange
from fairlead.orchestrator.gateway.exposure import Route
from fairlead.orchestrator.gateway.expulsion import is_revoked
from fairlead.orchestrator.gateway.forwarding import Forwarder
from fairlead.orchestrator.gateway.freshness import Freshness
from fairlead.orchestrator.gateway.handshake import discover_result, initialize_result
from fairlead.orchestrator.gateway.head import Head
from fairlead.orchestrator.gateway.legacy_sse import LegacySse
from fairlead.orchestrator.gateway.params import mirrored_name
from fairlead.orchestrator.gateway.read_cache import ReadCache
from fairlead.orchestrator.gateway.refused import refused_request, too_weak
from fairlead.orchestrator.gateway.sessions import Session, SessionTable
from fairlead.orchestrator.gateway.streams import Streams
from fairlead.orchestrator.gateway.subscriptions import Subscriptions
from fairlead.orchestrator.gateway.tasks import METHODS as TASK_METHODS
from fairlead.orchestrator.gateway.tasks import TaskRelay
from fairlead.orchestrator.gateway.tool_search import search, unwrap_call
from fairlead.orchestrator.gateway.toolsets import ToolsetView
from fairlead.orchestrator.gateway.tracing import trace
from fairlead.orchestrator.gateway.views import View
from fairlead.orchestrator.metrics import WORDS, CallStats, MetricsCollector, Outcome
from fairlead.orchestrator.pool import ServerPool
from fairlead.ports import Auditor, Tracer, Unaudited

LOG = structlog.get_logger("fairlead.gateway")
MAX_HEADS: Final = 4096
SHARED: Final = 0.8  # of the room for calls in flight, for whoever comes first
MAX_WAITING: Final = 1000  # requests that wait for an instance or for first lists
LEARN: Final = 10.0  # s, to find out what a server offers to clients of a new profile
_LISTS: Final = {
    "tools/list": "tools",
    "prompts/list": "prompts",
    "resources/list": "resources",
    "resources/templates/list": "templates",
}
_LOOKING: Final = frozenset(
    {*_LISTS, "ping", "logging/setLevel", "server/discover", "subscriptions/listen"}
)  # what callers may ask for that may call nothing
_FORWARDED: Final = ("tools/call", "prompts/get", "resources/read", "completion/complete")


@dataclass(frozen=True, slots=True)
class EdgeTimeouts:
    """Seconds a client may take, and how often an open stream is kept alive."""

    head: float = 10.0
    body: float = 30.0
    keep_alive: float = 75.0
    comment: float = 15.0


Handler = Callable[["Exchange", dict[str, Raw], Meta], None]
"""Answers a request, now or later; gets the members of its params, without `_meta`. May raise McpError."""


class Gateway:
    """The data plane's shared state. Everything here runs on the event loop, nothing waits."""

    def __init__(
        self,
        sealer: Sealer,
        sessions: SessionTable,
        metrics: MetricsCollector,
        policy: AdmissionPolicy,
        timeouts: EdgeTimeouts,
    ) -> None:
        self.policy = policy
        self.metrics = metrics
        self.timeouts = timeouts
        self.known_heads: dict[bytes, Head] = {}
        self.heads_forgotten = 0  # how often all of them were
        self.sessions = sessions
        self.in_flight = 0
        self._sealer = sealer
        self._limits = ResourceLimits()
        self.accounts = Accounts()
        self._ample = self._limits.max_concurrent_requests * SHARED
        self.max_answer = self._limits.max_answer_size  # bytes
        self.tasks = TaskRelay(self, sealer)
        self.freshness = Freshness()
        self.reads = ReadCache(metrics)
        self.subscriptions = Subscriptions(sessions, metrics, self.wait, self.tasks)
        self.endpoints = Endpoints(
            metrics, sealer, changed=self.subscriptions.tell_changed, gone=self._endpoint_gone
        )
        self.streams = Streams()
        self.legacy_sse = LegacySse(self)
        self.forwarder = Forwarder(self)
        self.bridge = Bridge(self, sealer)
        self.tracer: Tracer | None = None
        self.audit: Auditor = Unaudited()
        self.conceal: Callable[[str], str] = str  # takes known secrets out of a text
        self.closing = False
        self._tasks = Tasks(self._task_failed)
        self._handlers = self._make_handlers()

    def _make_handlers(self) -> Mapping[tuple[Era, str], Handler]:
        both = {
            **dict.fromkeys(_LISTS, self._list),
            **dict.fromkeys(_FORWARDED, self.forwarder.forward),
        }
        legacy = {
            **both,
            "ping": self._ping,
            "logging/setLevel": self._set_level,
            "resources/subscribe": self.subscriptions.subscribe,
            "resources/unsubscribe": self.subscriptions.unsubscribe,
        }
        modern = {
            **both,
            "server/discover": self._discover,
            "subscriptions/listen": self.subscriptions.listen,
            **dict.fromkeys(TASK_METHODS, self.tasks.request),
        }
        return {(Era.LEGACY, method): handler for method, handler in legacy.items()} | {
            (Era.MODERN, method): handler for method, handler in modern.items()
        }

    def __repr__(self) -> str:
        return f"<Gateway in_flight={self.in_flight} sessions={len(self.sessions)} {self.endpoints.merged}>"

    # -- what the orchestrator and the composition root set ----------------------------------------------

    def set_pools(self, pools: Iterable[ServerPool]) -> None:
        """The servers that are there now. Views of those that stay are kept, sessions with them."""
        pools = list(pools)
        self.endpoints.set_pools(pools)
        self.freshness.forget()
        self.subscriptions.set_pools(self.endpoints.merged.pools)
        self.bridge.forget_gone(pools)
        self.forget_heads()

    def set_toolsets(self, toolsets: Mapping[str, Toolset]) -> None:
        """The toolsets that are there now. Sessions of those that stay are kept, those of the others end."""
        self.endpoints.set_toolsets(toolsets)
        self.forget_heads()
        self.freshness.forget()

    def _endpoint_gone(self, view: View) -> None:
        self.subscriptions.end_of_view(view)
        for session in self.sessions:
            if view.toolset_name is not None and session.endpoint == view.endpoint:
                self.close_session(session)

    def forget_variants(self) -> None:
        """Servers may have new versions, which offer other things to clients that can be asked more."""
        self.subscriptions.follow()
        self.endpoints.forget_variants()

    def set_policy(self, policy: AdmissionPolicy) -> None:
        """New tokens, hosts or origins, in force from now on: streams of revoked tokens end, too."""
        self.policy = policy
        self.forget_heads()
        knows = policy.identities.knows
        for session in self.sessions:
            if not knows(session.principal) or is_revoked(session.caller, policy.identities):
                self.close_session(session)
        self.subscriptions.end_of_others(policy.identities.is_valid)
        self.bridge.forget_others(knows)

    def set_limits(self, limits: ResourceLimits) -> None:
        """New limits; what is used up of the old ones stays so."""
        if limits == self._limits:
            return
        self._limits = limits
        self._ample = limits.max_concurrent_requests * SHARED
        self.max_answer = limits.max_answer_size
        rate = limits.rate_limiting
        self.accounts.set_limits(
            AccountLimits(
                rate=rate_of(rate.requests_per_minute, rate.burst) if rate.enabled else None,
                calls=limits.calls_per_principal,
                total=rate_of(rate.total) if rate.enabled else None,
            )
        )

    def set_rate(self, pool: ServerPool) -> None:
        """A server's spec is new: its requests a minute are bounded from now on, or not."""
        pool.rate = self.accounts.server(pool.spec.id, rate_of(pool.spec.limits.requests_per_minute))

    def catalogue_changed(self, pool: ServerPool, kinds: frozenset[str]) -> None:
        """A server's lists are new, or how long they may be kept."""
        self.freshness.forget()
        if not kinds.isdisjoint(("resources", "templates")):
            self.reads.forget(pool.spec.id)
        if kinds:
            self.endpoints.catalogue_changed(pool, kinds)

    def resource_updated(self, pool: ServerPool, uri: str, key: str | None) -> None:
        """A server says that a resource of its own has changed; `key` as in `PoolListener`."""
        self.reads.forget(pool.spec.id, uri)
        self.subscriptions.resource_updated(pool, uri, key)

    # -- what the lane asks ------------------------------------------------------------------------------

    def view_for(self, exchange: Exchange) -> View:
        """What the client of a request sees of its endpoint."""
        return exchange.head.view.variant(exchange.profile)

    def account(self, principal: str) -> Account:
        """What a principal has used of its limits."""
        return self.accounts.of(principal)

    def find_session(self, session_id: str | None, caller: Caller, endpoint: str) -> Session | None:
        """The live session of the streamable transport that a head names."""
        session = None if session_id is None else self.sessions.find(session_id, caller, endpoint)
        return None if session is None or session.over_sse else session

    def remember(self, head_bytes: bytes, head: Head) -> None:
        """Know these bytes of a head from now on; the oldest ones make room."""
        if len(self.known_heads) >= MAX_HEADS:
            del self.known_heads[next(iter(self.known_heads))]
        self.known_heads[head_bytes] = head

    def forget_heads(self) -> None:
        """What was decided about them may not hold any more."""
        self.known_heads.clear()
        self.heads_forgotten += 1

    def has_room(self, pool: ServerPool, account: Account) -> bool:
        """Whether one more call of this server and principal may begin now; if so, it must begin."""
        if self.in_flight < self._ample and account.calls < account.most and pool.rate is None:
            return True
        return self._why_no_room(pool, account) is None

    def _why_no_room(self, pool: ServerPool, account: Account) -> Problem | None:
        """What keeps a call from beginning; if nothing does, it counts against its server's rate.

        The last fifth of the room is for servers that hold less than a fifth themselves: one that is full
        must not keep the others from theirs.
        """
        room = self._limits.max_concurrent_requests
        if self.in_flight >= self._ample and (
            self.in_flight >= room or pool.calls_held >= max(1.0, room * (1 - SHARED))
        ):
            return refusals.overloaded(self.in_flight, pool.calls_held, pool.spec.id, room)
        if account.calls >= account.most:
            return refusals.too_many_calls(account.calls)
        if pool.rate is not None and (wait := pool.rate.admit(monotonic())) > 0.0:
            return refusals.server_rate_limited(pool.spec.id, wait)
        return None

    def require_room(self, pool: ServerPool, account: Account) -> None:
        """As `has_room`. Raises ProblemError (429) when there is none."""
        problem = self._why_no_room(pool, account)
        if problem is not None:
            raise ProblemError(problem)

    @contextlib.contextmanager
    def counted(self, pool: ServerPool, principal: str) -> Iterator[None]:
        """A call of the ordinary lane: under the same limits. Raises ProblemError (429)."""
        account = self.account(principal)
        if (problem := self._why_no_room(pool, account)) is not None:
            self.metrics.refused(problem.code)
            raise ProblemError(problem)
        self.in_flight += 1
        pool.calls_held += 1
        account.calls += 1
        try:
            yield
        finally:
            self.in_flight -= 1
            pool.calls_held -= 1
            account.calls -= 1

    def check_caller(self, exchange: Exchange, meta: Meta, name: str | None) -> None:
        """A request must belong to a live session (legacy), or say all about itself (modern)."""
        head = exchange.head
        if head.era is Era.MODERN:
            eras.check_modern(exchange.method, meta, head.routing, name)
            return
        session = head.session
        if session is None or session.ended:
            raise _no_session(head)
        session.used = exchange.started

    def enter(self, exchange: Exchange, route: Route) -> None:
        """A call begins."""
        self.enter_call(exchange, route.stats, route.pool, safe=route.safe)

    def enter_call(self, exchange: Exchange, stats: CallStats, pool: ServerPool, *, safe: bool) -> None:
        """The same, of a request that no route knows."""
        if exchange.head.session is not None:
            exchange.head.session.calls[exchange.id] = exchange
        self.in_flight += 1
        pool.calls_held += 1
        exchange.head.account.calls += 1
        exchange.stats = stats
        exchange.pool = pool
        exchange.safe = safe
        if exchange.head.view.merged:
            exchange.server = pool.spec.id
        if self.tracer is not None:
            trace(self.tracer, exchange)

    def leave(self, exchange: Exchange, outcome: Outcome, size: int = 0) -> None:
        """A call has ended; its result has `size` bytes."""
        self.in_flight -= 1
        pool, instance = exchange.pool, exchange.instance
        pool.calls_held -= 1  # type: ignore[union-attr] # it has one since it began
        exchange.head.account.calls -= 1
        stats, exchange.stats = exchange.stats, None
        now = monotonic()
        seconds = now - exchange.started
        if stats is not None:
            stats.record(seconds, outcome)
        self.audit.called(
            (
                now, seconds, exchange.head.caller, exchange.method, pool.spec.id,  # type: ignore[union-attr]
                "" if instance is None else instance.id, exchange.name, WORDS[outcome], exchange.params, size,
            )
        )  # fmt: skip
        if exchange.span is not None:
            exchange.span.end(outcome)
            exchange.span = None
        session = exchange.head.session
        if session is not None and session.calls.get(exchange.id) is exchange:
            del session.calls[exchange.id]

    def refuse_rate(self, exchange: Exchange, body: bytes, wait: float) -> None:
        """Too many requests: 429, but to a legacy request an error of its own.

        SDK 1.x takes any failed status for the end of the whole session.
        """
        problem = refusals.rate_limited(wait)
        self.refused(exchange, problem.code)
        seconds = max(1, -int(-wait // 1))
        refused = McpError(OVERLOADED, problem.detail, {"problem": problem.code, "retryAfter": seconds})
        message = decode_incoming(body)
        is_request = message.id is not UNSET and message.method is not UNSET
        if is_request:
            exchange.id = request_id(message)
        status = 200 if is_request and exchange.head.era is Era.LEGACY else 429
        answer = error_message(exchange.id, refused.encode())
        exchange.finish(status, answer, b"retry-after: %d\r\n" % seconds)

    def refused(self, exchange: Exchange, code: str) -> None:
        """Count a request that is refused before anybody has looked at it."""
        self.metrics.refused(code)
        self.audit.refused(refused_request(exchange, code))

    def failed(self, exchange: Exchange, error: BaseException) -> None:
        """A fault of ours in the middle of a request: it is logged, and its client told."""
        LOG.error("request failed", method=exchange.method[:100], exc_info=error)
        if exchange.stats is not None:
            self.leave(exchange, Outcome.REFUSED)
        exchange.fail(McpError(INTERNAL_ERROR, "Internal error; the gateway's log has more"))

    def lost(self, exchange: Exchange) -> None:
        """The client of an exchange has gone. Modern: that cancels. Legacy: it does not."""
        exchange.lost()
        if exchange.head.era is Era.MODERN:
            self.subscriptions.end(exchange)
            exchange.cancel("the client closed the connection")
        elif exchange.head.over_sse:
            session = exchange.head.session
            if session is not None and session.stream is exchange:
                self.close_session(session)
        else:
            self.streams.lost(exchange)

    def wind_up(self, exchange: Exchange) -> None:
        """The service stops: a stream ends now that nobody waits at for an answer."""
        head, stream = exchange.head, exchange.stream
        if exchange.method != "GET":
            self.subscriptions.end(exchange)
        elif head.over_sse and head.session is not None and head.session.calls:
            return  # their answers come on it
        elif stream is None or stream.number == MAIN:
            exchange.hang_up()

    # -- messages ----------------------------------------------------------------------------------------

    def dispatch(self, exchange: Exchange, message: Incoming, *, may_wait: bool = True) -> None:
        """Everything but the usual call. Raises McpError, ProblemError."""
        if message.method is UNSET:
            self._accept_answer(exchange, message)
            return
        exchange.method = message.method
        if message.id is UNSET:
            self._notified(exchange, message)
            return
        exchange.id = request_id(message)
        members = decode_members(message.params)
        raw_meta = members.pop("_meta", None)
        meta = NO_META if raw_meta is None else eras.read_meta(bytes(raw_meta))
        if exchange.head.era is Era.LEGACY and message.method == "initialize":
            self._initialize(exchange, members)
            return
        exchange.meta = meta
        name = mirrored_name(message.method, members)
        exchange.exposed = name or ""
        self.check_caller(exchange, meta, name)
        handler = self._handlers.get((exchange.head.era, message.method))
        if exchange.head.view.searches and message.method == "tools/call":
            handler = self._search_or_call(members)
        if handler is None:
            raise McpError(METHOD_NOT_FOUND, f"Method not found: {message.method[:200]}")
        if not exchange.head.may_call and message.method not in _LOOKING and handler != self._search:
            raise too_weak(exchange.head.caller)
        if may_wait and (coming := self._must_wait_for(exchange, members)):
            self.wait(exchange, self._dispatch_later(exchange, message, coming))
        else:
            handler(exchange, members, meta)

    async def _dispatch_later(self, exchange: Exchange, message: Incoming, coming: list[ServerPool]) -> None:
        """A client that comes while servers start for the first time sees all of them, or waits in vain."""
        await asyncio.gather(*(_known(pool, exchange.profile) for pool in coming))
        if exchange.ended:
            return
        try:
            self.dispatch(exchange, message, may_wait=False)
        except McpError as refused:
            exchange.fail(refused)
        except ProblemError as refused:
            exchange.fail_with(refused.problem)

    def _must_wait_for(self, exchange: Exchange, members: dict[str, Raw]) -> list[ServerPool]:
        """The servers whose first lists may change this answer; never long, since they settle in time."""
        view, method = exchange.head.view, exchange.method
        name = mirrored_name(method, members)
        if len(self._tasks) >= MAX_WAITING:
            return []
        if method in _LISTS or (view.searches and name == SEARCH_TOOLS):
            return view.coming(exchange.profile)
        if name is None or method not in ("tools/call", "prompts/get") or not view.merged:
            return []  # a single server decides by itself
        if view.route(method, encode_json(name)) is not None:
            return []
        coming = [p for p in view.coming(exchange.profile) if view.exposure.may_have(p.spec.id, name)]
        known = coming and self.view_for(exchange).route(method, encode_json(name))
        return [] if known else coming

    def wait(self, exchange: Exchange, work: Coroutine[Any, Any, None]) -> None:
        """Go on with a request in a task that ends with it; a client can cancel it meanwhile."""
        exchange.waiting = self._tasks.spawn(work, f"{exchange.method[:40]} waits")
        exchange.waiting.add_done_callback(lambda task: self._waited(exchange, task))
        session = exchange.head.session
        if session is not None:
            session.calls[exchange.id] = exchange
            exchange.waiting.add_done_callback(lambda _: self._forget_call(exchange))

    def _waited(self, exchange: Exchange, task: asyncio.Task[None]) -> None:
        """A fault of ours in the task must not leave its client waiting, nor the call in flight."""
        error = None if task.cancelled() else task.exception()
        if error is not None and not exchange.ended and not exchange.attempts():
            self.failed(exchange, error)

    def _forget_call(self, exchange: Exchange) -> None:
        session = exchange.head.session
        if exchange.stats is None and session is not None and session.calls.get(exchange.id) is exchange:
            del session.calls[exchange.id]

    def _accept_answer(self, exchange: Exchange, message: Incoming) -> None:
        if message.result is UNSET and message.error is UNSET:
            raise McpError(INVALID_REQUEST, "Invalid request: no method, result or error", status=400)
        self._require_session_for_notes(exchange)
        if exchange.head.session is not None:
            self.bridge.heard(exchange.head.session, message)
        exchange.respond(202)

    def _notified(self, exchange: Exchange, message: Incoming) -> None:
        if exchange.head.era is Era.MODERN:
            eras.require_served(exchange.head.routing.version)
        else:
            self._require_session_for_notes(exchange)
        session = exchange.head.session
        if message.method == "notifications/cancelled" and session is not None:
            members = decode_members(message.params)
            call = session.calls.get(bytes(members.get("requestId", Raw(b"null"))))
            if call is not None:
                call.cancel("the client cancelled it")
        elif message.method == "notifications/roots/list_changed" and session is not None:
            for pool in exchange.head.view.pools.values():
                pool.roots_changed(session.key)
        exchange.respond(202)

    def _require_session_for_notes(self, exchange: Exchange) -> None:
        if exchange.head.era is Era.LEGACY:
            self.check_caller(exchange, NO_META, None)

    # -- handlers ----------------------------------------------------------------------------------------

    def _initialize(self, exchange: Exchange, members: dict[str, Raw]) -> None:
        head = exchange.head
        version = eras.negotiate_legacy(decode_any(members.get("protocolVersion", Raw(b"null"))))
        profile = read_profile(bytes(members.get("capabilities", Raw(b"{}"))))
        endpoint, session = head.view.endpoint, head.session
        if head.over_sse and session is not None:
            self.legacy_sse.begin(session, version, profile)
        else:
            session = self.sessions.create(head.caller, endpoint, version, exchange.started, profile)
        answer = result(exchange.id, initialize_result(head.view, version))
        exchange.finish(200, answer, b"mcp-session-id: %b\r\n" % session.id.encode())

    def _discover(self, exchange: Exchange, members: dict[str, Raw], meta: Meta) -> None:
        exchange.finish(200, result(exchange.id, discover_result(exchange.head.view)))

    def _ping(self, exchange: Exchange, members: dict[str, Raw], meta: Meta) -> None:
        exchange.finish(200, result(exchange.id, b"{}"))

    def _set_level(self, exchange: Exchange, members: dict[str, Raw], meta: Meta) -> None:
        session = exchange.head.session
        assert session is not None  # the caller was checked
        session.log_level = require_level(decode_any(members.get("level", Raw(b"null"))))
        exchange.finish(200, result(exchange.id, b"{}"))

    def _list(self, exchange: Exchange, members: dict[str, Raw], meta: Meta) -> None:
        cursor = decode_any(members.get("cursor", Raw(b"null")))
        if cursor is not None and not isinstance(cursor, str):
            raise McpError(INVALID_PARAMS, "Invalid cursor: it must be a string")
        page = self.view_for(exchange).page(_LISTS[exchange.method], cursor)
        kept = self.freshness.of(exchange.head.view, _LISTS[exchange.method], exchange.started)
        if exchange.head.era is Era.MODERN:
            page += b',"resultType":"complete",' + kept.members()
        exchange.finish(200, result(exchange.id, b"{" + page + b"}"))

    def _search_or_call(self, members: dict[str, Raw]) -> Handler:
        """Of a toolset that searches; what `call_tool` wraps takes its place in `members`."""
        name = mirrored_name("tools/call", members)
        if name == SEARCH_TOOLS:
            return self._search
        if name == CALL_TOOL:
            unwrap_call(members)
        return self.forwarder.forward

    def _search(self, exchange: Exchange, members: dict[str, Raw], meta: Meta) -> None:
        view = self.view_for(exchange)
        assert isinstance(view, ToolsetView)
        self.wait(exchange, search(exchange, view.finder, members))

    # -- streams and ends of sessions --------------------------------------------------------------------

    def open_stream(self, exchange: Exchange) -> None:
        """GET: the session's stream for what is said unasked, or one that broke off."""
        exchange.method = "GET"
        if exchange.head.over_sse:
            self.legacy_sse.open(exchange)
            return
        session = self._session_or_refuse(exchange)
        if session is None:
            return
        if not exchange.head.accepts_stream:
            exchange.respond(406)
            return
        try:
            gap = self.streams.open(session, exchange, exchange.head.last_event_id)
        except McpError as refused:
            exchange.fail(refused)
        else:
            self.subscriptions.opened(session, gap=gap)

    def end_session(self, exchange: Exchange) -> None:
        """DELETE: the client ends its session."""
        exchange.method = "DELETE"
        session = self._session_or_refuse(exchange)
        if session is not None:
            self.close_session(session)
            exchange.respond(204)

    def _session_or_refuse(self, exchange: Exchange) -> Session | None:
        head = exchange.head
        if head.era is Era.MODERN:
            exchange.respond(405, b"allow: POST\r\n")
            return None
        session = head.session
        if session is not None and not session.ended:
            session.used = exchange.started
            return session
        exchange.fail(_no_session(head))
        return None

    def close_session(self, session: Session) -> None:
        """End a session: its calls, its stream, and the instances that it leased."""
        self.sessions.end(session)
        self.bridge.forget_session(session)
        for call in list(session.calls.values()):
            call.cancel("its session has ended")
        self.streams.close(session)
        self.subscriptions.forget(session)
        for pool in self.endpoints.merged.pools.values():
            if pool.holds(session.key):
                self._tasks.spawn(pool.release(session.key), f"release {session.id[:8]} {pool.spec.id}")

    # -- time and the end --------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """About once a second: end the sessions that nobody used for long. `now` is loop time."""
        self.bridge.tick(now)
        self.streams.tick(now)
        if self.accounts.forget_idle(now):
            self.forget_heads()  # they hold accounts
        self._drop_invalid()
        for session in self.sessions.idle(now):
            LOG.info("session expired", session=session.id[:8])
            self.close_session(session)
        self.metrics.sessions = len(self.sessions)

    def _drop_invalid(self) -> None:
        """Nobody stays let in by what has expired meanwhile, or is not checkable any more."""
        is_valid = self.policy.identities.is_valid
        callers = {head.caller.credential: head.caller for head in self.known_heads.values()}
        gone = {credential for credential, caller in callers.items() if not is_valid(caller)}
        if gone:
            for head_bytes, head in list(self.known_heads.items()):
                if head.caller.credential in gone:
                    del self.known_heads[head_bytes]
        self.subscriptions.end_of_others(is_valid)

    async def close(self) -> None:
        """Wait for nothing any more: calls that lose their instance from now on fail."""
        self.closing = True
        await self._tasks.close()

    def _task_failed(self, name: str, error: BaseException) -> None:
        LOG.error("task failed", task=name, exc_info=error)


async def _known(pool: ServerPool, profile: Profile) -> None:
    """Until the server has shown what it offers to clients of this profile, or cannot."""
    await pool.settled.wait()
    if profile and pool.catalogue_for(profile) is None:
        await pool.learn(profile, timeout=LEARN)


def _no_session(head: Head) -> McpError:
    if head.session_id is None:
        return McpError(
            -32000, "Bad Request: the header Mcp-Session-Id is missing; begin with initialize", status=400
        )
    return McpError(
        SESSION_ENDED, "Session not found: it has ended or is not yours; initialize anew", status=404
    )
