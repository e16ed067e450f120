"""The HTTP transport of 2024-11-05, for clients that know no other: HTTP+SSE.

`GET /sse` (and its twins under `/servers` and `/toolsets`) opens the one event stream of a new session. Its
first event, `endpoint`, says where messages are posted; each of them gets 202, and everything that there is
to say, answers included, comes as `message` events on the stream. The session ends with its stream, and
nothing can be resumed.

A posted message becomes an `Answer`: an exchange like any other, but for where its bytes go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn
from urllib.parse import parse_qs

from msgspec import UNSET

from fairlead.mcp.eras import Era
from fairlead.mcp.errors import INVALID_REQUEST, McpError
from fairlead.mcp.messages import decode_incoming
from fairlead.mcp.profiles import Profile
from fairlead.model.errors import Problem, ProblemError
from fairlead.orchestrator.gateway.exchange import Exchange
from fairlead.orchestrator.gateway.head import MESSAGES, BadHeadError, Head
from fairlead.orchestrator.gateway.views import path_of

if TYPE_CHECKING:
    from fairlead.orchestrator.gateway.gateway import Gateway
    from fairlead.orchestrator.gateway.sessions import Session

_GONE: Final = "Session not found: its event stream has ended, or it is not yours; open a new one"


class Answer(Exchange):
    """A message that was posted. What is said for it goes out on its session's stream."""

    __slots__ = ()

    def __init__(self, exchange: Exchange) -> None:
        assert exchange.lane is not None  # it has just come
        super().__init__(exchange.lane, exchange.head, exchange.started)
        self.lane = None

    def event(self, message: bytes, extra: bytes = b"") -> None:
        session = self.head.session
        if not self._ended and session is not None and session.stream is not None:
            session.stream.event(message)

    def finish(self, status: int, body: bytes, extra: bytes = b"") -> None:
        self.event(body)
        self._ended = True

    def respond(self, status: int, extra: bytes = b"") -> None:
        self._ended = True  # notifications and answers get 202, nothing else

    def end(self) -> None:
        self._ended = True

    @property
    def reachable(self) -> bool:
        session = self.head.session
        return not self._ended and session is not None and not session.ended


class LegacySse:
    """Of one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def settle(self, head: Head, target: bytes) -> None:
        """What is particular about a head of this transport. Raises BadHeadError."""
        head.era, head.over_sse = Era.LEGACY, True
        if not target.startswith(MESSAGES):
            if head.method != b"GET":
                _refuse_method(b"GET")
            head.session = None
            return
        if head.method != b"POST":
            _refuse_method(b"POST")
        query = parse_qs(target.partition(b"?")[2].decode("latin-1"))
        ids = query.get("session_id", [])
        if len(ids) != 1:
            raise BadHeadError(400, "The query must have one session_id, as the stream's first event says")
        session = self._gateway.sessions.named(ids[0], head.caller)
        view = None
        if session is not None:
            view = self._gateway.endpoints.at(path_of(session.endpoint), head.caller.grants)
        if session is None or not session.over_sse or view is None or isinstance(view, Problem):
            raise BadHeadError(404, _GONE)
        head.view, head.session, head.session_id, head.key = view, session, session.id, session.key
        head.accepts_json = head.accepts_stream = True  # what the POST accepts says nothing of the stream

    def open(self, exchange: Exchange) -> None:
        """GET: a new session, and its stream."""
        head, gateway = exchange.head, self._gateway
        if not head.accepts_stream:
            exchange.respond(406)
            return
        try:
            session = gateway.sessions.create(head.caller, head.view.endpoint, "", exchange.started)
        except ProblemError as full:
            exchange.fail_with(full.problem, status=full.problem.status)
            return
        session.over_sse = True
        session.stream = exchange
        exchange.open()
        exchange.chunk(b"event: endpoint\ndata: %b?session_id=%b\n\n" % (MESSAGES, session.id.encode()))
        head.session = session  # of this GET alone: heads of GETs are not shared

    def begin(self, session: Session, version: str, profile: Profile) -> None:
        """`initialize`, which in this transport comes when there is a session already. Raises McpError."""
        if session.version:
            raise McpError(INVALID_REQUEST, "This session is initialized already; open another stream")
        session.version, session.profile = version, profile

    def post(self, exchange: Exchange, body: bytes) -> None:
        """A message: 202 when it is well-formed. Raises McpError with the status that it gets else."""
        gateway = self._gateway
        head, session = exchange.head, exchange.head.session
        if session is None or session.ended:
            raise McpError(-32000, _GONE, status=404)
        session.used = exchange.started
        wait = head.account.admit(exchange.started)
        message = decode_incoming(body)
        answer = Answer(exchange)
        is_request = message.id is not UNSET and message.method is not UNSET
        if wait > 0.0 and not is_request:
            gateway.metrics.refused("rate-limited")
            exchange.respond(429, b"retry-after: %d\r\n" % max(1, -int(-wait // 1)))
            return
        try:
            if wait > 0.0:
                gateway.refuse_rate(answer, body, wait)
            else:
                gateway.dispatch(answer, message)
        except McpError as refused:
            if answer.id == b"null":  # nobody would know what it is about
                refused.status = refused.status or 400
                raise
            answer.fail(refused)
        except ProblemError as refused:
            answer.fail_with(refused.problem)
        except Exception as error:  # noqa: BLE001 - a fault of ours ends one call, not a connection
            gateway.failed(answer, error)
        exchange.respond(202)


def _refuse_method(allowed: bytes) -> NoReturn:
    raise BadHeadError(405, f"Only {allowed.decode()} is served here", b"allow: %b\r\n" % allowed)
