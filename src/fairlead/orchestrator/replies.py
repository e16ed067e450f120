"""Who gets the answer to a request that was forwarded to an instance."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

import msgspec
from msgspec import UNSET, Raw, UnsetType

from fairlead.mcp.errors import CALL_TIMED_OUT, UPSTREAM_FAILED, McpError
from fairlead.mcp.messages import FromServer
from fairlead.orchestrator.server_requests import ServerRequest


class FailureKind(Enum):
    LOST = "lost"  # the instance died or its stream broke; the request may have been carried out
    TIMED_OUT = "timed-out"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no answer. `reason` is for a person: what happened to which instance."""

    kind: FailureKind
    reason: str
    retry_after: float | None = None
    untouched: bool = False  # the request was certainly not carried out

    def as_error(self, not_replayed: str = "") -> McpError:
        """The error that its caller gets; `not_replayed` says why no other instance was asked."""
        code = CALL_TIMED_OUT if self.kind is FailureKind.TIMED_OUT else UPSTREAM_FAILED
        data: dict[str, Any] = {"replayed": False}
        if self.retry_after is not None:
            data["retryAfter"] = self.retry_after
        text = f"{self.reason}; the call was not replayed"
        return McpError(code, f"{text}: {not_replayed}" if not_replayed else text, data)


class CallLostError(Exception):
    """The instance that had a call is gone; the call may have been carried out."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.reason)
        self.failure = failure


class Reply(Protocol):
    """Gets exactly one of `answered` and `failed`, and any number of `progressed` before it.

    Called from the event loop in the middle of the data path: must neither block nor raise.
    """

    own: bool
    """The gateway's own request (a check, a list): it is no call, and its answer says nothing of calls."""

    def answered(self, message: FromServer) -> None: ...

    def failed(self, failure: Failure) -> None: ...

    def progressed(self, params: dict[str, Raw]) -> None:
        """The members of a `notifications/progress`, with the gateway's own `progressToken`."""
        ...

    def stuck(self) -> None:
        """The instance looks hung. It may still answer; who can ask another one, may."""
        ...

    def asked(self, request: ServerRequest) -> None:
        """The server asks something of the client whose call this is; it must be answered in the end."""
        ...

    def unable(self, method: str) -> None:
        """The server asked for what the client of this call cannot do; it was refused."""
        ...

    def told(self, method: str, params: bytes) -> None:
        """A notification that belongs to this call (`notifications/message`); `params` is JSON, one line."""
        ...


class FutureReply:
    """For callers that wait in a task: the result's JSON, or McpError, or CallLostError."""

    __slots__ = ("future", "on_stuck", "own")

    def __init__(self, *, own: bool = False, on_stuck: Callable[[], None] = lambda: None) -> None:
        self.future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.own = own
        self.on_stuck = on_stuck

    def answered(self, message: FromServer) -> None:
        if self.future.done():
            return
        raw = result_of(message)
        if isinstance(raw, McpError):
            self.future.set_exception(raw)
        else:
            self.future.set_result(raw)

    def failed(self, failure: Failure) -> None:
        if not self.future.done():
            lost = failure.kind is FailureKind.LOST and not self.own
            self.future.set_exception(CallLostError(failure) if lost else failure.as_error())

    def progressed(self, params: dict[str, Raw]) -> None:
        pass  # nobody asked

    def stuck(self) -> None:
        self.on_stuck()

    def asked(self, request: ServerRequest) -> None:
        request.refuse_unoffered()

    def unable(self, method: str) -> None:
        pass  # it hears it in the answer

    def told(self, method: str, params: bytes) -> None:
        pass  # nobody asked


def result_of(message: FromServer) -> bytes | McpError:
    """The result of an answer, or its error; `null` counts as absent, and neither is the server's slip."""
    if message.error is not UNSET and bytes(message.error) != b"null":
        return error_from_server(message.error)
    if message.result is UNSET:
        return McpError(UPSTREAM_FAILED, "The server answered with neither a result nor an error")
    return bytes(message.result)


def too_large(size: int, limit: int) -> McpError:
    """What is answered in place of a result of so many bytes."""
    text = (
        f"The answer has {size} bytes, more than the {limit} of security.resourceLimits.maxAnswerSize in the "
        "fleet file; ask for less, or raise that"
    )
    return McpError(UPSTREAM_FAILED, text, {"problem": "answer-too-large", "size": size, "limit": limit})


class _ErrorObject(msgspec.Struct):
    code: int
    message: str
    data: Raw | UnsetType = UNSET


_decode_error = msgspec.json.Decoder(_ErrorObject).decode


def error_from_server(raw: Raw) -> McpError:
    """A server's JSON-RPC error, its `data` as it came; a malformed one becomes an error that shows it."""
    try:
        error = _decode_error(raw)
    except (msgspec.DecodeError, RecursionError):
        shown = bytes(raw)[:200].decode(errors="replace")
        return McpError(UPSTREAM_FAILED, f"The server answered with a malformed error: {shown}")
    return McpError(error.code, error.message, None if error.data is UNSET else error.data)
