"""What of REST and the WebSocket stands in the audit: every change, and every refusal.

The middleware stands inside `RequestContext`, which gives the request's id, and around `AdmissionMiddleware`,
so that it sees what is turned away there. Reading what one may read is not recorded. Neither is a call by
`POST /api/request` that got through: it is recorded as a call, where it happens.
"""

from __future__ import annotations

import time
from time import perf_counter
from typing import Any, Final

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fairlead.model.access import Caller
from fairlead.model.audit import AuditKind, AuditRecord
from fairlead.ports import Auditor

_LOOKING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_CALLS: Final = "/api/request"
_REFUSED: Final = frozenset({400, 401, 403, 405, 408, 411, 413, 414, 415, 421, 429, 431, 501})
_TYPE: Final = "urn:fairlead:problem:"
_MAX_PATH: Final = 500  # characters
_NO_BODY: Final = 499  # nobody was there to take an answer


class _Problem(msgspec.Struct):
    type: str = ""


_decode: Final = msgspec.json.Decoder(_Problem).decode


def change(
    caller: Caller, action: str, *, server: str = "", outcome: str = "ok", seconds: float = 0.0, **more: Any
) -> AuditRecord:
    """The record of a change that somebody made; `more` are further fields of it."""
    return AuditRecord(
        time.time(),
        AuditKind.CHANGE,
        principal=caller.name,
        credential=caller.credential,
        action=action,
        server=server,
        outcome=outcome,
        seconds=seconds,
        **more,
    )


class Audited:
    """The middleware."""

    def __init__(self, app: ASGIApp, audit: Auditor) -> None:
        self._app = app
        self._audit = audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        answer = _Answer(send)
        started = perf_counter()
        try:
            await self._app(scope, receive, answer)
        except Exception:
            answer.status, answer.problem = 500, "internal"
            raise
        finally:
            self._record(scope, answer, perf_counter() - started)

    def _record(self, scope: Scope, answer: _Answer, seconds: float) -> None:
        method, state = scope.get("method", "GET"), scope["state"]
        caller: Caller | None = state.get("caller")
        refused = _is_refusal(answer.status, admitted=caller is not None)
        if not refused and (method in _LOOKING or caller is None or scope["path"] == _CALLS):
            return
        record = AuditRecord(
            time.time(),
            AuditKind.REFUSAL if refused else AuditKind.CHANGE,
            principal=caller.name if caller else "",
            credential=caller.credential if caller else "",
            action=f"{method} {scope['path']}"[:_MAX_PATH],
            server=_server(scope),
            outcome=answer.outcome,
            seconds=seconds,
            request_bytes=_announced(scope),
            answer_bytes=answer.size,
            request_id=state["request_id"],
            peer=scope["client"][0] if scope.get("client") else "",
            detail={"status": answer.status},
        )
        if refused:
            self._audit.refused(record)
        else:
            self._audit.note(record)


class _Answer:
    """Passes an answer on, and keeps what the audit says of it."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = _NO_BODY
        self.problem = ""
        self.size = 0

    async def __call__(self, message: Message) -> None:
        kind = message["type"].removeprefix("websocket.")
        if kind == "http.response.start":
            self.status = message["status"]
        elif kind == "http.response.body":
            body = message.get("body", b"")
            self.size += len(body)
            if self.status >= 400 and body and not self.problem:
                self.problem = _code(body)
        elif kind == "accept":
            self.status = 101
        await self._send(message)

    @property
    def outcome(self) -> str:
        return "ok" if self.status < 400 else self.problem or str(self.status)


def _is_refusal(status: int, *, admitted: bool) -> bool:
    """Of whom the door turns away whatever is wrong; of others what they may not do, or not so often."""
    return status in (401, 403, 408, 413, 429) if admitted else status in _REFUSED


def _code(body: bytes) -> str:
    try:
        return _decode(body).type.removeprefix(_TYPE)[:100]
    except (msgspec.DecodeError, RecursionError):
        return ""


def _server(scope: Scope) -> str:
    about_one = scope["path"].startswith(("/api/servers/", "/api/metrics/servers/"))
    return str(scope.get("path_params", {}).get("id", "")) if about_one else ""


def _announced(scope: Scope) -> int:
    """Bytes of the body that the request announced."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value[:18])
    return 0
