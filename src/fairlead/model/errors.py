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


class ProblemError(Exception):
    """Raised where a request cannot be carried out; the edges show its `problem`."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.title}: {problem.detail}")
        self.problem = problem
