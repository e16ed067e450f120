"""The door of the REST lane: `core.admission` over ASGI, then the rate limit, then the body, bounded.

The body is read whole before the app sees the request, so that nothing behind has to know the bounds. An
answer that goes out before the body has come closes the connection; but closing with bytes unread resets it,
and the client may lose the answer. So the answer is completed first, and then what still comes is thrown
away for a moment.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fairlead.core import refusals
from fairlead.core.admission import (
    Admitted,
    Headers,
    Preflight,
    Refused,
    admit,
    announces_body,
)
from fairlead.model.access import Caller
from fairlead.model.errors import Problem, ProblemError
from fairlead.web.live_handshake import request_head
from fairlead.web.problems import problem_response
from fairlead.web.services import EveryService

_LINGER: Final = 1.0  # s


class AdmissionMiddleware:
    """Lets through what `admit` and the rate limit allow, with its body complete."""

    def __init__(self, app: ASGIApp, services: EveryService) -> None:
        self._app = app
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        policy = self._services.policy()
        body = _Body(receive, announced=announces_body(scope["headers"]))
        match admit(request_head(scope), policy, cookies=True):
            case Preflight(headers):
                await body.answer_before(_bare(204, headers), scope, send)
            case Refused(problem, headers):
                await body.answer_before(self._refusal(problem, headers, scope), scope, send)
            case Admitted(caller, cors, body_bytes):
                principal = caller.name if caller else None
                scope["state"].update(caller=caller, principal=principal, cors=cors)
                try:
                    self._spend(principal)
                    await body.read(body_bytes, policy.limits.body_seconds)
                    self._look_again(caller)
                except ProblemError as error:
                    await body.answer_before(self._refusal(error.problem, (), scope), scope, send)
                except ClientDisconnect:
                    return  # nobody is there to be answered
                else:
                    await self._app(scope, receive if scope["type"] == "websocket" else body.replay(), send)

    def _look_again(self, caller: Caller | None) -> None:
        """While the body came, the credential may have been revoked or expired. Raises ProblemError."""
        if caller is not None and not self._services.is_good(caller):
            raise ProblemError(refusals.INVALID_TOKEN)

    def _spend(self, principal: str | None) -> None:
        """Count the request against the principal's rate. Raises ProblemError (429)."""
        if principal is None or (bucket := self._services.limiter(principal)) is None:
            return
        if wait := bucket.admit(asyncio.get_running_loop().time()):
            raise ProblemError(refusals.rate_limited(wait))

    def _refusal(self, problem: Problem, headers: Headers, scope: Scope) -> Response:
        self._services.metrics.refused(problem.code)
        return problem_response(problem, scope["state"]["request_id"], headers)


class _Body:
    """A request's body on its way in."""

    def __init__(self, receive: Receive, *, announced: bool) -> None:
        self._receive = receive
        self._complete = not announced
        self._bytes = b""

    async def read(self, limit: int, seconds: float) -> None:
        """Wait until it is complete. Raises ProblemError (413, 408) or ClientDisconnect."""
        parts = bytearray()
        try:
            async with asyncio.timeout(seconds):
                while not self._complete:
                    message = await self._receive()
                    if message["type"] == "http.disconnect":
                        raise ClientDisconnect
                    parts += message.get("body", b"")
                    self._complete = not message.get("more_body", False)
                    if len(parts) > limit:
                        raise ProblemError(refusals.body_too_large(limit))
        except TimeoutError:
            raise ProblemError(refusals.body_too_slow(seconds)) from None
        self._bytes = bytes(parts)

    def replay(self) -> Receive:
        """The body again, as one message; then what comes after it."""
        pending: list[Message] = [{"type": "http.request", "body": self._bytes, "more_body": False}]

        async def receive() -> Message:
            return pending.pop() if pending else await self._receive()

        return receive

    async def answer_before(self, response: Response, scope: Scope, send: Send) -> None:
        """Send `response` although the body is not complete."""
        if self._complete:
            await response(scope, self._receive, send)
            return

        async def send_but_last(message: Message) -> None:
            await send({**message, "more_body": True} if message["type"] == "http.response.body" else message)

        response.raw_headers.append((b"connection", b"close"))
        await response(scope, self._receive, send_but_last)
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGER):
                while (await self._receive()).get("more_body"):
                    pass
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _bare(status: int, headers: Headers) -> Response:
    response = Response(status_code=status)
    response.raw_headers.extend(headers)
    return response
