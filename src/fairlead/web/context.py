"""Around every request and WebSocket: id, line in the log, count, security headers, unexpected errors."""

from __future__ import annotations

import re
import traceback
import uuid
from time import perf_counter
from typing import Final

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fairlead.core.admission import SECURITY_HEADERS, transport_security
from fairlead.web.problems import INTERNAL, NOT_FOUND, problem_response
from fairlead.web.services import WebMetrics

_WELL_FORMED: Final = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
_CLIENT_GONE: Final = 499  # nginx's word for it: nobody was there to take an answer
_log = structlog.get_logger("fairlead.web")


class RequestContext:
    """The outermost middleware. `scope["state"]` gets `request_id`; admission sets `principal` and `cors`."""

    def __init__(self, app: ASGIApp, metrics: WebMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            await self._serve(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = _request_id(scope)
        state = scope.setdefault("state", {})
        state.update(request_id=request_id, principal=None, cors=())
        status: int | None = None
        streams_since: float | None = None

        async def send_with_headers(message: Message) -> None:
            nonlocal status, streams_since
            if message["type"] == "websocket.accept":
                status, streams_since = 101, perf_counter()
                headers = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
                message = {**message, "headers": headers}
            elif message["type"] == "websocket.close" and status is None:  # the router knows no such path
                await problem_response(NOT_FOUND, request_id)(scope, receive, send_with_headers)
                return
            elif message["type"] in ("http.response.start", "websocket.http.response.start"):
                status = message["status"]
                headers = list(message.get("headers", ()))
                if any(n == b"content-type" and v.startswith(b"text/event-stream") for n, v in headers):
                    streams_since = perf_counter()
                brought = {name.lower() for name, _ in headers}
                headers += [header for header in SECURITY_HEADERS if header[0] not in brought]
                headers += transport_security(scope.get("scheme", ""), scope["headers"])
                headers += [*state["cors"], (b"x-request-id", request_id.encode())]
                message = {**message, "headers": headers}
            await send(message)

        started = perf_counter()
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_headers)
            except Exception:
                # As text: a logger that shows the locals of frames would show the token.
                trace = traceback.format_exc()
                _log.error("request_failed", method=_method(scope), path=scope["path"], traceback=trace)
                if status == 101:
                    await send({"type": "websocket.close", "code": 1011, "reason": "internal error"})
                elif status is not None:
                    raise  # half an answer is out: only closing the connection tells
                else:
                    await problem_response(INTERNAL, request_id)(scope, receive, send_with_headers)
            finally:
                seconds = (streams_since or perf_counter()) - started
                self._finished(scope, _CLIENT_GONE if status is None else status, seconds)

    def _finished(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "none")
        method = _method(scope)
        self._metrics.http(route, method, status=status, seconds=seconds)
        looking = method in ("GET", "HEAD") and status < 400  # `fairlead top` does it all the time
        log = _log.debug if looking else _log.info
        log(
            "request",
            method=method,
            path=scope["path"],
            status=status,
            principal=scope["state"]["principal"],
            milliseconds=round(seconds * 1000, 3),
        )


def _method(scope: Scope) -> str:
    """A WebSocket's handshake is a GET."""
    method: str = scope.get("method", "GET")
    return method


def _request_id(scope: Scope) -> str:
    """The client's X-Request-Id when it is well-formed, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _WELL_FORMED.fullmatch(value):
            return str(value, "ascii")
    return uuid.uuid4().hex
