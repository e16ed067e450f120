"""`fairlead gitops history|deployment|rollback|promote|approve|cancel`: deployments, and who decides."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlencode

import click

from fairlead.cli.client import Client
from fairlead.cli.gitops_client import (
    AppName,
    DeploymentId,
    Json,
    app_path,
    deployment_path,
    gitops,
    is_deployment,
)
from fairlead.cli.gitops_follow import Follower, Look, step_line
from fairlead.cli.gitops_text import ENDED, ago, short, span, state_word, unified
from fairlead.cli.options import json_option, state_options
from fairlead.cli.output import instant, plain, print_json, problem, say, style
from fairlead.cli.table import Row, facts, table

STATES = ("pending", "running", "waiting", "succeeded", "failed", "rolled-back", "superseded", "cancelled")
MANY = 500  # deployments that one request may ask for

_Command = TypeVar("_Command", bound=Callable[..., Any])


def wait_option(command: _Command) -> _Command:
    return click.option("--wait", is_flag=True, help="Stay until it is over, and show the steps.")(command)


@click.command("history")
@click.argument("app", type=AppName(), required=False)
@click.option("--state", "states", type=click.Choice(STATES), multiple=True, help="Only these. Repeatable.")
@click.option("-n", "--limit", type=click.IntRange(1, MANY), default=20, show_default=True, help="How many.")
@json_option
@state_options
def history_command(
    app: str | None, *, states: tuple[str, ...], limit: int, as_json: bool, **given: Any
) -> None:
    """List the deployments of APP, or of all applications, the newest first."""
    named = [] if app is None else [("application", app)]
    wanted = [*named, *(("state", each) for each in states), ("limit", str(limit))]
    client = gitops(given)
    if app is not None:
        client.get(app_path(app))  # says which there are, if there is no such one
    answer = client.get(f"/api/deployments?{urlencode(wanted)}")
    if as_json:
        print_json(answer)
        return
    if not answer["deployments"]:
        say("no deployments" if states else "no deployments yet: what Git says has not been changed")
        return
    for line in _history(answer["deployments"], named=app is None):
        say(line)


@click.command("deployment")
@click.argument("deployment_id", metavar="ID", type=DeploymentId())
@json_option
@state_options
def deployment_command(deployment_id: str, *, as_json: bool, **given: Any) -> None:
    """Show the deployment ID: its steps with their times, who approved it, and what it changes."""
    answer = gitops(given).get(deployment_path(deployment_id))
    if as_json:
        print_json(answer)
    else:
        show_deployment(answer)


@click.command("rollback")
@click.argument("what", metavar="APP|ID")
@click.option(
    "--to", metavar="DEPLOYMENT|COMMIT", help="An earlier deployment that succeeded, or its commit."
)
@wait_option
@json_option
@state_options
def rollback_command(what: str, *, to: str | None, wait: bool, as_json: bool, **given: Any) -> None:
    """Go back to what was in force at APP before its last change, or before the deployment ID.

    What Git has beyond it is not taken again by itself; a commit that is newer still is.
    """
    client = gitops(given)
    if not is_deployment(what):
        what = _to_undo(client, AppName().convert(what, None, None), to)
    body = {} if to is None else {"to": to}
    answer = client.post(f"{deployment_path(what)}/rollback", body)
    _begun(client, answer, wait=wait, as_json=as_json)


@click.command("promote")
@click.argument("app", type=AppName())
@wait_option
@json_option
@state_options
def promote_command(app: str, *, wait: bool, as_json: bool, **given: Any) -> None:
    """Deploy to APP the commit that is in force at the application that its `promotedFrom` names."""
    client = gitops(given)
    answer = client.post(f"{app_path(app)}/promote")
    _begun(client, answer, wait=wait, as_json=as_json)


@click.command("approve")
@click.argument("deployment_id", metavar="ID", type=DeploymentId())
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option(
    "--revision", type=click.IntRange(0), help="Only as `fairlead gitops deployment` has shown it; not asked."
)
@wait_option
@json_option
@state_options
def approve_command(
    deployment_id: str, *, yes: bool, revision: int | None, wait: bool, as_json: bool, **given: Any
) -> None:
    """Agree to the deployment ID, which is shown; on a terminal you are asked. With enough approvals it
    goes on. If it becomes another change before you answer, nothing is agreed to.

    Nobody approves a commit of their own. Where principals are set up, the service's own token is nobody:
    set FAIRLEAD_TOKEN to a key of yours (`fairlead key add`).
    """
    client = gitops(given)
    path = deployment_path(deployment_id)
    if revision is None:
        row = client.get(path)
        revision = row["revision"]
        if not as_json:
            show_deployment(row)
            say()
        if not yes and is_terminal():
            click.confirm("Approve it?", abort=True, err=True)
    answer = client.post(f"{path}/approve", if_match=f'"{revision}"')
    _begun(client, answer, wait=wait, as_json=as_json)


@click.command("cancel")
@click.argument("deployment_id", metavar="ID", type=DeploymentId())
@json_option
@state_options
def cancel_command(deployment_id: str, *, as_json: bool, **given: Any) -> None:
    """End the deployment ID. What it wrote is taken back; its commit is not taken again by itself."""
    answer = gitops(given).post(f"{deployment_path(deployment_id)}/cancel")
    if as_json:
        print_json(answer)
    else:
        say(_summary(answer))


def is_terminal() -> bool:
    """Whether there is somebody who can be asked."""
    return sys.stdin.isatty()


def show_deployment(row: Json) -> None:
    now = time.time()
    say(style(f"deployment {row['id']}", bold=True))
    for line in facts(_facts(row, now)):
        say(line)
    if row["steps"]:
        say()
        for step in row["steps"]:
            say(step_line(step))
    if row["difference"]:
        say()
        for line in unified(row["difference"]):
            say(line)


def _begun(client: Client, answer: Json, *, wait: bool, as_json: bool) -> None:
    """Show what was begun and goes on by itself, or stay with it. Exit code 1 if it does not succeed."""
    if wait:
        look = Look(client, answer["application"])
        answer = Follower(client, quiet=as_json).follow(answer["id"], look)
    elif not as_json:
        say(_summary(answer))
    if as_json:
        print_json(answer)
    if wait and answer["state"] != "succeeded":
        raise click.exceptions.Exit(1)


def _to_undo(client: Client, app: str, to: str | None) -> str:
    """The deployment that made the last change of an application; with `to`, any that is over will do."""
    application = client.get(app_path(app))
    states = ENDED if to else ("succeeded",)
    wanted = [("application", app), *(("state", each) for each in sorted(states)), ("limit", str(MANY))]
    rows = client.get(f"/api/deployments?{urlencode(wanted)}")["deployments"]
    applied = application["applied"]
    for row in rows:
        changed = row["reason"] != "rollback" and row["previous"] not in (None, applied)
        if to or (row["commit"] == applied and changed):
            return str(row["id"])
    raise problem(
        "nothing-before",
        "there is nothing to go back to",
        f"no deployment that is known has changed {app} to what is in force: `fairlead gitops history {app}` "
        "shows them, `--to` names one",
        status=404,
    )


def _summary(row: Json) -> str:
    head = f"deployment {row['id']} of {plain(row['application'])} ({short(row['commit'])})"
    message = f", {plain(row['message'])}" if row["message"] else ""
    more = "" if row["state"] in ENDED else f"\n`fairlead gitops deployment {row['id']}` shows how it goes"
    return f"{head}: {state_word(row['state'])}{message}{more}"


def _history(rows: list[Json], *, named: bool) -> list[str]:
    now = time.time()
    titles = ("ID", "APPLICATION", "STATE", "COMMIT", "WHY", "BY", "BEGUN", "TOOK")
    return table(
        titles,
        [
            Row(
                (
                    plain(row["id"]),
                    plain(row["application"]) if named else "",
                    state_word(row["state"]),
                    short(row["commit"]),
                    plain(row["reason"]),
                    plain(row["actor"]),
                    ago(row["created"], now),
                    span(row["seconds"]) if row["seconds"] is not None else "-",
                ),
                plain(row["message"]),
            )
            for row in rows
        ],
    )


def _facts(row: Json, now: float) -> list[tuple[str, str]]:
    took = f", took {span(row['seconds'])}" if row["seconds"] is not None else ""
    return [
        ("application", f"{plain(row['application'])} ({row['environment']})"),
        ("state", state_word(row["state"])),
        ("", plain(row["message"])),
        ("commit", plain(row["commit"])),
        ("author", plain(row["author"])),
        ("before", plain(row["previous"] or "nothing")),
        ("why", f"{plain(row['reason'])}, by {plain(row['actor'])}"),
        ("begun", f"{instant(row['created'])} ({ago(row['created'], now)}){took}"),
        ("revision", str(row["revision"])),
        ("approved by", ", ".join(map(plain, row["approvedBy"]))),
    ]
