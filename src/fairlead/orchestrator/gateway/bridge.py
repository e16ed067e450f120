"""What servers want of clients in the middle of a call, carried over in all four cells of the eras.

    client   server
    legacy   legacy   the server's request goes out on the call's stream, the client's answer goes back
    modern   legacy   the call is parked; the request becomes `input_required` with a sealed handle, and the
                      client's next request answers it and takes the call up again
    modern   modern   `input_required` is relayed, the server's state sealed into ours
    legacy   modern   the gateway drives the rounds: it asks on the call's stream, then calls again

Whose call a legacy server's request belongs to is the instance's to know (see `MCPServerInstance`): here it
comes with the exchange.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections.abc import Callable, Collection
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import structlog
from msgspec import UNSET, Raw

from fairlead.mcp.eras import Era
from fairlead.mcp.errors import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    MISSING_CLIENT_CAPABILITY,
    UPSTREAM_FAILED,
    McpError,
)
from fairlead.mcp.log_levels import is_heard
from fairlead.mcp.messages import (
    Incoming,
    decode_any,
    decode_members,
    encode_json,
    join_members,
    notification,
    one_line,
    result,
)
from fairlead.mcp.profiles import ELICITATION
from fairlead.mcp.request_state import Caller, RequestState, open_state, seal_state
from fairlead.mcp.sealing import Sealer
from fairlead.orchestrator.gateway.parked import Parked
from fairlead.orchestrator.gateway.rounds import Rounds, refusal_of, state_of
from fairlead.orchestrator.gateway.sessions import Asked, Session
from fairlead.orchestrator.metrics import Outcome
from fairlead.orchestrator.server_requests import ServerRequest

if TYPE_CHECKING:
    from fairlead.orchestrator.gateway.exchange import Exchange
    from fairlead.orchestrator.gateway.gateway import Gateway
    from fairlead.orchestrator.instance import MCPServerInstance
    from fairlead.orchestrator.pool import ServerPool

LOG = structlog.get_logger("fairlead.gateway")
MAX_PARKED: Final = 1000
SHARED: Final = 0.8  # of the room for parked calls, for whoever comes first
GATHER: Final = 0.02  # s, for a server to ask more than one thing
MAX_ASKED: Final = 64  # of one session by one server
MAX_ASKED_BY_ALL: Final = 512  # of one session
MAX_ELICITATIONS: Final = 1024  # URL elicitations whose end is not yet known
MAX_ELICITATION_ID: Final = 1024  # characters
URL_ELICITATION_REQUIRED: Final = -32042  # of the legacy era


class Bridge:
    """Of one gateway."""

    def __init__(self, gateway: Gateway, sealer: Sealer) -> None:
        self._gateway = gateway
        self._sealer = sealer
        self._node = secrets.token_hex(8)  # this start of this gateway
        self._numbers = itertools.count(1)
        self._parked: dict[int, Parked] = {}
        self._elicitations: dict[tuple[str, str], Session] = {}  # by server and its id of a URL elicitation

    def __repr__(self) -> str:
        return f"<Bridge parked={len(self._parked)}>"

    # -- a legacy server asks ----------------------------------------------------------------------------

    def asked(self, exchange: Exchange, request: ServerRequest) -> None:
        """A server asks something of the client whose call this is."""
        if not exchange.profile.can(request.method, request.tree()):
            request.refuse_unoffered()
            return
        exchange.safe = False  # a client is not asked twice
        if exchange.replays:
            exchange.stay_with(request.instance)
        request.call = exchange.number
        session = exchange.head.session
        if session is None:
            self._park(exchange, request)
            return
        self._wait_for_client(exchange, request)
        self._ask_for(request, session, _stream_for(exchange, session), exchange)

    def session_asked(self, pool: ServerPool, key: str, request: ServerRequest) -> None:
        """A server whose only client is this session asks while it works on no call of it."""
        session = self._gateway.sessions.by_key(key)
        if session is None or not session.profile.can(request.method, request.tree()):
            request.refuse_unheard("its client is not there")
        else:
            self._ask_for(request, session, session.stream)

    def session_told(self, pool: ServerPool, key: str | None, method: str, params: bytes) -> None:
        """A server says something outside of any call."""
        session = None if key is None else self._gateway.sessions.by_key(key)
        if method == "notifications/elicitation/complete" and key is None:  # else whose it is, is known
            session = self._elicitations.pop((pool.spec.id, _elicitation_of(params)), None)
        if session is None or session.stream is None:
            return
        level = session.log_level
        if method != "notifications/message" or level is None or is_heard(params, level):
            session.stream.event(notification(method, params))

    def _ask_for(
        self, request: ServerRequest, session: Session, stream: Exchange | None, call: Exchange | None = None
    ) -> None:
        def heard(answer: Incoming) -> None:
            if (refused := refusal_of(answer)) is not None:
                request.refuse(refused)
            else:
                request.answer(b"{}" if answer.result is UNSET else one_line(bytes(answer.result)))
            if call is not None:
                self._wait_for_server(call, request)

        if request.method == ELICITATION:
            self._remember(session, request.instance.key.server, request.params)
        try:
            asked = Asked(heard, lambda: not request.done, stream, request.instance.key.server)
            self._ask(session, request.method, request.params, asked)
        except McpError as refused:
            request.refuse(refused)

    def for_lack_of(self, exchange: Exchange, raw: bytes | McpError) -> bytes | McpError:
        """The answer to a call whose client could not do what the server asked for.

        A server that went on without it has answered well; where it failed, a modern client hears why.
        """
        if exchange.head.era is Era.LEGACY or not (isinstance(raw, McpError) or _is_error(raw)):
            return raw
        lacking: dict[str, Any] = {exchange.lacking: {}}
        text = f"The server needs a client that can do {exchange.lacking}"
        return McpError(MISSING_CLIENT_CAPABILITY, text, {"requiredCapabilities": lacking})

    # -- asking a legacy client --------------------------------------------------------------------------

    def _ask(self, session: Session, method: str, params: bytes, asked: Asked) -> None:
        """Send a request to the client. Raises McpError when it cannot be asked."""
        stream = asked.stream
        if stream is None or stream.ended:
            raise McpError(INVALID_REQUEST, f"the client has no stream open on which {method} could be asked")
        if _is_full(session, asked.server):
            _withdraw(session)
        if _is_full(session, asked.server):
            raise McpError(INVALID_REQUEST, "too many requests wait for the client's answers already")
        request_id = b'"fairlead-%d"' % next(self._numbers)
        session.asked[request_id] = asked
        tail = b"" if params == b"{}" else b',"params":' + params
        stream.event(b'{"jsonrpc":"2.0","id":%b,"method":%b%b}' % (request_id, encode_json(method), tail))

    def _remember(self, session: Session, server: str, params: bytes) -> None:
        """Whom to tell when the user has done what a URL asks for."""
        elicitation = _elicitation_of(params)
        if elicitation:
            if len(self._elicitations) >= MAX_ELICITATIONS:
                del self._elicitations[next(iter(self._elicitations))]
            self._elicitations[server, elicitation] = session

    def heard(self, session: Session, message: Incoming) -> None:
        """A client's answer; one that nobody waits for any more is dropped."""
        if message.id is not UNSET:
            asked = session.asked.pop(bytes(message.id), None)
            if asked is not None:
                asked.heard(message)

    def _wait_for_client(self, exchange: Exchange, request: ServerRequest) -> None:
        """A person may think for longer than a server may work, which then has its own time again."""
        if exchange.pool is not None:
            timeouts = exchange.pool.spec.timeouts
            deadline = monotonic() + timeouts.answer + timeouts.call
            request.instance.reattach(exchange.number, exchange, deadline=deadline)
            if request.instance.exclusive:
                exchange.pool.exclusive.look()  # its instance stands aside

    def _wait_for_server(self, exchange: Exchange, request: ServerRequest) -> None:
        """Its client has answered; with nothing else to wait for, it has the time of a call."""
        if exchange.pool is not None and not request.instance.questions.is_open(exchange.number):
            deadline = monotonic() + exchange.pool.spec.timeouts.call
            request.instance.reattach(exchange.number, exchange, deadline=deadline)

    # -- parking -----------------------------------------------------------------------------------------

    def _park(self, exchange: Exchange, request: ServerRequest) -> None:
        pool = exchange.pool
        assert pool is not None  # it is in flight
        timeouts, caller = pool.spec.timeouts, caller_of(exchange)
        if not self._gateway.policy.identities.knows(caller.principal):
            request.refuse_unheard("its client may not call any more")
            return
        expires = monotonic() + timeouts.answer
        parked = Parked(next(self._numbers), caller, pool, expires)
        if not self._has_room(caller.principal) or not parked.park(exchange, expires + timeouts.call):
            request.refuse_unheard("too many calls wait for their clients already")
            return
        self._parked[parked.number] = parked
        parked.asked(request)
        pool.exclusive.look()  # its instance stands aside
        self._gateway.leave(exchange, Outcome.OK)
        exchange.instance = None
        # What a server asks at once becomes one answer.
        asyncio.get_running_loop().call_later(GATHER, self._present, parked, exchange)

    def _has_room(self, principal: str) -> bool:
        """The last fifth is for those who hold less than a fifth."""
        if len(self._parked) < MAX_PARKED * SHARED:
            return True
        held = sum(parked.caller.principal == principal for parked in self._parked.values())
        return len(self._parked) < MAX_PARKED and held < MAX_PARKED * (1 - SHARED)

    def _present(self, parked: Parked, exchange: Exchange) -> None:
        """Tell the client what the server wants to know."""
        questions: dict[str, Any] = {}
        for key, request in parked.open_questions().items():
            questions[key] = {"method": request.method}
            if request.params != b"{}":
                questions[key]["params"] = Raw(request.params)
        if exchange.ended:  # its client went away in between
            self._forget(parked, "the client closed the connection")
            return
        if parked.number not in self._parked:
            exchange.fail(McpError(UPSTREAM_FAILED, "The call was given up while its client was asked"))
            return
        if parked.settled or not questions:  # nothing is asked any more
            self._go_on(parked, exchange)
            return
        left = parked.expires - monotonic()
        state = RequestState(parked.caller, time.time() + left, self._node, parked=parked.number)
        answer = {
            "resultType": "input_required",
            "inputRequests": questions,
            "requestState": seal_state(self._sealer, state),
        }
        exchange.finish(200, result(exchange.id, encode_json(answer)))

    def _resume(self, exchange: Exchange, parked: Parked, members: dict[str, Raw]) -> None:
        """The client has come back to a parked call."""
        answers = decode_members(members.get("inputResponses", UNSET))
        for key, request in parked.open_questions().items():
            if key in answers:
                request.answer(one_line(bytes(answers[key])))
        if parked.open_questions():
            self._present(parked, exchange)  # once more what it left out
        else:
            self._go_on(parked, exchange)

    def _go_on(self, parked: Parked, exchange: Exchange) -> None:
        """The call has a client again."""
        del self._parked[parked.number]
        pool = parked.pool
        self._gateway.enter_call(
            exchange, self._gateway.metrics.calls(pool.spec.id, exchange.method), pool, safe=False
        )
        parked.resume(exchange, monotonic() + pool.spec.timeouts.call)

    def give_way(self, instance: MCPServerInstance) -> None:
        """Others wait for an instance, and the client of its call has not come back, or not answered."""
        mine = [one for one in self._parked.values() if one.instance is instance and instance.alone]
        for parked in mine:
            LOG.info("parked call gives way", server=parked.pool.spec.id, call=parked.number)
            self._forget(parked, "its client did not come back while others waited")
        instance.questions.give_up_first("its client did not answer while others waited")

    def _forget(self, parked: Parked, reason: str) -> None:
        if self._parked.pop(parked.number, None) is not None:
            parked.give_up(reason)

    # -- a modern client comes back ----------------------------------------------------------------------

    def take_up(self, exchange: Exchange, members: dict[str, Raw], caller: Caller) -> bool:
        """What a modern client brings of an earlier round: True when its call was parked and goes on.

        Otherwise the server's own state takes the place of ours in `members`. Raises McpError (-32602).
        """
        state = open_state(self._sealer, decode_any(members.pop("requestState")), caller, time.time())
        if state.parked:
            parked = self._parked.get(state.parked) if state.node == self._node else None
            if parked is None:
                raise McpError(
                    INVALID_PARAMS, "Invalid requestState: its call has ended; call again without it"
                )
            self._resume(exchange, parked, members)
            return True
        if state.inner is not None:
            members["requestState"] = Raw(encode_json(state.inner))
        exchange.prefers = state.instance if state.node == self._node else None
        return False

    # -- a modern server needs input ---------------------------------------------------------------------

    def needs_input(self, exchange: Exchange, raw: bytes) -> bool:
        """Whether a result asks for input and the call goes on without being answered."""
        try:
            members = decode_members(raw)
            if members.get("resultType") is None or bytes(members["resultType"]) != b'"input_required"':
                return False
            if exchange.head.era is Era.LEGACY:
                self._drive(exchange, raw)
            else:
                self._relay(exchange, members)
        except McpError as refused:
            self._gateway.leave(exchange, Outcome.UPSTREAM_FAILED)
            exchange.fail(refused)
        return True

    def _relay(self, exchange: Exchange, members: dict[str, Raw]) -> None:
        told: dict[str, Raw | bytes] = dict(members)
        instance = exchange.instance.id if exchange.instance is not None else ""
        told.pop("requestState", None)
        inner = state_of(members)
        if inner is not None:
            pool = exchange.pool
            assert pool is not None
            expires = time.time() + pool.spec.timeouts.answer
            state = RequestState(caller_of(exchange), expires, self._node, instance, inner=inner)
            told["requestState"] = encode_json(seal_state(self._sealer, state))
        self._gateway.leave(exchange, Outcome.OK)
        exchange.instance = None
        exchange.finish(200, result(exchange.id, join_members(told)))

    def _drive(self, exchange: Exchange, raw: bytes) -> None:
        session, pool = exchange.head.session, exchange.pool
        assert session is not None
        assert pool is not None
        exchange.safe = False
        exchange.keep = None  # what comes of answers is this client's own
        if exchange.rounds is None:

            def ask(
                method: str, params: bytes, heard: Callable[[Incoming], None], wanted: Callable[[], bool]
            ) -> None:
                if not session.profile.can(method, decode_any(Raw(params))):
                    raise McpError(INVALID_REQUEST, f"the server wants {method}, which the client cannot do")
                stream, server = _stream_for(exchange, session), pool.spec.id
                asked = Asked(heard, lambda: wanted() and not exchange.ended, stream, server)
                self._ask(session, method, params, asked)

            exchange.rounds = Rounds(
                exchange.params,
                ask,
                lambda params: self._gateway.forwarder.send_round(exchange, params),
                lambda refused: self._refused(exchange, refused),
            )
        exchange.rounds.next(raw)
        if exchange.rounds.waits:
            asyncio.get_running_loop().call_later(
                pool.spec.timeouts.answer, self._waited, exchange, exchange.rounds.number
            )

    def _waited(self, exchange: Exchange, number: int) -> None:
        rounds = exchange.rounds
        if not exchange.ended and rounds is not None and rounds.waits and rounds.number == number:
            self._refused(exchange, McpError(INVALID_REQUEST, "the client did not answer in time"))

    def _refused(self, exchange: Exchange, refused: McpError) -> None:
        if not exchange.ended:
            self._gateway.leave(exchange, Outcome.RPC_ERROR)
            exchange.instance = None
            exchange.fail(refused)

    # -- a legacy server's way to ask for a URL ----------------------------------------------------------

    def url_required(self, exchange: Exchange, refused: McpError) -> bool:
        """`-32042`, which the modern era does not know: it is told as input that is required.

        False for a legacy client, which knows it.
        """
        questions, session = _visits(refused.tree()), exchange.head.session
        if session is not None:
            if exchange.pool is not None:
                for question in questions.values():
                    self._remember(session, exchange.pool.spec.id, encode_json(question["params"]))
            return False
        if not questions or not exchange.profile.can(ELICITATION, {"mode": "url"}):
            self._refused(exchange, _cannot_visit(asked=bool(questions)))
            return True
        pool = exchange.pool
        assert pool is not None
        expires = time.time() + pool.spec.timeouts.answer
        state = RequestState(caller_of(exchange), expires, self._node)
        answer = {
            "resultType": "input_required",
            "inputRequests": questions,
            "requestState": seal_state(self._sealer, state),
        }
        self._gateway.leave(exchange, Outcome.OK)
        exchange.instance = None
        exchange.finish(200, result(exchange.id, encode_json(answer)))
        return True

    # -- time --------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """About once a second: give up the calls whose clients do not come back. `now` is loop time."""
        for parked in [parked for parked in self._parked.values() if parked.expires <= now]:
            LOG.info("parked call expired", server=parked.pool.spec.id, call=parked.number)
            self._forget(parked, "its client did not come back in time")
        for session in self._gateway.sessions:
            if session.asked:
                _withdraw(session)

    def forget_others(self, knows: Callable[[str], bool]) -> None:
        """Give up the parked calls of principals that are not known any more."""
        for parked in list(self._parked.values()):
            if not knows(parked.caller.principal):
                self._forget(parked, "its client may not call any more")

    def forget_gone(self, pools: Collection[ServerPool]) -> None:
        """Give up the parked calls of all but these servers: nobody can come back to the others."""
        for parked in list(self._parked.values()):
            if parked.pool not in pools:
                self._forget(parked, "its server is not there any more")

    def forget_session(self, session: Session) -> None:
        """It has ended."""
        session.asked.clear()
        for elicitation in [e for e, whose in self._elicitations.items() if whose is session]:
            del self._elicitations[elicitation]


def _stream_for(exchange: Exchange, session: Session) -> Exchange | None:
    """Where a client can be asked about a call: on the call's stream, else on the session's own."""
    return exchange if exchange.head.accepts_stream and exchange.reachable else session.stream


def _is_full(session: Session, server: str) -> bool:
    """Whether this server may not ask the client one thing more."""
    if len(session.asked) < MAX_ASKED:
        return False
    of_server = sum(asked.server == server for asked in session.asked.values())
    return of_server >= MAX_ASKED or len(session.asked) >= MAX_ASKED_BY_ALL


def _withdraw(session: Session) -> None:
    """Forget what a client was asked and nobody waits for any more, and tell it where it can be told."""
    for request_id, asked in list(session.asked.items()):
        if not asked.wanted():
            del session.asked[request_id]
            if asked.stream is not None and asked.stream.reachable:
                params = b'{"requestId":%b,"reason":"no longer needed"}' % request_id
                asked.stream.event(notification("notifications/cancelled", params))


def _elicitation_of(params: bytes) -> str:
    """The server's id of a URL elicitation; empty where there is none that can be remembered."""
    try:
        found = decode_any(decode_members(params).get("elicitationId", Raw(b"null")))
    except McpError:
        return ""
    return found if isinstance(found, str) and len(found) <= MAX_ELICITATION_ID else ""


def _visits(data: Any) -> dict[str, Any]:
    """The questions in the data of a `-32042`."""
    found = data.get("elicitations") if isinstance(data, dict) else None
    return {
        f"elicitation-{number}": {"method": ELICITATION, "params": {**one, "mode": "url"}}
        for number, one in enumerate(found if isinstance(found, list) else (), start=1)
        if isinstance(one, dict)
    }


def _cannot_visit(*, asked: bool) -> McpError:
    if not asked:
        return McpError(UPSTREAM_FAILED, "The server wants a URL visited, but does not say which")
    text = "The server needs a client that can do elicitation of URLs"
    return McpError(MISSING_CLIENT_CAPABILITY, text, {"requiredCapabilities": {"elicitation": {"url": {}}}})


def _is_error(raw: bytes) -> bool:
    try:
        return bytes(decode_members(raw).get("isError", Raw(b""))) == b"true"
    except McpError:
        return False


def caller_of(exchange: Exchange) -> Caller:
    """Whom a state that is given out now belongs to."""
    head = exchange.head
    return Caller(head.principal, head.view.endpoint, exchange.method, exchange.exposed)
