"""`/ws`: a WebSocket of someone who has been let in becomes a conversation, or gets a problem."""

from __future__ import annotations

from typing import Final

from starlette.routing import WebSocketRoute
from starlette.types import Receive, Scope, Send

from fairlead.model.errors import ProblemError
from fairlead.web.live import Live
from fairlead.web.live_command import Sender
from fairlead.web.live_conversation import Conversation
from fairlead.web.live_handshake import chosen_subprotocol
from fairlead.web.permissions import require
from fairlead.web.problems import problem_response

PATH: Final = "/ws"


def live_route(live: Live) -> WebSocketRoute:
    return WebSocketRoute(PATH, _Endpoint(live))


class _Endpoint:
    """An ASGI app for WebSockets, behind `RequestContext` and `AdmissionMiddleware`."""

    def __init__(self, live: Live) -> None:
        self._live = live

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        state = scope["state"]
        caller, request_id = state["caller"], state["request_id"]
        peer = scope["client"][0] if scope.get("client") else ""
        conversation = Conversation(self._live, Sender(caller, request_id, peer), send)
        try:
            require(caller, "GET", PATH)
            subprotocol = chosen_subprotocol(scope)
            with self._live.seat(caller, conversation.leave):
                await send({"type": "websocket.accept", "subprotocol": subprotocol, "headers": []})
                await receive()  # the client's wish to connect
                await conversation.run(receive)
        except ProblemError as refused:
            await problem_response(refused.problem, request_id)(scope, receive, send)
