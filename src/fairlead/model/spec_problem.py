"""What is wrong in a fleet file, and where."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from fairlead.model.fleet import FleetSpec


class Severity(StrEnum):
    ERROR = "error"  # the file is not taken
    WARNING = "warning"  # the file is taken; something in it has no effect or should be written otherwise


@dataclass(frozen=True, slots=True)
class SpecProblem:
    """One finding. `line` and `column` count from 1; `path` is a key path (`servers.context7.args[1]`)."""

    severity: Severity
    file: str
    line: int
    column: int
    path: str
    message: str  # what is wrong
    hint: str = ""  # what would be right

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}"
        text = f"{self.path}: {self.message}" if self.path else self.message
        return f"{where}: {self.severity}: {text}" + (f"; {self.hint}" if self.hint else "")


@dataclass(frozen=True, slots=True)
class Loaded:
    """The outcome of loading: `spec` is None exactly when one of the problems is an error.

    `said` is the document as it was written, before its `defaults` were filled in; empty without a spec.
    """

    spec: FleetSpec | None
    problems: tuple[SpecProblem, ...]
    said: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def errors(self) -> tuple[SpecProblem, ...]:
        return tuple(problem for problem in self.problems if problem.severity is Severity.ERROR)

    @property
    def warnings(self) -> tuple[SpecProblem, ...]:
        return tuple(problem for problem in self.problems if problem.severity is Severity.WARNING)
