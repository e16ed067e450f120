"""`fairlead gitops apps|show`: what is kept as Git says, and how far it is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import click

from fairlead.cli.gitops_client import AppName, Json, app_path, gitops
from fairlead.cli.gitops_text import ago, commit_of, condition, message_of, short, state_of, until
from fairlead.cli.options import json_option, state_options
from fairlead.cli.output import counted, plain, print_json, say, style
from fairlead.cli.table import Row, facts, table

_TITLES = ("APPLICATION", "ENVIRONMENT", "MODE", "STATE", "COMMIT", "DRIFT")
NONE_YET = (
    "no applications yet: run `fairlead up` in a Git checkout, or name a repository in config/gitops.yml "
    "(`fairlead init DIR` makes one)"
)


@click.command("apps")
@json_option
@state_options
def apps_command(*, as_json: bool, **given: Any) -> None:
    """List the applications: which commit is in force, how much is not as Git says, and why."""
    answer = gitops(given).get("/api/applications")
    if as_json:
        print_json(answer)
    else:
        show_applications(answer["applications"])


@click.command("show")
@click.argument("app", type=AppName())
@json_option
@state_options
def show_command(app: str, *, as_json: bool, **given: Any) -> None:
    """Show the application APP: what it joins, its conditions, holds and blocked commits."""
    answer = gitops(given).get(app_path(app))
    if as_json:
        print_json(answer)
    else:
        show_application(answer)


def show_applications(applications: list[Json]) -> None:
    if not applications:
        say(NONE_YET)
        return
    for line in table(_TITLES, [_row(each) for each in applications]):
        say(line)


def show_application(application: Json) -> None:
    now = time.time()
    say(style(plain(application["name"]), bold=True))
    for line in facts(_facts(application)):
        say(line)
    conditions = [
        Row((f"  {row['type']}", "yes" if row["status"] else "no", row["reason"]), plain(row["message"]))
        for row in application["conditions"]
    ]
    holds = [
        Row((f"  {plain(row['path'])}", f"by {plain(row['by'])}"), _hold_note(row, now))
        for row in application["holds"]
    ]
    blocked = [
        Row((f"  {short(row['commit'])}", ago(row["at"], now)), plain(row["reason"]))
        for row in application["blocked"]
    ]
    for title, rows in (("CONDITION", conditions), ("HELD", holds), ("BLOCKED COMMIT", blocked)):
        if rows:
            say()
            for line in table((f"  {title}", *[""] * (len(rows[0].cells) - 1)), rows):
                say(line)


def _row(application: Json) -> Row:
    conflicts = application["conflicts"]
    marks = style(f" ({counted(conflicts, 'conflict')})", fg="red") if conflicts else ""
    cells = (
        plain(application["name"]),
        application["environment"],
        application["mode"],
        state_of(application),
        commit_of(application),
        f"{application['drift'] or '-'}{marks}",
    )
    return Row(cells, " ".join(_notes(application)))


def _notes(application: Json) -> Iterator[str]:
    if message := message_of(application):
        yield message
    if application["suspended"] and (condition(application, "Ready") or {}).get("reason") != "Suspended":
        yield "(suspended)"
    if holds := application["holds"]:
        yield f"({counted(len(holds), 'hold')})"


def _hold_note(hold: Json, now: float) -> str:
    return f"{until(hold['until'], now)}: {plain(hold['reason'])}"


def _facts(application: Json) -> list[tuple[str, str]]:
    seen = application["observedGeneration"] == application["generation"]
    return [
        ("state", state_of(application)),
        ("environment", application["environment"]),
        ("mode", f"{application['mode']}{', suspended' if application['suspended'] else ''}"),
        ("source", plain(application["source"])),
        ("target", plain(application["target"])),
        ("commit", commit_of(application)),
        ("document", f"version {application['generation']}{'' if seen else ', not in force yet'}"),
        ("drift", _drift(application)),
        ("deployment", plain(application.get("deployment") or "-")),
    ]


def _drift(application: Json) -> str:
    if not application["drift"]:
        return "none"
    conflicts = application["conflicts"]
    of_them = f", of them {counted(conflicts, 'conflict')}" if conflicts else ""
    return f"{counted(application['drift'], 'place')}{of_them}"
