"""What a legacy server asks, and of whom.

Its requests carry no word of the call that they are about. A stream of the call's own tells (HTTP), or that
there is no other call; where an instance belongs to one session, that session is asked in any case. What
nobody can be asked is refused, so that the server does not wait in vain.
"""

from __future__ import annotations

import time
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from fairlead.mcp.messages import FromServer, encode_json
from fairlead.mcp.profiles import ROOTS
from fairlead.orchestrator.server_requests import ServerRequest, params_of

if TYPE_CHECKING:
    from fairlead.orchestrator.instance import InstanceListener, MCPServerInstance

MAX_OPEN: Final = 64  # requests of a server that wait for their answers


class Questions:
    """Of one instance."""

    __slots__ = ("_early", "_instance", "_listener", "_open")

    def __init__(self, instance: MCPServerInstance, listener: InstanceListener) -> None:
        self._instance = instance
        self._listener = listener
        self._open: dict[bytes, ServerRequest] = {}  # by the server's id; not yet answered
        self._early: list[ServerRequest] = []  # asked before anybody had sent it a call

    def __repr__(self) -> str:
        return f"<Questions open={len(self._open)} early={len(self._early)}>"

    def received(self, message: FromServer, origin: int | None) -> None:
        """A request: a ping is answered here, the rest is asked of whose call it is."""
        instance = self._instance
        if instance.overloaded:
            return  # it asks and does not read: what it does not take is not kept
        request = ServerRequest(instance, encode_json(message.id), str(message.method), params_of(message))
        if request.method == "ping":
            request.answer(b"{}")
        elif not instance.profile.can(request.method, request.tree()):
            self._refuse(request, origin)
        elif len(self._open) >= MAX_OPEN and request.id not in self._open:
            request.refuse_unheard(f"{MAX_OPEN} requests of this server wait for answers already")
        else:
            self.withdrawn(request.id)  # who uses an id again does not wait for its first answer
            request.deadline = time.monotonic() + instance.rules.answer
            self._open[request.id] = request
            self._ask(request, origin)

    def _refuse(self, request: ServerRequest, origin: int | None) -> None:
        """It was not told that it could ask this."""
        if request.method == ROOTS:
            request.answer(b'{"roots":[]}')
            return
        if (reply := self._instance.whose(origin)) is not None:
            reply.unable(request.method)
        request.refuse_unoffered()

    def _ask(self, request: ServerRequest, origin: int | None) -> None:
        instance = self._instance
        reply = instance.whose(origin)
        if reply is not None:
            reply.asked(request)
        elif instance.leased_to is not None and not instance.calls_in_flight:
            self._listener.session_asked(instance, request)
        elif not instance.calls_total:
            self._early = [*(one for one in self._early if not one.done), request]
        else:
            request.refuse_unheard("it cannot be told which of the calls in flight it is about")

    def deliver_early(self) -> None:
        """There is a first call, or a session: what was asked before is asked now."""
        early, self._early = self._early, []
        for request in early:
            if not request.done:
                self._ask(request, None)

    def is_open(self, call: int) -> bool:
        """Whether this call waits for its client."""
        return any(request.call == call for request in self._open.values())

    @property
    def since(self) -> float | None:
        """When the first one was asked that is about a call and still open; loop time."""
        deadlines = [request.deadline for request in self._open.values() if request.call is not None]
        return min(deadlines) - self._instance.rules.answer if deadlines else None

    def give_up_first(self, reason: str) -> None:
        """The one that has waited the longest waits no more."""
        if self._open:
            min(self._open.values(), key=attrgetter("deadline")).refuse_unheard(reason)

    def answered(self, request: ServerRequest) -> None:
        """It waits no longer."""
        if self._open.get(request.id) is request:
            del self._open[request.id]

    def withdrawn(self, request_id: bytes) -> bool:
        """The server does not want the answer any more; False when it had not asked."""
        request = self._open.pop(request_id, None)
        if request is not None:
            request.done = True
        return request is not None

    def close(self) -> None:
        """The server is gone: nobody waits for answers any more."""
        for request in self._open.values():
            request.done = True
        self._open.clear()
        self._early.clear()

    def expire(self, now: float) -> None:
        """Refuse what has waited for too long, or outlived its call. `now` is loop time."""
        for request in list(self._open.values()):
            if request.deadline <= now:
                request.refuse_unheard("no answer came in time")
            elif request.call is not None and not self._instance.is_pending(request.call):
                request.refuse_unheard("its call has ended")
