"""A call of a modern client that waits, on a legacy server, for the client's answer.

The server has asked something in the middle of the call. Its client has been told so (`input_required`) and
will come back with the answer, in a new request; until then the call has no request of a client to reply to,
and this object stands in its place at the instance. It goes when the client comes back, or when nobody does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Final

from msgspec import Raw

from fairlead.mcp.messages import FromServer
from fairlead.mcp.profiles import NOBODY
from fairlead.orchestrator.replies import Failure
from fairlead.orchestrator.server_requests import ServerRequest

if TYPE_CHECKING:
    from fairlead.mcp.request_state import Caller
    from fairlead.orchestrator.gateway.exchange import Exchange
    from fairlead.orchestrator.instance import MCPServerInstance
    from fairlead.orchestrator.pool import ServerPool


MAX_MISSED: Final = 64  # messages that came while nobody listened; the last ones are told


class Parked:
    """The reply of a parked call. `number` is the handle that its client holds, sealed."""

    __slots__ = (
        "_missed", "_outcome", "_profile", "_said", "call", "caller", "expires", "instance", "name", "number",
        "own", "pool", "questions",
    )  # fmt: skip

    def __init__(self, number: int, caller: Caller, pool: ServerPool, expires: float) -> None:
        self.number = number
        self.caller = caller
        self.pool = pool
        self.expires = expires  # loop time
        self.own = False
        self._profile = NOBODY  # what its client can be asked
        self.instance: MCPServerInstance | None = None
        self.call = 0  # the instance's number of the call
        self.name = ""  # as in the exchange
        self.questions: dict[str, ServerRequest] = {}  # by the key that the client knows them by
        self._outcome: FromServer | Failure | None = None  # came while nobody listened
        self._missed: deque[Callable[[Exchange], None]] = deque(maxlen=MAX_MISSED)  # likewise
        self._said = 0

    def __repr__(self) -> str:
        return f"<Parked {self.number} call={self.call} questions={list(self.questions)}>"

    def park(self, exchange: Exchange, deadline: float) -> bool:
        """Take the place of an exchange; False when its call is not in flight any more."""
        self.instance, self.call, self._profile = exchange.instance, exchange.number, exchange.profile
        self.name = exchange.name
        if self.instance is None or not self.instance.reattach(self.call, self, deadline=deadline):
            return False
        self._stand_aside(monotonic() if self.instance.alone else None)
        return True

    def _stand_aside(self, since: float | None) -> None:
        if self.instance is not None:
            self.instance.parked_since = since

    def resume(self, exchange: Exchange, deadline: float) -> None:
        """Give the place to the exchange in which the client came back, and what has come meanwhile."""
        assert self.instance is not None
        self._stand_aside(None)
        exchange.instance, exchange.number, exchange.name = self.instance, self.call, self.name
        for tell in self._missed:
            tell(exchange)
        outcome = self._outcome
        if isinstance(outcome, FromServer):
            exchange.answered(outcome)
        elif isinstance(outcome, Failure):
            exchange.failed(outcome)
        elif not self.instance.reattach(self.call, exchange, deadline=deadline):
            exchange.cancel("its call is not in flight any more")

    @property
    def settled(self) -> bool:
        """Its answer is there, or there will be none."""
        return self._outcome is not None

    def open_questions(self) -> dict[str, ServerRequest]:
        """What still waits for an answer."""
        return {key: request for key, request in self.questions.items() if not request.done}

    def give_up(self, reason: str) -> None:
        """Nobody comes back: the server is told, its questions are refused."""
        self._stand_aside(None)
        for request in self.open_questions().values():
            request.refuse_unheard(reason)
        if self.instance is not None and self._outcome is None:
            self.instance.cancel(self.call, reason)

    # -- the reply of an instance ------------------------------------------------------------------------

    def answered(self, message: FromServer) -> None:
        self._outcome = message
        self._stand_aside(None)

    def failed(self, failure: Failure) -> None:
        self._outcome = failure
        self._stand_aside(None)

    def asked(self, request: ServerRequest) -> None:
        if not self._profile.can(request.method, request.tree()):
            request.refuse_unoffered()
            return
        request.call = self.call
        self.questions = self.open_questions()  # a server may ask and withdraw without end
        self._said += 1
        self.questions[f"{request.method.partition('/')[0]}-{self._said}"] = request

    def unable(self, method: str) -> None:
        pass  # its client said what it can, and has not changed

    def told(self, method: str, params: bytes) -> None:
        self._missed.append(lambda exchange: exchange.told(method, params))

    def progressed(self, params: dict[str, Raw]) -> None:
        self._missed.append(lambda exchange: exchange.progressed(params))

    def stuck(self) -> None:
        pass  # it waits for a person
