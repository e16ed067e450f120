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

from fairlead.core.admission import AdmissionPolicy
from fairlead.core.ratelimit import Gcra
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
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.model.fleet import ResourceLimits
from fairlead.model.reports import ToolsetStatus
from fairlead.model.toolset import CALL_TOOL, SEARCH_TOOLS, Toolset
from fairlead.orchestrator.gateway.bridge import Bridge
from fairlead.orchestrator.gateway.event_store import MAIN
from fairlead.orchestrator.gateway.exchange import Exchange
from fairlead.orchestrator.gateway.exposure import Plain, Prefixed, Route
from fairlead.orchestrator.gateway.forwarding import Forwarder
from fairlead.orchestrator.gateway.freshness import Freshness
from fairlead.orchestrator.gateway.handshake import discover_result, initialize_result
from fairlead.orchestrator.gateway.head import Head
from fairlead.orchestrator.gateway.legacy_sse import LegacySse
from fairlead.orchestrator.gateway.params import mirrored_name
from fairlead.orchestrator.gateway.read_cache import ReadCache
from fairlead.orchestrator.gateway.sessions import Session, SessionTable
from fairlead.orchestrator.gateway.streams import Streams
from fairlead.orchestrator.gateway.subscriptions import Subscriptions
from fairlead.orchestrator.gateway.tasks import METHODS as TASK_METHODS
from fairlead.orchestrator.gateway.tasks import TaskRelay
from fairlead.orchestrator.gateway.tool_search import search, unwrap_call
from fairlead.orchestrator.gateway.toolsets import ToolsetView
from fairlead.orchestrator.gateway.tracing import trace
from fairlead.orchestrator.gateway.views import View
from fairlead.orchestrator.metrics import CallStats, MetricsCollector, Outcome
from fairlead.orchestrator.pool import ServerPool
from fairlead.ports import Tracer

LOG = structlog.get_logger("fairlead.gateway")
MAX_HEADS: Final = 4096
SHARED: Final = 0.8  # of the room for calls in flight, for whoever comes first
MAX_WAITING: Final = 1000  # requests that wait for an instance or for first lists
LEARN: Final = 10.0  # s, to find out what a server offers to clients of a new profile
_EVERYTHING: Final = frozenset({"tools", "prompts", "resources"})
_LISTS: Final = {
    "tools/list": "tools",
    "prompts/list": "prompts",
    "resources/list": "resources",
    "resources/templates/list": "templates",
}
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
        self.sessions = sessions
        self.in_flight = 0
        self._sealer = sealer
        self._limits = ResourceLimits()
        self._limiters: dict[str, Gcra] = {}
        self._plain, self._prefixed = Plain(metrics), Prefixed(metrics)
        self._merged = View("", self._prefixed, sealer)
        self._single: dict[bytes, View] = {}  # by path
        self._toolsets: dict[bytes, ToolsetView] = {}  # by path
        self.tasks = TaskRelay(self, sealer)
        self.freshness = Freshness()
        self.reads = ReadCache(metrics)
        self.subscriptions = Subscriptions(sessions, metrics, self.wait, self.tasks)
        self.streams = Streams()
        self.legacy_sse = LegacySse(self)
        self.forwarder = Forwarder(self)
        self.bridge = Bridge(self, sealer)
        self.tracer: Tracer | None = None
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
        return f"<Gateway in_flight={self.in_flight} sessions={len(self.sessions)} {self._merged}>"

    # -- what the orchestrator and the composition root set ----------------------------------------------

    def set_pools(self, pools: Iterable[ServerPool]) -> None:
        """The servers that are there now. Views of those that stay are kept, sessions with them."""
        pools = list(pools)
        self._merged.set_pools(pools)
        self.freshness.forget()
        self.subscriptions.set_pools(self._merged.pools)
        self.bridge.forget_gone(pools)
        before, self._single = self._single, {}
        for pool in pools:
            path = f"/servers/{pool.spec.id}/mcp".encode()
            view = before.get(path) or View(pool.spec.id, self._plain, self._sealer)
            view.set_pools([pool])
            self._single[path] = view
        for path, gone in before.items():
            if path not in self._single:
                self.subscriptions.end_of_view(gone)
        self.known_heads.clear()
        self.subscriptions.tell_changed(self._merged, _EVERYTHING)
        for toolset in self._toolsets.values():
            toolset.set_pools(pools)
            self.subscriptions.tell_changed(toolset, toolset.tells(_EVERYTHING))

    def set_toolsets(self, toolsets: Mapping[str, Toolset]) -> None:
        """The toolsets that are there now. Sessions of those that stay are kept, those of the others end."""
        before, self._toolsets = self._toolsets, {}
        pools = self._merged.pools.values()
        for name, toolset in toolsets.items():
            path = f"/toolsets/{name}/mcp".encode()
            view = before.pop(path, None)
            if view is None:
                view = ToolsetView(name, toolset, self._prefixed, self._sealer)
                view.set_pools(pools)
            elif view.toolset != toolset:
                view.change(toolset, pools)
                self.subscriptions.tell_changed(view, _EVERYTHING)
            self._toolsets[path] = view
        self.known_heads.clear()
        self.freshness.forget()
        for gone in before.values():
            self.subscriptions.end_of_view(gone)
            for session in self.sessions:
                if session.endpoint == gone.endpoint:
                    self.close_session(session)

    def forget_variants(self) -> None:
        """Servers may have new versions, which offer other things to clients that can be asked more."""
        self.subscriptions.follow()
        for view in (self._merged, *self._single.values(), *self._toolsets.values()):
            view.forget_variants()

    def set_policy(self, policy: AdmissionPolicy) -> None:
        """New tokens, hosts or origins, in force from now on: streams of revoked tokens end, too."""
        self.policy = policy
        self.known_heads.clear()
        knows = policy.identities.knows
        for session in self.sessions:
            if not knows(session.principal):
                self.close_session(session)
        self.subscriptions.end_of_others(policy.identities.is_valid)
        self.bridge.forget_others(knows)

    def set_limits(self, limits: ResourceLimits) -> None:
        """New limits; buckets that are not changed stay as full as they are."""
        if limits == self._limits:
            return
        self._limits = limits
        self._limiters.clear()
        self.known_heads.clear()

    def catalogue_changed(self, pool: ServerPool, kinds: frozenset[str]) -> None:
        """A server's lists are new, or how long they may be kept."""
        self.freshness.forget()
        if not kinds.isdisjoint(("resources", "templates")):
            self.reads.forget(pool.spec.id)
        if not kinds:
            return
        for view in (self._merged, self._single.get(f"/servers/{pool.spec.id}/mcp".encode())):
            if view is not None and pool.spec.id in view.pools:
                view.refresh(pool)
                self.subscriptions.tell_changed(view, kinds)
        for toolset in self._toolsets.values():
            if pool.spec.id in toolset.pools:
                toolset.refresh(pool)
                self.subscriptions.tell_changed(toolset, toolset.tells(kinds))

    def resource_updated(self, pool: ServerPool, uri: str, key: str | None) -> None:
        """A server says that a resource of its own has changed; `key` as in `PoolListener`."""
        self.reads.forget(pool.spec.id, uri)
        self.subscriptions.resource_updated(pool, uri, key)

    # -- what the lane asks ------------------------------------------------------------------------------

    def view_of(self, path: bytes) -> View | Problem | None:
        """The endpoint at a path; a Problem for one that is not there; None for what is not MCP."""
        if path == b"/mcp":
            return self._merged
        view = self._single.get(path) or self._toolsets.get(path)
        if view is not None:
            return view
        match path.split(b"/"):
            case [b"", b"servers", name, b"mcp"]:
                return _unknown("server", name, self._merged.pools)
            case [b"", b"toolsets", name, b"mcp"]:
                return _unknown("toolset", name, [toolset.name for toolset in self._toolsets.values()])
        return None

    def view_for(self, exchange: Exchange) -> View:
        """What the client of a request sees of its endpoint."""
        return exchange.head.view.variant(exchange.profile)

    def toolsets(self) -> list[ToolsetStatus]:
        return [toolset.status() for toolset in self._toolsets.values()]

    def limiter(self, principal: str) -> Gcra:
        """The request rate of a principal."""
        limiter = self._limiters.get(principal)
        if limiter is None:
            rate = self._limits.rate_limiting
            per_minute = float(rate.requests_per_minute) if rate.enabled else 1e12
            burst = max(10, int(per_minute / 6)) if rate.enabled else 10**9
            limiter = self._limiters[principal] = Gcra(per_minute, burst)
        return limiter

    def find_session(self, session_id: str | None, principal: str, endpoint: str) -> Session | None:
        """The live session of the streamable transport that a head names."""
        session = None if session_id is None else self.sessions.find(session_id, principal, endpoint)
        return None if session is None or session.over_sse else session

    def remember(self, head_bytes: bytes, head: Head) -> None:
        """Know these bytes of a head from now on; the oldest ones make room."""
        if len(self.known_heads) >= MAX_HEADS:
            del self.known_heads[next(iter(self.known_heads))]
        self.known_heads[head_bytes] = head

    def has_room(self, pool: ServerPool) -> bool:
        """Whether one more call of this server may be in flight.

        The last fifth of the room is for servers that hold less than a fifth themselves: one that is full
        must not keep the others from theirs.
        """
        room = self._limits.max_concurrent_requests
        if self.in_flight < room * SHARED:
            return True
        return self.in_flight < room and pool.calls_held < max(1.0, room * (1 - SHARED))

    @contextlib.contextmanager
    def counted(self, pool: ServerPool) -> Iterator[None]:
        """A call of the ordinary lane: under the same limit. Raises ProblemError when there is no room."""
        self.require_room(pool)
        self.in_flight += 1
        pool.calls_held += 1
        try:
            yield
        finally:
            self.in_flight -= 1
            pool.calls_held -= 1

    def require_room(self, pool: ServerPool) -> None:
        if not self.has_room(pool):
            detail = (
                f"{self.in_flight} calls are in flight, {pool.calls_held} of them of server "
                f"{pool.spec.id!r}; the limit is {self._limits.max_concurrent_requests}; try again"
            )
            raise ProblemError(Problem("overloaded", "Overloaded", detail, 503, Fault.GATEWAY, 1.0))

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
        exchange.stats = stats
        exchange.pool = pool
        exchange.safe = safe
        if exchange.head.view.merged:
            exchange.server = pool.spec.id
        if self.tracer is not None:
            trace(self.tracer, exchange)

    def leave(self, exchange: Exchange, outcome: Outcome) -> None:
        """A call has ended."""
        self.in_flight -= 1
        exchange.pool.calls_held -= 1  # type: ignore[union-attr] # it has one since it began
        stats, exchange.stats = exchange.stats, None
        if stats is not None:
            stats.record(monotonic() - exchange.started, outcome)
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
        self.metrics.refused("rate-limited")
        seconds = max(1, -int(-wait // 1))
        per_minute = self._limits.rate_limiting.requests_per_minute
        text = f"more than {per_minute} requests in a minute; wait {seconds} s"
        refused = McpError(OVERLOADED, text, {"retryAfter": seconds})
        message = decode_incoming(body)
        is_request = message.id is not UNSET and message.method is not UNSET
        if is_request:
            exchange.id = request_id(message)
        status = 200 if is_request and exchange.head.era is Era.LEGACY else 429
        answer = error_message(exchange.id, refused.encode())
        exchange.finish(status, answer, b"retry-after: %d\r\n" % seconds)

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
        self.check_caller(exchange, meta, mirrored_name(message.method, members))
        handler = self._handlers.get((exchange.head.era, message.method))
        if exchange.head.view.searches and message.method == "tools/call":
            handler = self._search_or_call(members)
        if handler is None:
            raise McpError(METHOD_NOT_FOUND, f"Method not found: {message.method[:200]}")
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
            session = self.sessions.create(head.principal, endpoint, version, exchange.started, profile)
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
        for pool in self._merged.pools.values():
            if pool.holds(session.key):
                self._tasks.spawn(pool.release(session.key), f"release {session.id[:8]} {pool.spec.id}")

    # -- time and the end --------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """About once a second: end the sessions that nobody used for long. `now` is loop time."""
        self.bridge.tick(now)
        self.streams.tick(now)
        for session in self.sessions.idle(now):
            LOG.info("session expired", session=session.id[:8])
            self.close_session(session)
        self.metrics.sessions = len(self.sessions)

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


def _unknown(what: str, name: bytes, known: Iterable[str]) -> Problem:
    there = ", ".join(sorted(known)) or "none"
    detail = f"no {what} {name.decode('latin-1')[:100]!r}; there are: {there}"
    return Problem(f"unknown-{what}", f"No such {what}", detail, 404, Fault.CLIENT)


def _no_session(head: Head) -> McpError:
    if head.session_id is None:
        return McpError(
            -32000, "Bad Request: the header Mcp-Session-Id is missing; begin with initialize", status=400
        )
    return McpError(
        SESSION_ENDED, "Session not found: it has ended or is not yours; initialize anew", status=404
    )
