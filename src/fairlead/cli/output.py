"""How the command line speaks: data on stdout, all else on stderr, colours only where they are wanted."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import IO, Any

import click

from fairlead.model.errors import Fault, Problem, ProblemError

# What a server or a log wrote must not steer the terminal.
_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")

GOOD = ("ready", "idle")  # the states in which a server answers calls

STATE_COLOURS = {
    "ready": "green",
    "idle": "green",
    "installing": "yellow",
    "starting": "yellow",
    "blocked": "magenta",
    "failed": "red",
    "stopped": "bright_black",
    "disabled": "bright_black",
    # what checks say of an instance
    "healthy": "green",
    "suspect": "yellow",
    "unhealthy": "red",
    # a circuit breaker's
    "closed": "green",
    "half-open": "yellow",
    "open": "red",
}


class Failure(click.ClickException):
    """An expected error: what, where and how to mend it."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.title}: {problem.detail}")
        self.problem = problem

    @classmethod
    def of(cls, problem: Problem) -> Failure:
        """Exit code 2 where the input was bad, else 1."""
        return (BadInput if problem.status in (400, 422) else cls)(problem)

    @classmethod
    def of_system(cls, error: OSError) -> Failure:
        title = error.strerror or str(error)
        where = str(error.filename or "")
        return cls(Problem(code="system", title=title, detail=where, status=500, fault=Fault.GATEWAY))

    def show(self, file: IO[Any] | None = None) -> None:
        stream = file or sys.stderr
        say(style("error: ", fg="red", bold=True) + plain(self.problem.title), stream)
        for line in plain(self.problem.detail).splitlines():
            say(f"  {line}", stream)


class BadInput(Failure):
    exit_code = 2


def problem(
    code: str, title: str, detail: str, *, status: int = 500, extra: Mapping[str, Any] | None = None
) -> ProblemError:
    """An expected error of a command; with status 400 it is the input's fault (exit code 2)."""
    fault = Fault.CLIENT if status < 500 else Fault.GATEWAY
    return ProblemError(Problem(code, title, detail, status, fault, extra=extra or {}))


def plain(text: str) -> str:
    """The text without control characters but tab and newline."""
    return _CONTROL.sub("", text)


def coloured(stream: IO[Any]) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def style(text: str, **styles: Any) -> str:
    return click.style(text, **styles)


def say(text: str = "", stream: IO[Any] | None = None) -> None:
    """A line for people; styles are dropped where the stream does not show colours."""
    target = stream or sys.stdout
    click.echo(text, file=target, color=coloured(target))


def warn(text: str) -> None:
    say(style("warning: ", fg="yellow") + plain(text), sys.stderr)


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def columns(rows: Iterable[Sequence[str]]) -> list[str]:
    """The rows as lines with their cells below each other; styled cells are measured as they look."""
    table = [tuple(row) for row in rows]
    widths = [max(map(_width, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(
            cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in table
    ]


def instant(seconds: float) -> str:
    """A Unix time for people."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%SZ}"


def counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _width(cell: str) -> int:
    return len(click.unstyle(cell))


def state_text(state: str) -> str:
    return style(state, fg=STATE_COLOURS.get(state))
