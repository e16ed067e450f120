"""Errors that say what to do: whose fault it is, whether and when to try again, how to mend it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Fault(StrEnum):
    """Whose fault a problem is. Only an upstream's faults count against it."""

    CLIENT = "client"
    UPSTREAM = "upstream"
    GATEWAY = "gateway"


@dataclass(frozen=True, slots=True)
class Problem:
    """What went wrong, as RFC 9457 has it.

    `code` is a stable slug (`unknown-server`); the edges make the problem's `type` of it.
    `detail` says where it is and how to mend it. `retry_after` is in seconds, None where a
    repetition cannot help. `extra` holds the further members of the problem document.
    """

    code: str
    title: str
    detail: str
    status: int
    fault: Fault
    retry_after: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def document(self, instance: str) -> dict[str, Any]:
        """The members of the `application/problem+json` document; `instance` is the request's id."""
        document: dict[str, Any] = {
            "type": f"urn:fairlead:problem:{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
            "fault": self.fault.value,
        }
        if self.retry_after is not None:
            document["retryAfter"] = self.retry_after
        return document | {name: value for name, value in self.extra.items() if name not in document}


class ProblemError(Exception):
    """Raised where a request cannot be carried out; the edges show its `problem`."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.title}: {problem.detail}")
        self.problem = problem


class RpcError(Exception):
    """A server's answer to a routed request was a JSON-RPC error."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code
        self.message = message
        self.data = data


class InputRequired(Exception):  # noqa: N818 - an answer that the caller must act on, not a failure
    """A server asks for input before it can answer (MCP 2026-07-28); `result` is its whole result."""

    def __init__(self, result: Mapping[str, Any]) -> None:
        super().__init__("the server asks for input")
        self.result = result


class SpecError(ValueError):
    """A value of a fleet file that cannot be. The message says what is wrong, `hint` what would be right."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint
