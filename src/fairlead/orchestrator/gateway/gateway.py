"""What the lanes share: the endpoints, the sessions, the limits; and the requests that are not a plain call.

`dispatch` takes every message that the fast lane does not finish by itself. What the gateway knows (the
handshakes, the merged lists, pings) is answered at once; what a server must answer is forwarded, at once if
an instance is ready, else from a task that waits for one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Iterable, Iterator
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

import structlog
from msgspec import UNSET, Raw

from fairlead.core.admission import AdmissionPolicy
from fairlead.core.lifecycle import InstanceState
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
from fairlead.mcp.messages import (
    Incoming,
    decode_any,
    decode_incoming,
    decode_members,
    encode_json,
    join_members,
    notification,
    request_id,
    result,
)
from fairlead.mcp.messages import error as error_message
from fairlead.mcp.names import SEPARATOR
from fairlead.mcp.sealing import Sealer
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.model.fleet import ResourceLimits
from fairlead.orchestrator.gateway.head import Head
from fairlead.orchestrator.gateway.lane import Exchange
from fairlead.orchestrator.gateway.params import mirrored_name, text_member
from fairlead.orchestrator.gateway.sessions import Session, SessionTable
from fairlead.orchestrator.gateway.views import Route, View
from fairlead.orchestrator.instance import GATEWAY_INFO
from fairlead.orchestrator.metrics import CallStats, MetricsCollector, Outcome
from fairlead.orchestrator.pool import ServerPool
from fairlead.orchestrator.replies import Failure, FailureKind

LOG = structlog.get_logger("fairlead.gateway")
MAX_HEADS: Final = 4096
SHARED: Final = 0.8  # of the room for calls in flight, for whoever comes first
MAX_WAITING: Final = 1000  # requests that wait for an instance or for first lists
LIST_TTL: Final = 30_000  # ms a modern client may keep a list; changes are told to those who listen
CHANGE_METHODS: Final = {
    "tools": ("toolsListChanged", "notifications/tools/list_changed"),
    "prompts": ("promptsListChanged", "notifications/prompts/list_changed"),
    "resources": ("resourcesListChanged", "notifications/resources/list_changed"),
    "templates": ("resourcesListChanged", "notifications/resources/list_changed"),
}
_LISTS: Final = {
    "tools/list": "tools",
    "prompts/list": "prompts",
    "resources/list": "resources",
    "resources/templates/list": "templates",
}


@dataclass(frozen=True, slots=True)
class EdgeTimeouts:
    """Seconds a client may take, and how often an open stream is kept alive."""

    head: float = 10.0
    body: float = 30.0
    keep_alive: float = 75.0
    comment: float = 15.0


@dataclass(slots=True)
class Listener:
    """An open `subscriptions/listen`: which lists its client wants to hear of."""

    exchange: Exchange
    wanted: frozenset[str]  # methods of notifications


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
        self._merged = View("", sealer, metrics)
        self._single: dict[bytes, View] = {}
        self._listeners: dict[Exchange, Listener] = {}
        self._closing = False
        self._tasks = Tasks(self._task_failed)

    def __repr__(self) -> str:
        return f"<Gateway in_flight={self.in_flight} sessions={len(self.sessions)} {self._merged}>"

    # -- what the orchestrator and the composition root set ----------------------------------------------

    def set_pools(self, pools: Iterable[ServerPool]) -> None:
        """The servers that are there now. Views of those that stay are kept, sessions with them."""
        pools = list(pools)
        self._merged.set_pools(pools)
        before, self._single = self._single, {}
        for pool in pools:
            path = f"/servers/{pool.spec.id}/mcp".encode()
            view = before.get(path) or View(pool.spec.id, self._sealer, self.metrics)
            view.set_pools([pool])
            self._single[path] = view
        self.known_heads.clear()
        self._tell_changed(self._merged, frozenset({"tools", "prompts", "resources"}))

    def set_policy(self, policy: AdmissionPolicy) -> None:
        """New tokens, hosts or origins, in force from now on: streams of revoked tokens end, too."""
        self.policy = policy
        self.known_heads.clear()
        principals = set(policy.tokens.values())
        for session in self.sessions:
            if session.principal not in principals:
                self.close_session(session)
        for exchange in list(self._listeners):
            if exchange.head.principal not in principals:
                self.end_stream(exchange)

    def set_limits(self, limits: ResourceLimits) -> None:
        """New limits; buckets that are not changed stay as full as they are."""
        if limits == self._limits:
            return
        self._limits = limits
        self._limiters.clear()
        self.known_heads.clear()

    def catalogue_changed(self, pool: ServerPool, kinds: frozenset[str]) -> None:
        """A server's lists are new."""
        for view in (self._merged, self._single.get(f"/servers/{pool.spec.id}/mcp".encode())):
            if view is not None and pool.spec.id in view.pools:
                view.refresh(pool)
                self._tell_changed(view, kinds)

    # -- what the lane asks ------------------------------------------------------------------------------

    def view_of(self, path: bytes) -> View | Problem | None:
        """The endpoint at a path; a Problem for a server that is not there; None for what is not MCP."""
        if path == b"/mcp":
            return self._merged
        if not (path.startswith(b"/servers/") and path.endswith(b"/mcp") and path.count(b"/") == 3):
            return None
        view = self._single.get(path)
        if view is not None:
            return view
        name = path[len(b"/servers/") : -len(b"/mcp")].decode("latin-1")
        known = ", ".join(sorted(self._merged.pools)) or "none"
        return Problem(
            "unknown-server", "No such server", f"no server {name!r}; there are: {known}", 404, Fault.CLIENT
        )

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
        return None if session_id is None else self.sessions.find(session_id, principal, endpoint)

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
        self._require_room(pool)
        self.in_flight += 1
        pool.calls_held += 1
        try:
            yield
        finally:
            self.in_flight -= 1
            pool.calls_held -= 1

    def _require_room(self, pool: ServerPool) -> None:
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
        self._enter(exchange, route.stats, route.pool, safe=route.safe)

    def _enter(self, exchange: Exchange, stats: CallStats, pool: ServerPool, *, safe: bool) -> None:
        if exchange.head.session is not None:
            exchange.head.session.calls[exchange.id] = exchange
        self.in_flight += 1
        pool.calls_held += 1
        exchange.stats = stats
        exchange.pool = pool
        exchange.safe = safe
        if exchange.head.view.merged:
            exchange.server = pool.spec.id

    def leave(self, exchange: Exchange, outcome: Outcome) -> None:
        """A call has ended."""
        self.in_flight -= 1
        exchange.pool.calls_held -= 1  # type: ignore[union-attr] # it has one since it began
        stats, exchange.stats = exchange.stats, None
        if stats is not None:
            stats.record(monotonic() - exchange.started, outcome)
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

    def failed(self, exchange: Exchange, error: Exception) -> None:
        """A fault of ours in the middle of a request: it is logged, and its client told."""
        LOG.error("request failed", method=exchange.method[:100], exc_info=error)
        if exchange.stats is not None:
            self.leave(exchange, Outcome.REFUSED)
        exchange.fail(McpError(INTERNAL_ERROR, "Internal error; the gateway's log has more"))

    def lost(self, exchange: Exchange) -> None:
        """The client of an exchange has gone. Modern: that cancels. Legacy: it does not."""
        exchange.lane = None
        self.end_stream(exchange)
        if exchange.head.era is Era.MODERN:
            exchange.cancel("the client closed the connection")

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
        self.check_caller(exchange, meta, mirrored_name(message.method, members))
        if may_wait and (coming := self._must_wait_for(exchange, members)):
            self._wait(exchange, self._dispatch_later(exchange, message, coming))
        elif message.method in _LISTS:
            self._list(exchange, _LISTS[message.method], members)
        elif message.method in ("tools/call", "prompts/get", "resources/read", "completion/complete"):
            self._forward(exchange, members, meta)
        elif exchange.head.era is Era.LEGACY and message.method == "ping":
            exchange.finish(200, result(exchange.id, b"{}"))
        elif exchange.head.era is Era.MODERN and message.method == "server/discover":
            self._discover(exchange)
        elif exchange.head.era is Era.MODERN and message.method == "subscriptions/listen":
            self._listen(exchange, members)
        else:
            raise McpError(METHOD_NOT_FOUND, f"Method not found: {message.method[:200]}")

    async def _dispatch_later(self, exchange: Exchange, message: Incoming, coming: list[ServerPool]) -> None:
        """A client that comes while servers start for the first time sees all of them, or waits in vain."""
        await asyncio.gather(*(pool.settled.wait() for pool in coming))
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
        coming = exchange.head.view.coming() if len(self._tasks) < MAX_WAITING else []
        if not coming or exchange.method in _LISTS:
            return coming
        name = bytes(members.get("name", Raw(b"")))
        known = exchange.head.view.tools if exchange.method == "tools/call" else exchange.head.view.prompts
        if exchange.method not in ("tools/call", "prompts/get") or name in known:
            return []
        return [pool for pool in coming if name.startswith(f'"{pool.spec.id}{SEPARATOR}'.encode())]

    def _wait(self, exchange: Exchange, work: Coroutine[Any, Any, None]) -> None:
        """Go on with a request in a task that ends with it; a client can cancel it meanwhile."""
        exchange.waiting = self._tasks.spawn(work, f"{exchange.method[:40]} waits")
        session = exchange.head.session
        if session is not None:
            session.calls[exchange.id] = exchange
            exchange.waiting.add_done_callback(lambda _: self._forget_call(exchange))

    def _forget_call(self, exchange: Exchange) -> None:
        session = exchange.head.session
        if exchange.stats is None and session is not None and session.calls.get(exchange.id) is exchange:
            del session.calls[exchange.id]

    def _accept_answer(self, exchange: Exchange, message: Incoming) -> None:
        if message.result is UNSET and message.error is UNSET:
            raise McpError(INVALID_REQUEST, "Invalid request: no method, result or error", status=400)
        self._require_session_for_notes(exchange)
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
        exchange.respond(202)

    def _require_session_for_notes(self, exchange: Exchange) -> None:
        if exchange.head.era is Era.LEGACY:
            self.check_caller(exchange, NO_META, None)

    # -- the handshakes ----------------------------------------------------------------------------------

    def _initialize(self, exchange: Exchange, members: dict[str, Raw]) -> None:
        head = exchange.head
        version = eras.negotiate_legacy(decode_any(members.get("protocolVersion", Raw(b"null"))))
        session = self.sessions.create(head.principal, head.view.endpoint, version, exchange.started)
        answer: dict[str, Any] = {"protocolVersion": version, **self._about(head.view)}
        answer["serverInfo"] = Raw(GATEWAY_INFO)
        exchange.finish(
            200, result(exchange.id, encode_json(answer)), b"mcp-session-id: %b\r\n" % session.id.encode()
        )

    def _discover(self, exchange: Exchange) -> None:
        answer = {
            "resultType": "complete",
            "supportedVersions": [*eras.MODERN_VERSIONS, *eras.LEGACY_VERSIONS],
            **self._about(exchange.head.view),
            "ttlMs": LIST_TTL,
            "cacheScope": "private",
            "_meta": {eras.RESERVED + "serverInfo": Raw(GATEWAY_INFO)},
        }
        exchange.finish(200, result(exchange.id, encode_json(answer)))

    def _about(self, view: View) -> dict[str, Any]:
        """Capabilities and instructions of an endpoint."""
        changing = {"listChanged": True}
        capabilities: dict[str, Any] = {
            "tools": changing,
            "prompts": changing,
            "resources": changing,
            "completions": {},
        }
        if view.merged:
            return {"capabilities": capabilities, "instructions": _merged_instructions(view)}
        about: dict[str, Any] = {"capabilities": capabilities}
        last = view.pools[view.endpoint].members.last
        if last is not None and last.negotiated is not None:
            about["capabilities"] = {k: v for k, v in capabilities.items() if last.supports(k)}
            if last.negotiated.instructions is not None:
                about["instructions"] = last.negotiated.instructions
        return about

    # -- lists -------------------------------------------------------------------------------------------

    def _list(self, exchange: Exchange, kind: str, members: dict[str, Raw]) -> None:
        cursor = decode_any(members.get("cursor", Raw(b"null")))
        if cursor is not None and not isinstance(cursor, str):
            raise McpError(INVALID_PARAMS, "Invalid cursor: it must be a string")
        page = exchange.head.view.page(kind, cursor)
        if exchange.head.era is Era.MODERN:
            page += b',"resultType":"complete","ttlMs":%d,"cacheScope":"private"' % LIST_TTL
        exchange.finish(200, result(exchange.id, b"{" + page + b"}"))

    def _listen(self, exchange: Exchange, members: dict[str, Raw]) -> None:
        wanted = decode_any(members.get("notifications", Raw(b"null")))
        if not isinstance(wanted, dict):
            raise McpError(INVALID_PARAMS, "subscriptions/listen: params.notifications must be an object")
        if not exchange.head.accepts_stream:
            raise McpError(INVALID_REQUEST, "subscriptions/listen needs Accept: text/event-stream")
        honoured = {flag: True for flag, _ in CHANGE_METHODS.values() if wanted.get(flag) is True}
        methods = frozenset(method for flag, method in CHANGE_METHODS.values() if flag in honoured)
        self._listeners[exchange] = Listener(exchange, methods)
        self.metrics.streams += 1
        params = {"notifications": honoured, "_meta": {eras.META_SUBSCRIPTION: Raw(exchange.id)}}
        exchange.event(notification("notifications/subscriptions/acknowledged", encode_json(params)))

    def _tell_changed(self, view: View, kinds: frozenset[str]) -> None:
        """Each listening client of the view hears once of each list that changed."""
        methods = sorted({CHANGE_METHODS[kind][1] for kind in kinds})
        for listener in list(self._listeners.values()):
            if listener.exchange.head.view is not view:
                continue
            meta = encode_json({"_meta": {eras.META_SUBSCRIPTION: Raw(listener.exchange.id)}})
            for method in methods:
                if method in listener.wanted:
                    listener.exchange.event(notification(method, meta))
        for session in self.sessions:
            if session.endpoint == view.endpoint:
                self._tell_session(session, methods)

    def _tell_session(self, session: Session, methods: list[str]) -> None:
        if session.stream is None:
            session.changed = (session.changed or set()) | set(methods)
            return
        for method in methods:
            session.stream.event(notification(method))

    # -- streams and ends of sessions --------------------------------------------------------------------

    def open_stream(self, exchange: Exchange) -> None:
        """GET: the session's stream for what the server says by itself; a new one replaces an old one."""
        exchange.method = "GET"
        session = self._session_or_refuse(exchange)
        if session is None:
            return
        if not exchange.head.accepts_stream:
            exchange.respond(406)
            return
        if session.stream is not None:
            self.end_stream(session.stream)
        session.stream = exchange
        self.metrics.streams += 1
        exchange.open()
        changed, session.changed = session.changed, None
        self._tell_session(session, sorted(changed or ()))

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
        for call in list(session.calls.values()):
            call.cancel("its session has ended")
        if session.stream is not None:
            self.end_stream(session.stream)
        for pool in self._merged.pools.values():
            if pool.holds(session.key):
                self._tasks.spawn(pool.release(session.key), f"release {session.id[:8]} {pool.spec.id}")

    def end_stream(self, exchange: Exchange) -> None:
        """End a GET stream or a subscription; others are left alone."""
        session = exchange.head.session
        if session is not None and session.stream is exchange:
            session.stream = None
            self.metrics.streams -= 1
            exchange.end()
        elif self._listeners.pop(exchange, None) is not None:
            self.metrics.streams -= 1
            body = encode_json(
                {"resultType": "complete", "_meta": {eras.META_SUBSCRIPTION: Raw(exchange.id)}}
            )
            exchange.finish(200, result(exchange.id, body))

    # -- forwarding --------------------------------------------------------------------------------------

    def _forward(self, exchange: Exchange, members: dict[str, Raw], meta: Meta) -> None:
        pool, name, safe = self._target(exchange, members)
        self._require_room(pool)
        self._enter(exchange, self.metrics.calls(pool.spec.id, exchange.method), pool, safe=safe)
        exchange.params, exchange.meta, exchange.name = join_members(dict(members)), meta, name
        exchange.progress_token = meta.progress_token
        self._send(exchange, pool)

    def _send(self, exchange: Exchange, pool: ServerPool) -> None:
        """Send a call to an instance, now or as soon as there is one."""
        instance = pool.pick(exchange.head.key)
        if instance is not None and not instance.overloaded:
            exchange.send(instance, pool)
        else:
            self._wait(exchange, self._send_later(exchange, pool))

    async def _send_later(self, exchange: Exchange, pool: ServerPool, *, healthy: bool = False) -> None:
        """Wait for an instance, then send; what fails is told to the client."""
        left = exchange.started + pool.spec.timeouts.call - monotonic()
        try:
            instance = await pool.acquire(exchange.head.key, timeout=max(0.0, left), healthy=healthy)
            instance.require_ear()
        except ProblemError as refused:
            if not exchange.ended and not exchange.attempts():
                self.leave(exchange, Outcome.REFUSED)
                exchange.fail_with(refused.problem)
            return
        session = exchange.head.session
        if session is not None and session.ended:  # it ended while we waited: its new lease goes, too
            await pool.release(session.key)
        if not exchange.ended:
            exchange.send(instance, pool)

    # -- when an instance fails --------------------------------------------------------------------------

    def call_failed(self, exchange: Exchange, failure: Failure) -> None:
        """No attempt of a call is left: it is sent to another instance, or its client is told why not."""
        pool = exchange.pool
        if pool is None or failure.kind is FailureKind.TIMED_OUT or self._closing:
            exchange.give_up(failure)
            return
        why = pool.why_not_replay(safe=exchange.safe, replays=exchange.replays)
        if why is not None:
            self.metrics.not_replayed(pool.spec.id)
            exchange.give_up(failure, why)
            return
        self.metrics.replayed(pool.spec.id)
        exchange.replays += 1
        exchange.earlier = ()
        if exchange.instance is not None and exchange.instance.state is InstanceState.READY:
            # It lives and could not take the call (HTTP 502, say): one that is known to be well is asked.
            self._wait(exchange, self._send_later(exchange, pool, healthy=True))
        else:
            self._send(exchange, pool)

    def call_stuck(self, exchange: Exchange) -> None:
        """The instance that has a call looks hung. Where that is safe, a healthy one is asked, too.

        Once at most: what takes long there for a good reason takes long elsewhere.
        """
        pool = exchange.pool
        if pool is None or exchange.earlier or self._closing:
            return
        if pool.why_not_replay(safe=exchange.safe, replays=exchange.replays) is None:
            self.metrics.replayed(pool.spec.id)
            exchange.replays += 1
            exchange.earlier = tuple(exchange.attempts())
            self._wait(exchange, self._send_later(exchange, pool, healthy=True))

    def _target(self, exchange: Exchange, members: dict[str, Raw]) -> tuple[ServerPool, str, bool]:
        """Which server a request is for, its name there, whether it does no harm when it happens twice.

        The names in `members` are put back to the server's own.
        """
        view, method = exchange.head.view, exchange.method
        if method == "completion/complete":
            return *self._completion_target(view, members), True
        if method == "resources/read":
            pool, uri = view.resource(text_member(members, "uri"))
            members["uri"] = Raw(encode_json(uri))
            return pool, uri, True
        name = text_member(members, "name")
        route = (view.tools if method == "tools/call" else view.prompts).get(encode_json(name))
        if route is None:
            if not view.merged:  # the server's list may be behind: let it decide
                return view.pools[view.endpoint], name, method != "tools/call"
            what = "tool" if method == "tools/call" else "prompt"
            raise McpError(INVALID_PARAMS, f"Unknown {what}: {name[:200]}")
        members["name"] = Raw(route.json_name)
        return route.pool, route.name, route.safe

    def _completion_target(self, view: View, members: dict[str, Raw]) -> tuple[ServerPool, str]:
        reference = decode_members(members.get("ref", UNSET))
        if "uri" in reference:
            pool, uri = view.resource(text_member(reference, "uri"))
            reference["uri"] = Raw(encode_json(uri))
        else:
            route = view.prompts.get(encode_json(text_member(reference, "name")))
            if route is None:
                raise McpError(INVALID_PARAMS, "completion/complete: unknown prompt in params.ref")
            pool, reference["name"] = route.pool, Raw(route.json_name)
        members["ref"] = Raw(join_members(dict(reference)))
        return pool, ""

    # -- time and the end --------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """About once a second: end the sessions that nobody used for long. `now` is loop time."""
        for session in self.sessions.idle(now):
            LOG.info("session expired", session=session.id[:8])
            self.close_session(session)
        self.metrics.sessions = len(self.sessions)

    async def close(self) -> None:
        """Wait for nothing any more: calls that lose their instance from now on fail."""
        self._closing = True
        await self._tasks.close()

    def _task_failed(self, name: str, error: BaseException) -> None:
        LOG.error("task failed", task=name, exc_info=error)


def _no_session(head: Head) -> McpError:
    if head.session_id is None:
        return McpError(
            -32000, "Bad Request: the header Mcp-Session-Id is missing; begin with initialize", status=400
        )
    return McpError(
        SESSION_ENDED, "Session not found: it has ended or is not yours; initialize anew", status=404
    )


def _merged_instructions(view: View) -> str:
    servers = ", ".join(view.pools)
    return (
        f"Fairlead joins these MCP servers: {servers}. Tools and prompts are named server__name; "
        "resource URIs begin with fairlead://server/."
    )
