"""`fairlead gitops diff|resolve`: what differs from what Git says, and who decides about it."""

from __future__ import annotations

import shlex
from typing import Any

import click

from fairlead.cli.gitops_apps import show_applications
from fairlead.cli.gitops_client import AppName, Json, app_path, gitops
from fairlead.cli.gitops_follow import working
from fairlead.cli.gitops_text import place, short, state_word, unified, versions
from fairlead.cli.options import json_option, state_options
from fairlead.cli.output import counted, plain, print_json, say, style

_ACTIONS = {
    "write": "a sync writes Git's",
    "propose": "Git is asked to take the live one",
    "merge": "a sync merges them",
    "wait": "waits for a person",
    "hold": "held as it is",
    "defer": "waits",
}


@click.command("diff")
@click.argument("app", type=AppName())
@click.option("--check", is_flag=True, help="Look at it first, instead of showing what was found last.")
@json_option
@state_options
def diff_command(app: str, *, check: bool, as_json: bool, **given: Any) -> None:
    """Show where APP differs from what Git says, and what a sync would do about each place.

    Values are shortened, and secrets concealed.
    """
    client = gitops(given)
    if check:
        with working("looking"):
            client.post("/api/drift/check", {"application": app})
    answer = client.get(f"{app_path(app)}/diff")
    if as_json:
        print_json(answer)
    else:
        show_diff(answer, mode=client.get(app_path(app))["mode"])


@click.command("resolve")
@click.argument("app", type=AppName())
@click.argument("object_id", metavar="OBJECT")
@click.argument("key", default="")
@click.option(
    "--take",
    type=click.Choice(("remote", "local", "merge")),
    required=True,
    help="remote: Git's version. local: the live one, which Git is asked to take. merge: both (texts only).",
)
@json_option
@state_options
def resolve_command(app: str, object_id: str, key: str, *, take: str, as_json: bool, **given: Any) -> None:
    """Decide one place of APP: OBJECT and KEY as `fairlead gitops diff` shows them; no KEY: the whole object.

    The version that is not taken is kept in the history.
    """
    client = gitops(given)
    with working("deciding"):
        answer = client.post(f"{app_path(app)}/resolve", {"object": object_id, "key": key, "take": take})
    if as_json:
        print_json(answer)
        return
    show_applications([answer])
    if answer["conflicts"]:
        say(f"{counted(answer['conflicts'], 'conflict')} left: `fairlead gitops diff {app}` shows them")


def show_diff(diff: Json, *, mode: str = "enforce") -> None:
    name = plain(diff["application"])
    if not diff["differences"]:
        say(f"{name} is as Git says (commit {short(diff['commit'])})")
        return
    count = counted(len(diff["differences"]), "place")
    say(f"{style(name, bold=True)} differs from commit {short(diff['commit'])} at {count}")
    for row in diff["differences"]:
        say()
        case = state_word("conflict") if row["case"] == "conflict" else style(plain(row["case"]), fg="yellow")
        action = _ACTIONS.get(row["action"], plain(row["action"])) if mode == "enforce" else "only observed"
        say(f"{style(place(row), bold=True)}  {case}, policy {plain(row['policy'])}: {action}")
        for line in versions(row):
            say(line)
        if row["action"] == "wait" and mode == "enforce":
            say(f"    {_how_to_decide(name, row)}")
    if diff["text"]:
        say()
        for line in unified(diff["text"]):
            say(line)


def _how_to_decide(name: str, row: Json) -> str:
    where = " ".join(shlex.quote(plain(row[part])) for part in ("object", "key") if row[part])
    return (
        f"`fairlead gitops resolve {name} {where} --take remote` (Git's), `local` (the live one) or `merge`"
    )
