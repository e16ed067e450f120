"""Around every request: its id, its line in the log, its count, security headers, unexpected errors."""

from __future__ import annotations

import re
import traceback
import uuid
from time import perf_counter
from typing import Final

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fairlead.core.admission import SECURITY_HEADERS, transport_security
from fairlead.orchestrator.metrics import MetricsCollector
from fairlead.web.problems import INTERNAL, problem_response

_WELL_FORMED: Final = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
_CLIENT_GONE: Final = 499  # nginx's word for it: nobody was there to take an answer
_log = structlog.get_logger("fairlead.web")


class RequestContext:
    """The outermost middleware. `scope["state"]` gets `request_id`; admission sets `principal` and `cors`."""

    def __init__(self, app: ASGIApp, metrics: MetricsCollector) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":  # nothing is served there
            await send({"type": "websocket.close", "code": 1008, "reason": ""})
        else:
            await self._app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = _request_id(scope)
        state = scope.setdefault("state", {})
        state.update(request_id=request_id, principal=None, cors=())
        status: int | None = None

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = list(message.get("headers", ()))
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
                _log.error("request_failed", method=scope["method"], path=scope["path"], traceback=trace)
                if status is not None:
                    raise  # half an answer is out: only closing the connection tells
                await problem_response(INTERNAL, request_id)(scope, receive, send_with_headers)
            finally:
                self._finished(scope, _CLIENT_GONE if status is None else status, perf_counter() - started)

    def _finished(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "none")
        self._metrics.http(route, scope["method"], status=status, seconds=seconds)
        looking = scope["method"] in ("GET", "HEAD") and status < 400  # `fairlead top` does it all the time
        log = _log.debug if looking else _log.info
        log(
            "request",
            method=scope["method"],
            path=scope["path"],
            status=status,
            principal=scope["state"]["principal"],
            milliseconds=round(seconds * 1000, 3),
        )


def _request_id(scope: Scope) -> str:
    """The client's X-Request-Id when it is well-formed, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _WELL_FORMED.fullmatch(value):
            return str(value, "ascii")
    return uuid.uuid4().hex
