"""The fast lane: from bytes on a socket to bytes on an instance's link, and back.

`Lane` is uvicorn's HTTP protocol with one thing added: requests on MCP paths are answered here, without
ASGI, tasks or futures. Everything else (REST, pages, WebSocket) goes the ordinary way through `super()`.
A call travels like this, all of it synchronous:

    data_received -> _post -> decode -> route -> instance.forward       (bytes in; the link gathers writes)
    link -> instance.frame_received -> Exchange.answered -> Lane.write  (bytes out)

It reads top to bottom here; `exchange.py` is the request that travels.

Three ideas carry it:

*Known heads.* A client sends the same head again and again. The bytes of a head that was parsed, admitted and
found simple (POST, HTTP/1.1, Content-Length, keep-alive) are kept with what was decided about them, so the
next request with the same bytes needs neither parser nor admission. The table is bounded, and emptied when
tokens, policy or servers change; what can change from call to call (rate, session, concurrency) is looked at
each time.

*Slots.* HTTP/1.1 answers go out in the order of the requests. Each request of a connection, of either lane,
takes a slot in a queue; only the first slot writes to the socket, the others hold their bytes. The queue is
bounded. Reading goes on meanwhile, since only a socket that is read tells that the client has gone.

*Late streams.* An answer becomes an event stream only when something has to be said before the result
(progress); else it is plain JSON.
"""

from __future__ import annotations

import asyncio
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import httptools
from msgspec import UNSET
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from fairlead.core import refusals
from fairlead.core.access import CALLS
from fairlead.core.admission import (
    AdmissionPolicy,
    Preflight,
    Refused,
    RequestHead,
    admit,
    is_denied,
    transport_security,
)
from fairlead.mcp import eras
from fairlead.mcp.eras import NO_META, Era
from fairlead.mcp.errors import McpError
from fairlead.mcp.messages import (
    Incoming,
    decode_call,
    decode_incoming,
    encode_json,
    one_line,
    request_id,
)
from fairlead.model.access import Caller
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.orchestrator.gateway.doors import NOT_HERE, Door
from fairlead.orchestrator.gateway.exchange import MAX_HELD, Exchange
from fairlead.orchestrator.gateway.expulsion import expel_invalid
from fairlead.orchestrator.gateway.head import (
    BadHeadError,
    Head,
    accepted,
    answer_tails,
    encode_headers,
    last_event_id,
    origin_form,
    parameter_headers,
    require_json_body,
    routing_headers,
    twin_of,
)
from fairlead.orchestrator.gateway.refused import refused_head
from fairlead.orchestrator.gateway.slots import AppTurn, Refusal

if TYPE_CHECKING:
    from fairlead.orchestrator.gateway.gateway import Gateway
    from fairlead.orchestrator.gateway.views import View

MAX_SLOTS: Final = 64  # requests of one connection that wait for their answers
MAX_HEAD_BYTES: Final = 4096  # of one known head
LINGER: Final = 2.0  # s in which a refused client may read its answer
LAST_CALL: Final = 0.25  # s that an idle connection stays open when the service stops


class Lane(HttpToolsProtocol):
    """One connection. See the top of this file."""

    def __init__(self, *, gateway: Gateway, door: Door = Door.BOTH, **uvicorn: Any) -> None:
        super().__init__(**uvicorn)
        self.gateway = gateway
        self._door = door
        self._slots: deque[Exchange | AppTurn | Refusal] = deque()
        self._head: Head | None = None  # of the request that comes in, if it is the lane's
        self._caller: Caller | None = None  # of a head that is still looked at
        self._body: list[bytes] = []
        self._body_size = 0
        self._in_message = False
        self._in_head = False
        self._head_size = 0
        self._candidate: bytes | None = None  # the bytes of a head that may become a known one
        self._since = 0.0  # loop time of the last progress in reading
        self._closing = False  # no further requests are taken
        self._draining = False  # the service stops: what is on its way is answered, then the connection ends
        self._write_paused = False
        self._unread = 0  # bytes that the client had not read when we last looked
        self._missing = 0  # bytes of the body that is awaited past the parser
        self._offers_upgrade = False
        self._policy: AdmissionPolicy | None = None  # for which the peer was looked at
        self._expelled: AdmissionPolicy | None = gateway.policy  # that open requests were looked at for
        self._known: dict[bytes, Head] = {}
        self._decided = 0  # `heads_forgotten` when the head was decided about whose body is awaited
        self._commented = 0.0  # loop time of the last keep-alive comment

    @property
    def leaving(self) -> bool:
        """The answer that is given now is the last one of this connection."""
        return (self._closing or self._draining) and len(self._slots) == 1

    # == bytes in ========================================================================================

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._since = monotonic()
        self.gateway.metrics.connections += 1

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        gateway = self.gateway
        gateway.metrics.bytes_in += len(data)
        if self._missing:
            data = self._collect(data)
        if not self._in_message:
            if self._policy is not gateway.policy:
                self._look_at_peer()
            now = monotonic()
            while (end := data.find(b"\r\n\r\n") + 4) > 3:
                head = self._known.get(data[:end])
                if head is None:
                    break
                self._since = now
                stop = end + (head.length or 0)  # a known head has a length
                if stop > len(data):
                    self._await_body(head, data[end:], stop - len(data))
                    return
                self._post(head, data[end:stop], now)
                if stop == len(data) or self._closing:
                    return
                data = data[stop:]
            self._candidate = data[:end] if 3 < end <= MAX_HEAD_BYTES else None
        if data and not self._closing:
            self._parse(data)

    def _look_at_peer(self) -> None:
        """Known heads are for peers that the policy does not deny; the others meet the parser, and 403."""
        gateway = self.gateway
        self._policy = gateway.policy
        denied = gateway.policy.denied and self.client and is_denied(self.client[0], gateway.policy.denied)
        self._known = {} if denied or Door.MCP not in self._door else gateway.known_heads

    def _await_body(self, head: Head, body: bytes, missing: int) -> None:
        """A body that came in part: the rest is taken as it comes, past the parser."""
        self._head, self._body, self._missing = head, [body], missing
        self._decided = self.gateway.heads_forgotten
        self._in_message, self._in_head = True, False

    def _collect(self, data: bytes) -> bytes:
        """Take what belongs to the body that is awaited; returns what follows it."""
        self._body.append(data[: self._missing])
        rest, self._missing = data[self._missing :], max(0, self._missing - len(data))
        head = self._head
        if not self._missing and head is not None:
            self._head, self._in_message = None, False
            self._since = monotonic()
            self._post_late(head, b"".join(self._body), self._since)
            self._body = []
        return rest

    def _parse(self, data: bytes) -> None:
        """The slow way in, through the parser; ends in `on_message_complete`."""
        if self._in_head or not self._in_message:
            self._head_size += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._no_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as broken:
            if not self._closing:
                cause = broken.__context__ or broken
                detail = f"the request is not HTTP/1.1: {cause}"
                self._refuse(Problem("bad-request", "Bad request", detail, 400, Fault.CLIENT))
        else:
            if self._in_head and self._head_size > self.gateway.policy.limits.header_bytes:
                limits = self.gateway.policy.limits
                self._refuse(refusals.headers_too_large(limits.header_bytes, limits.header_count))

    def _no_upgrade(self, rest: bytes) -> None:
        """The client offers another protocol (h2c, say), and the parser stops at the head.

        A request of the fast lane is answered as if nothing had been offered. One of the ordinary lane is
        answered too, without a body, and is the last one. A WebSocket of the ordinary lane gets a protocol of
        its own; its client has to wait for that with its first message.
        """
        if not self._offers_upgrade:
            if self._should_upgrade() and not self._slots and not self._closing:
                if rest:
                    detail = "nothing may follow the head of a WebSocket's handshake before its answer"
                    self._refuse(Problem("bad-request", "Bad request", detail, 400, Fault.CLIENT))
                else:
                    self.gateway.metrics.connections -= 1
                    self.handle_websocket_upgrade()
                return
            self._closing = True
            self._advance()
            return
        self._offers_upgrade = False
        self.parser = httptools.HttpRequestParser(self)
        head, self._head = self._head, None
        if head is None:
            return  # refused
        if head.method != b"POST":
            self._other_method(head)
        elif head.length is None:
            detail = "a chunked body cannot follow an offer to upgrade"
            self._refuse(Problem("bad-request", "Bad request", detail, 400, Fault.CLIENT))
        elif head.length:
            self._await_body(head, b"", head.length)
        else:
            self._post(head, b"", monotonic())
        if rest:
            self.data_received(rest)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_message = self._in_head = True
        self._since = monotonic()
        self._head = self._caller = None
        self._body, self._body_size = [], 0

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:
            super().on_header(name, value)
            return
        self._head_size += len(name) + len(value)  # a trailer: counted, not kept
        limits = self.gateway.policy.limits
        if self._head_size <= limits.header_bytes or self._closing:
            return
        if self._head is None:
            self._abort()  # the application waits for the end of a body that does not come
        else:
            self._refuse(refusals.headers_too_large(limits.header_bytes, limits.header_count))

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_size = 0
        self._since = monotonic()
        if self._closing:
            return
        if len(self._slots) >= MAX_SLOTS:
            self._refuse(refusals.too_many_pipelined(MAX_SLOTS))
            return
        try:
            self.url = origin_form(self.url, self.headers)
            path = self.url.partition(b"?")[0]
            view = self.gateway.endpoints.at(twin_of(path))
            if not self._door.leads_to(path, mcp=view is not None):
                self._refuse(NOT_HERE)
                return
            if view is None:
                self.cycle = None  # type: ignore[assignment] # the order of answers is kept by the slots
                super().on_headers_complete()
                return
            self._decided = self.gateway.heads_forgotten
            self._head = self._admit(view)
            self._offers_upgrade = self.parser.should_upgrade()
        except BadHeadError as bad:
            self._refuse(
                Problem("bad-request", "Bad request", bad.message, bad.status, Fault.CLIENT), bad.headers
            )

    def on_body(self, body: bytes) -> None:
        if self._head is None:
            if not self._closing:
                super().on_body(body)
            return
        self._body.append(body)
        self._body_size += len(body)
        if self._body_size > self.gateway.policy.limits.body_bytes:
            self._refuse(refusals.body_too_large(self.gateway.policy.limits.body_bytes))

    def on_message_complete(self) -> None:
        self._in_message = False
        self._since = monotonic()
        candidate, self._candidate = self._candidate, None
        if self._closing or self._offers_upgrade:
            return
        head = self._head
        if head is None:
            if self.cycle is not None:
                super().on_message_complete()
            return
        self._head = None
        if head.method == b"POST":
            if candidate is not None and self._is_simple(head, candidate):
                self.gateway.remember(candidate, head)
            self._post_late(head, b"".join(self._body), self._since)
            self._body = []
        else:
            self._other_method(head)

    def _is_simple(self, head: Head, candidate: bytes) -> bool:
        """Whether the bytes are this head and nothing else, and say all that there is to know.

        A parser is lenient (it skips empty lines before a request, say), so the lines are counted: one
        for the request, one for each header, one that ends the head.
        """
        lowered = candidate.lower()
        lines = len(self.headers) + 2
        return (
            self._decided == self.gateway.heads_forgotten  # nothing has changed since
            and candidate.startswith(b"POST ")
            and candidate.count(b"\r\n") == candidate.count(b"\n") == lines
            and head.length is not None
            and head.keep_alive
            and head.chunked_answers
            and b"\nexpect:" not in lowered
            and b"\nupgrade:" not in lowered
            and (head.session_id is None) == (head.session is None)
            and not head.parameters  # they change from call to call
        )

    # == admission =======================================================================================

    def _admit(self, view: View | Problem) -> Head | None:
        """Decide about a head; None when it was refused (or is a preflight) and the answer is on its way."""
        if len(self.connections) > (self.limit_concurrency or len(self.connections)):
            detail = f"{self.limit_concurrency} connections are open, which is the limit"
            self._refuse(Problem("too-many-connections", "Overloaded", detail, 503, Fault.GATEWAY, 1.0))
            return None
        gateway, headers = self.gateway, self.headers
        method = self.parser.get_method()
        path = self.url.partition(b"?")[0]
        verdict = admit(
            RequestHead(method, path, headers, self.client[0] if self.client else None), gateway.policy
        )
        if isinstance(verdict, Refused):
            self._refuse(verdict.problem, encode_headers(verdict.headers))
            return None
        if isinstance(verdict, Preflight):
            self._slots.append(
                Refusal(STATUS_LINE[204] + encode_headers(verdict.headers) + b"connection: close\r\n\r\n")
            )
            self._closing = True
            self._advance()
            return None
        caller, cors = verdict.caller, verdict.cors
        self._caller = caller
        assert caller is not None
        principal = caller.name
        view = (gateway.endpoints.at(twin_of(path), caller.grants) or view) if caller.grants else view
        if isinstance(view, Problem):
            self._refuse(view)
            return None
        if method == b"POST":
            require_json_body(headers)
        era, routing, session_id = routing_headers(headers)
        if era is Era.MODERN:
            session_id = None  # it has none, whatever a client sends
        session = gateway.find_session(session_id, caller, view.endpoint)
        http11 = self.parser.get_http_version() == "1.1"
        keep_alive = http11 and self.parser.should_keep_alive()
        accepts_json, accepts_stream = accepted(headers)
        if not accepts_json and not accepts_stream:
            raise BadHeadError(
                406, "Accept must have application/json or text/event-stream", encode_headers(cors)
            )
        tails = answer_tails(
            cors + transport_security(self.scheme or "", headers), keep_alive=keep_alive, chunked=http11
        )
        length = next((int(value) for name, value in headers if name == b"content-length"), None)
        if self.expect_100_continue and http11 and not self._slots:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        admitted = Head(
            view=view, method=method, caller=caller, principal=principal,
            account=gateway.account(principal), era=era, routing=routing, session_id=session_id,
            session=session,
            key=session.key if session is not None else f"principal:{principal}",
            length=length, keep_alive=keep_alive, chunked_answers=http11, accepts_json=accepts_json,
            accepts_stream=accepts_stream, tails=tails,
            may_call=caller.role >= CALLS,
            parameters=parameter_headers(headers) if era is Era.MODERN else (),
            last_event_id=last_event_id(headers) if method == b"GET" else "",
        )  # fmt: skip
        if twin_of(path) != path:
            gateway.legacy_sse.settle(admitted, self.url)
        return admitted

    # == a request =======================================================================================

    def _post_late(self, head: Head, body: bytes, now: float) -> None:
        """The body came after the head, and meanwhile the credential may have been revoked, or expired."""
        looked_at = self._decided == self.gateway.heads_forgotten and head.caller.expires is None
        if looked_at or self.gateway.policy.identities.is_valid(head.caller):
            self._post(head, body, now)
            return
        self._head = head
        self._refuse(refusals.INVALID_TOKEN)

    def _post(self, head: Head, body: bytes, now: float) -> None:
        """One JSON-RPC message from a client."""
        if len(self._slots) >= MAX_SLOTS:
            self._head = head
            self._refuse(refusals.too_many_pipelined(MAX_SLOTS))
            return
        gateway = self.gateway
        exchange = Exchange(self, head, now)
        self._slots.append(exchange)
        try:
            if head.over_sse:
                gateway.legacy_sse.post(exchange, body)
                return
            if (wait := head.account.admit(now)) > 0.0:
                gateway.refuse_rate(exchange, body, wait)
                return
            message = decode_incoming(body)
            if message.method != "tools/call" or not self._call(exchange, message):
                gateway.dispatch(exchange, message)
        except McpError as refused:
            exchange.fail(refused)
        except ProblemError as refused:
            exchange.fail_with(refused.problem)
        except Exception as error:  # noqa: BLE001 - a fault of ours ends one call, not a connection
            gateway.failed(exchange, error)

    def _call(self, exchange: Exchange, message: Incoming) -> bool:
        """`tools/call` in its usual form, to an instance that is ready; False leaves it to the slow path."""
        head = exchange.head
        if message.id is UNSET or message.params is UNSET or not head.may_call:
            return False
        call = decode_call(bytes(message.params))
        if call is None:
            return False
        route = head.view.tools.get(bytes(call.name))
        if route is None or route.mirrored:
            return False
        exchange.id = request_id(message)
        exchange.method = "tools/call"
        meta = NO_META if call.meta is UNSET else eras.read_meta(bytes(call.meta))
        exchange.meta, exchange.exposed = meta, route.exposed
        self.gateway.check_caller(exchange, meta, route.exposed)
        if route.pool.bridges and (exchange.profile or exchange.log_level):
            return False
        instance = route.pool.pick(head.key)
        if instance is None or instance.overloaded or not self.gateway.has_room(route.pool, head.account):
            return False
        arguments = b',"arguments":' + one_line(bytes(call.arguments)) if call.arguments is not UNSET else b""
        self.gateway.enter(exchange, route)
        exchange.forward(
            instance, route.pool, b'{"name":%b%b}' % (route.json_name, arguments), exchange.meta, route.name
        )
        return True

    def _other_method(self, head: Head) -> None:
        exchange = Exchange(self, head, self._since)
        self._slots.append(exchange)
        if (wait := head.account.admit(self._since)) > 0.0:
            self.gateway.refused(exchange, "rate-limited")
            exchange.respond(429, b"retry-after: %d\r\n" % max(1, -int(-wait // 1)))
        elif head.method == b"GET":
            self.gateway.open_stream(exchange)
        elif head.method == b"DELETE":
            self.gateway.end_session(exchange)
        else:
            exchange.respond(405, b"allow: GET, POST, DELETE\r\n")

    # == bytes out =======================================================================================

    def write(self, exchange: Exchange, data: bytes, *, last: bool) -> None:
        """Bytes of one slot: to the socket if it is first, else kept until it is."""
        slots = self._slots
        if slots[0] is not exchange:
            if not exchange.hold(data):
                self._abort()
            return
        self.gateway.metrics.bytes_out += len(data)
        self.transport.write(data)
        if last:
            slots.popleft()
            self._after(exchange.head.keep_alive)
        elif self._write_paused and self.transport.get_write_buffer_size() - len(data) > MAX_HELD:
            self._abort()  # a stream that nobody reads

    def _after(self, keep_alive: bool) -> None:
        """A slot is done."""
        if not keep_alive or (not self._slots and (self._closing or self._draining)):
            self._close()
        elif self._slots:
            self._advance()

    def _advance(self) -> None:
        """Let the slots at the head of the queue write what they have."""
        while self._slots and not self.transport.is_closing():
            first = self._slots[0]
            if type(first) is Exchange:
                if held := first.take_held():
                    self.transport.write(held)
                if first.lane is not None and not first.ended:
                    return
                self._slots.popleft()
                if not first.head.keep_alive:
                    self._close()
                    return
            elif type(first) is AppTurn:
                if not first.started:
                    first.started = True
                    super()._start_asgi_task(first.cycle, first.app)
                return
            else:
                assert type(first) is Refusal
                self.transport.write(first.data)
                self._slots.popleft()
                self._linger()
                return
        if self._closing and not self._slots:
            self._close()

    def _refuse(self, problem: Problem, headers: bytes = b"") -> None:
        """Answer in turn with a problem, take no further request, then close."""
        self.gateway.metrics.refused(problem.code)
        target = (self.parser.get_method(), self.url) if self._in_message else None
        peer = self.client[0] if self.client else ""
        self.gateway.audit.refused(refused_head(problem.code, self._head or self._caller, target, peer))
        if problem.retry_after is not None:
            headers += b"retry-after: %d\r\n" % max(1, round(problem.retry_after))
        headers += encode_headers(transport_security(self.scheme or "", self.headers))
        body = encode_json(problem.document(""))
        self._closing = True
        self._head = self._caller = None
        self._slots.append(
            Refusal(
                b"%bcontent-type: application/problem+json\r\ncontent-length: %d\r\n"
                b"x-content-type-options: nosniff\r\ncache-control: no-store\r\n%bconnection: close\r\n\r\n%b"
                % (STATUS_LINE[problem.status], len(body), headers, body)
            )
        )
        self._advance()

    def _linger(self) -> None:
        """Half-close, so that a client which still sends can read its answer before the connection ends."""
        if not self.transport.is_closing():
            self._closing = True
            self._since = monotonic()
            if self.transport.can_write_eof():
                self.transport.write_eof()
            else:
                self.transport.close()

    def _close(self) -> None:
        self._closing = True
        if not self.transport.is_closing():
            self.transport.close()

    def _abort(self) -> None:
        self._closing = True
        self.transport.abort()

    # == the ordinary lane in the queue ==================================================================

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._slots.append(AppTurn(cycle, app))
        if len(self._slots) == 1:
            self._advance()

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        turn = self._slots[0] if self._slots else None
        if isinstance(turn, AppTurn):
            self._slots.popleft()
            self._since = monotonic()
            self.flow.resume_reading()
            self._after(turn.cycle.keep_alive)

    # == time, back pressure, ends =======================================================================

    def tick(self, now: float) -> None:
        """Called about once a second: close what has been silent for too long."""
        limits = self.gateway.timeouts
        self._expel()
        idle = now - self._since
        if self._write_paused:
            unread, self._unread = self._unread, self.transport.get_write_buffer_size()
            if self._unread < unread:
                self._since = now  # it reads, if slowly
            elif idle > limits.body:
                self._abort()
        elif self._closing and not self._slots:
            if idle > LINGER:
                self._abort()
        elif self._in_message:
            limit = limits.head if self._in_head else limits.body
            if idle > limit and not self._slots:
                slow = refusals.head_too_slow if self._in_head else refusals.body_too_slow
                self._refuse(slow(limit))
        elif self._slots:
            first = self._slots[0]
            self._since = now
            if type(first) is Exchange and now - self._commented > limits.comment:
                self._commented = now
                first.comment()
            if self._draining:
                self._wind_up()  # what was still awaited on a stream may have come
        elif idle > limits.keep_alive:
            self._close()

    def _expel(self) -> None:
        """End the requests of those whose credentials are good no more."""
        before, self._expelled = self._expelled, self.gateway.policy
        fresh = self._expelled is not before
        for slot in list(self._slots):
            if type(slot) is Exchange and (fresh or slot.head.caller.expires is not None):
                expel_invalid(self.gateway, slot)

    def pause_writing(self) -> None:
        """The client does not read its answers: take no more requests until it does."""
        super().pause_writing()
        self._write_paused = True
        self._since = monotonic()
        self.flow.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._write_paused = False
        self._since = monotonic()
        self.flow.resume_reading()

    def eof_received(self) -> bool:  # type: ignore[override] # asyncio allows a bool
        """The client sends nothing more. It may still read, except where closing means cancelling."""
        for slot in self._slots:
            if type(slot) is Exchange and (slot.head.era is Era.MODERN or slot.method == "GET"):
                return False
            if type(slot) is AppTurn:
                if slot.is_streaming:
                    return False
                slot.cycle.scope["state"]["sends_no_more"] = True
        self._closing = bool(self._slots) or self._closing
        return bool(self._slots)

    def connection_lost(self, exc: Exception | None) -> None:
        slots, self._slots = self._slots, deque()
        self._closing = True
        for slot in slots:
            if type(slot) is AppTurn:
                slot.cycle.disconnected = True
                slot.cycle.message_event.set()
            elif type(slot) is Exchange:
                self.gateway.lost(slot)
        self.gateway.metrics.connections -= 1
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """uvicorn stops: streams end now, answers in flight are finished and say that they are the last.

        An idle client may be sending already, so it gets a moment before its connection is closed.
        """
        self._draining = True
        self._wind_up()
        if not self._slots:
            self.loop.call_later(LAST_CALL, self._close_idle)

    def _wind_up(self) -> None:
        for slot in list(self._slots):
            if type(slot) is AppTurn:
                slot.cycle.keep_alive = False
            elif type(slot) is Exchange and slot.instance is None:
                self.gateway.wind_up(slot)

    def _close_idle(self) -> None:
        if not self._slots:
            self._close()


def make_lane(gateway: Gateway, door: Door = Door.BOTH) -> type[asyncio.Protocol]:
    """The protocol class that uvicorn wants, bound to one gateway and what is served at one address."""

    def init(self: Lane, **uvicorn: Any) -> None:
        Lane.__init__(self, gateway=gateway, door=door, **uvicorn)

    return type("BoundLane", (Lane,), {"__init__": init})
