"""`fairlead gitops hold|release|suspend|resume|unblock`: exceptions from what Git says."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote, urlencode

import click

from fairlead.cli.gitops_client import AppName, CommitId, app_path, gitops
from fairlead.cli.gitops_text import short, until
from fairlead.cli.moments import Span
from fairlead.cli.options import json_option, state_options
from fairlead.cli.output import plain, print_json, say


@click.command("hold")
@click.argument("app", type=AppName())
@click.argument("path")
@click.option(
    "--for", "seconds", type=Span(), required=True, help="For how long: 90s, 15m, 2h, 3d; 30d at most."
)
@click.option("--reason", required=True, help="For whoever finds it.")
@json_option
@state_options
def hold_command(app: str, path: str, *, seconds: float, reason: str, as_json: bool, **given: Any) -> None:
    """Keep PATH of APP as it is for a while, whatever Git says: servers.magic.**, .mcp.json#mcpServers.x

    It takes the place of a hold on the same path.
    """
    body = {"path": path, "seconds": seconds, "reason": reason}
    answer = gitops(given).put(f"{app_path(app)}/holds", body)
    if as_json:
        print_json(answer)
    else:
        say(f"{app}: {plain(answer['path'])} is held {until(answer['until'], time.time())}")


@click.command("release")
@click.argument("app", type=AppName())
@click.argument("path")
@json_option
@state_options
def release_command(app: str, path: str, *, as_json: bool, **given: Any) -> None:
    """End the hold on PATH of APP, which is written as it was held: Git decides there again."""
    gitops(given).delete(f"{app_path(app)}/holds?{urlencode({'path': path})}")
    if as_json:
        print_json({"application": app, "released": path})
    else:
        say(f"{app}: Git decides about {plain(path)} again")


@click.command("suspend")
@click.argument("app", type=AppName())
@json_option
@state_options
def suspend_command(app: str, *, as_json: bool, **given: Any) -> None:
    """Write nothing to the target of APP until it is resumed, but for rollbacks. Drift is seen as before."""
    _steer(app, "suspend", as_json=as_json, given=given)


@click.command("resume")
@click.argument("app", type=AppName())
@json_option
@state_options
def resume_command(app: str, *, as_json: bool, **given: Any) -> None:
    """Keep APP as Git says again, from now on."""
    _steer(app, "resume", as_json=as_json, given=given)


@click.command("unblock")
@click.argument("app", type=AppName())
@click.argument("commit", type=CommitId())
@json_option
@state_options
def unblock_command(app: str, commit: str, *, as_json: bool, **given: Any) -> None:
    """Let COMMIT, which was taken back, be taken by APP as any other again, if it is Git's newest."""
    gitops(given).delete(f"{app_path(app)}/blocked/{quote(commit, safe='')}")
    if as_json:
        print_json({"application": app, "unblocked": commit})
    else:
        say(f"{app}: {short(commit)} is blocked no more")


def _steer(app: str, action: str, *, as_json: bool, given: dict[str, Any]) -> None:
    answer = gitops(given).post(f"{app_path(app)}/{action}")
    if as_json:
        print_json(answer)
    elif action == "suspend":
        say(f"{app} is suspended: nothing but a rollback is written until `fairlead gitops resume {app}`")
    else:
        say(f"{app} is kept as Git says again; `fairlead gitops apps` shows how far it is")
