"""`fairlead validate`: what Git is to say, checked as a compiler would."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from fairlead.cli.options import json_option
from fairlead.cli.output import counted, plain, print_json, say, style
from fairlead.model.spec_problem import Severity, SpecProblem

_COLOURS = {Severity.ERROR: "red", Severity.WARNING: "yellow"}


@click.command("validate")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--strict", is_flag=True, help="Let warnings fail too.")
@json_option
def validate_command(path: Path, *, strict: bool, as_json: bool) -> None:
    """Check PATH and show all that is wrong in it, with line and column.

    PATH is a fleet file, an application's document, a gitops.yml, or the folder of a configuration
    repository: then each of its applications is checked with all its layers.

    Exits with 1 when there is an error (with --strict, also when there is a warning).
    """
    from fairlead.app.configuration_check import check_file, check_repository  # noqa: PLC0415 - libgit2

    if path.is_dir():
        checked = asyncio.run(check_repository(path))
        problems = [replace(each, file=str(path / each.file)) for each in checked.problems]
    else:
        checked = check_file(path.read_bytes(), str(path))
        problems = [*checked.problems]
    errors, warnings = checked.count(Severity.ERROR), checked.count(Severity.WARNING)
    failed = bool(errors or (strict and warnings))
    if as_json:
        kind = "folder" if path.is_dir() else "file"
        print_json({kind: str(path), "valid": not failed, "problems": [*map(_row, problems)]})
    else:
        for problem in problems:
            say(_line(problem))
        found = [checked.what, counted(errors, "error"), counted(warnings, "warning")]
        say(f"{path}: {', '.join(filter(None, found))}")
    if failed:
        raise click.exceptions.Exit(1)


def _line(problem: SpecProblem) -> str:
    severity = style(f"{problem.severity}:", fg=_COLOURS[problem.severity], bold=True)
    return plain(str(problem)).replace(f" {problem.severity}: ", f" {severity} ", 1)


def _row(problem: SpecProblem) -> dict[str, Any]:
    return {
        "severity": problem.severity,
        "file": problem.file,
        "line": problem.line,
        "column": problem.column,
        "key": problem.path,
        "message": problem.message,
        "hint": problem.hint,
    }
