"""`fairlead gitops sync`: bring applications to what Git says, now."""

from __future__ import annotations

import time
from typing import Any

import click

from fairlead.cli.client import Client
from fairlead.cli.gitops_client import AppName, CommitId, Json, app_path, gitops
from fairlead.cli.gitops_follow import Follower, Look
from fairlead.cli.options import json_option, state_options
from fairlead.cli.output import plain, print_json, say


@click.command("sync")
@click.argument("app", type=AppName(), required=False)
@click.option("--commit", type=CommitId(), help="A commit of APP's branch; without it, Git's newest.")
@click.option("--confirm", is_flag=True, help="Agree to the removals that wait for it.")
@click.option("--wait", is_flag=True, help="Stay until it is over, and show the steps.")
@json_option
@state_options
def sync_command(
    app: str | None, *, commit: str | None, confirm: bool, wait: bool, as_json: bool, **given: Any
) -> None:
    """Fetch, and bring APP, or all applications, to what Git says. It goes on by itself.

    With --wait the exit code is 1 unless everything is as Git says in the end.
    """
    if commit is not None and app is None:
        raise click.UsageError("a commit is of one application: name it")
    client = gitops(given)
    if not wait:
        answer = client.post("/api/sync/trigger", _body(app, commit, confirm=confirm))
        if as_json:
            print_json(answer)
        else:
            _tell(answer)
        return
    follower = Follower(client, quiet=as_json)
    before = _before(client, follower, app)
    began = time.monotonic()
    answer = client.post("/api/sync/trigger", _body(app, commit, confirm=confirm))
    if not as_json:
        _tell(answer)
    follower.fetched({source for source, _ in before.values()}, began)
    look = Look(client, app)
    deployments, good = [], True
    for name in [*answer["applications"], *answer["observed"]]:
        row = follower.synchronised(name, before[name][1] if name in before else None, look)
        if row is None:
            good &= follower.settled(name)
        else:
            deployments.append(row)
            good &= row["state"] == "succeeded"
    if as_json:
        print_json({**answer, "deployments": deployments})
    if not good:
        raise click.exceptions.Exit(1)


def _body(app: str | None, commit: str | None, *, confirm: bool) -> Json:
    given = {"application": app, "commit": commit, "confirm": confirm or None}
    return {name: value for name, value in given.items() if value is not None}


def _before(client: Client, follower: Follower, app: str | None) -> dict[str, tuple[str, Json | None]]:
    """Of each application that is meant, its source, and its latest deployment until now."""
    found = client.get("/api/applications")["applications"] if app is None else [client.get(app_path(app))]
    return {each["name"]: (each["source"], follower.latest(each["name"])) for each in found}


def _tell(answer: Json) -> None:
    enforced, observed = (", ".join(map(plain, answer[each])) for each in ("applications", "observed"))
    if enforced:
        say(f"brought to what Git says: {enforced}")
    if observed:
        say(f"only observed, so only looked at: {observed}; `fairlead gitops enable` puts Git in charge")
    if not enforced and not observed:
        say("there are no applications: `fairlead gitops sources` shows where they would come from")
