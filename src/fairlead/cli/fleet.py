"""`fairlead validate`: a fleet file checked as a compiler would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fairlead.cli.options import json_option
from fairlead.cli.output import plain, print_json, say, style
from fairlead.model.spec_problem import Loaded, Severity, SpecProblem
from fairlead.stores.fleet_file import load

_COLOURS = {Severity.ERROR: "red", Severity.WARNING: "yellow"}


@click.command("validate")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--strict", is_flag=True, help="Let warnings fail too.")
@json_option
def validate_command(file: Path, *, strict: bool, as_json: bool) -> None:
    """Check FILE and show all that is wrong in it, with line and column.

    Exits with 1 when there is an error (with --strict, also when there is a warning).
    """
    loaded = load(file.read_bytes(), str(file))
    failed = bool(loaded.errors or (strict and loaded.warnings))
    if as_json:
        print_json(
            {"file": str(file), "valid": not failed, "problems": [_row(row) for row in loaded.problems]}
        )
    else:
        for problem in loaded.problems:
            say(_line(problem))
        say(_summary(str(file), loaded))
    if failed:
        raise click.exceptions.Exit(1)


def _line(problem: SpecProblem) -> str:
    severity = style(f"{problem.severity}:", fg=_COLOURS[problem.severity], bold=True)
    return plain(str(problem)).replace(f" {problem.severity}: ", f" {severity} ", 1)


def _row(problem: SpecProblem) -> dict[str, Any]:
    return {
        "severity": problem.severity,
        "line": problem.line,
        "column": problem.column,
        "key": problem.path,
        "message": problem.message,
        "hint": problem.hint,
    }


def _summary(file: str, loaded: Loaded) -> str:
    counts = f"{_count(loaded.errors, 'error')}, {_count(loaded.warnings, 'warning')}"
    if loaded.spec is None:
        return f"{file}: {counts}"
    return f"{file}: {_count(loaded.spec.servers, 'server')}, {counts}"


def _count(things: Any, noun: str) -> str:
    return f"{len(things)} {noun}" + ("" if len(things) == 1 else "s")
