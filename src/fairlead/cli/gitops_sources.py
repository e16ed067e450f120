"""`fairlead gitops sources|commits|enable|disable|health`: repositories, who is in charge, environments."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlencode

import click

from fairlead.cli.gitops_apps import show_applications
from fairlead.cli.gitops_client import Json, SourceName, gitops
from fairlead.cli.gitops_follow import working
from fairlead.cli.gitops_text import ago, is_ready, short, span
from fairlead.cli.options import json_option, state_options
from fairlead.cli.output import plain, print_json, say, style, warn
from fairlead.cli.table import Row, table

_NO_SOURCES = (
    "no repositories: name one in config/gitops.yml beside the fleet file (`fairlead init DIR` makes one)"
)


@click.command("sources")
@json_option
@state_options
def sources_command(*, as_json: bool, **given: Any) -> None:
    """List the repositories: their last verified commits, how fresh they are, and what is wrong."""
    answer = gitops(given).get("/api/git/status")
    if as_json:
        print_json(answer)
        return
    if answer["reason"]:
        warn(f"gitops.yml, {answer['reason']}: {answer['message']}; what was in force before stays")
    if not answer["sources"]:
        say(_NO_SOURCES)
        return
    for line in table(("SOURCE", "BRANCH", "COMMIT", "SEEN", "STATE"), map(_source, answer["sources"])):
        say(line)


@click.command("commits")
@click.argument("source", type=SourceName(), required=False)
@click.option("-n", "--limit", type=click.IntRange(1, 500), default=20, show_default=True, help="How many.")
@json_option
@state_options
def commits_command(source: str | None, *, limit: int, as_json: bool, **given: Any) -> None:
    """List the commits of SOURCE, the newest first: where each is in force, and where it is blocked.

    Without SOURCE, of the first one by name that has any.
    """
    wanted = {"limit": limit} if source is None else {"source": source, "limit": limit}
    answer = gitops(given).get(f"/api/git/commits?{urlencode(wanted)}")
    if as_json:
        print_json(answer)
        return
    if not answer["commits"]:
        say(f"{plain(answer['source'])} has no commit yet: `fairlead gitops sources` says why")
        return
    now = time.time()
    for line in table(
        ("COMMIT", "WHEN", "AUTHOR", "IN FORCE AT"), [_commit(each, now) for each in answer["commits"]]
    ):
        say(line)


@click.command("enable")
@json_option
@state_options
def enable_command(*, as_json: bool, **given: Any) -> None:
    """Put Git in charge of what the checkout that the fleet file is in declares.

    From then on the last commit is what runs; the file itself is only watched for edits to come.
    """
    _own("enable", as_json=as_json, given=given)


@click.command("disable")
@json_option
@state_options
def disable_command(*, as_json: bool, **given: Any) -> None:
    """Give the fleet back to its file. Git is only observed, drift is seen as before."""
    _own("disable", as_json=as_json, given=given)


@click.command("health")
@json_option
@state_options
def health_command(*, as_json: bool, **given: Any) -> None:
    """Show whether declared tools are installed and applications are as Git says; exit code 1 if not."""
    client = gitops(given)
    with working("asking the tools for their versions"):
        answer = client.get("/api/health/environment")
    if as_json:
        print_json(answer)
    else:
        _show_health(answer)
    if not answer["healthy"]:
        raise click.exceptions.Exit(1)


def _own(action: str, *, as_json: bool, given: dict[str, Any]) -> None:
    client = gitops(given)
    with working(f"{action[:-1]}ing"):
        answer = client.post(f"/api/gitops/{action}")
    if as_json:
        print_json(answer)
    elif answer["enabled"]:
        say("Git is in charge of the fleet: commit to change it; `fairlead gitops apps` shows how far it is")
    else:
        say("the fleet file is in charge, Git is only observed: `fairlead drift` shows where they differ")


def _source(row: Json) -> Row:
    seen = "never" if row["age"] is None else "just now" if row["age"] < 1 else f"{span(row['age'])} ago"
    good = style("fresh", fg="green")
    note = plain(row["message"]) if row["reason"] else plain(row["subject"])
    return Row(
        (
            plain(row["name"]),
            plain(row["branch"]) or "-",
            short(row["head"]),
            seen,
            style(plain(row["reason"]), fg="red") if row["reason"] else good,
        ),
        f"{note} ({plain(row['url'])})" if note else plain(row["url"]),
    )


def _commit(row: Json, now: float) -> Row:
    blocked = [style(f"blocked for {plain(each)}", fg="red") for each in row["blockedFor"]]
    where = ", ".join([*(style(plain(each), fg="green") for each in row["appliedTo"]), *blocked])
    author = plain(row["author"]).partition(" <")[0]
    return Row((short(row["id"]), ago(row["time"], now), author, where), plain(row["subject"]))


def _show_health(answer: Json) -> None:
    for name, good in answer["environments"].items():
        say(f"{name}: {style('healthy', fg='green') if good else style('not as declared', fg='red')}")
    if answer["tools"]:
        say()
        for line in table(("TOOL", "DECLARED", "INSTALLED", "APPLICATION"), map(_tool, answer["tools"])):
            say(line)
    unwell = [each for each in answer["applications"] if not is_ready(each)]
    if unwell:
        say()
        show_applications(unwell)
    if not answer["environments"]:
        show_applications([])


def _tool(row: Json) -> Row:
    installed = plain(row["installed"] or "-")
    shown = style(installed, fg="green" if row["fits"] else "red")
    cells = (plain(row["tool"]), plain(row["wanted"]), shown, plain(row["application"]))
    return Row(cells, "" if row["fits"] else plain(row["message"]))
