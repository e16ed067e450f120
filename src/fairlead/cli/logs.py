"""`fairlead logs`: what a server, or a service, wrote."""

from __future__ import annotations

import json
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from fairlead.cli.options import ServerName, json_option, load, state_options
from fairlead.cli.output import plain, problem
from fairlead.cli.service import NAMES
from fairlead.cli.tail import Follower, rotated_lines
from fairlead.model.errors import ProblemError
from fairlead.stores.state import GITOPS, ORCHESTRATOR, StateFolder

POLL = 0.2  # s


@click.command("logs")
@click.argument("server", type=ServerName(), required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on showing what is added, until Ctrl-C.")
@click.option("-n", "--lines", type=click.IntRange(min=0), default=50, show_default=True, help="How many.")
@click.option("--gitops", is_flag=True, help="The GitOps controller's own log.")
@json_option
@state_options
def logs_command(
    server: str | None, *, follow: bool, lines: int, gitops: bool, as_json: bool, **given: Any
) -> None:
    """Show what SERVER wrote to its stderr; without SERVER, the orchestrator's own log."""
    if gitops and server is not None:
        raise click.UsageError("--gitops shows that service's log: leave the server out")
    state = StateFolder(load(**given).settings.state_dir).of(GITOPS if gitops else ORCHESTRATOR)
    path = _log_file(state, server)
    with Follower(path) as follower:
        past = [*rotated_lines(path), *follower.new_lines(), *([] if follow else follower.unfinished())]
        for line in past[-lines:] if lines else []:
            _show(line, server, as_json=as_json)
        with suppress(KeyboardInterrupt):
            while follow:
                for line in follower.new_lines():
                    _show(line, server, as_json=as_json)
                time.sleep(POLL)


def _log_file(state: StateFolder, server: str | None) -> Path:
    if server is None:
        path, known = state.log, []
    else:
        known = sorted({file.name.split(".log")[0] for file in state.server_logs.glob("*.log*")})
        path = state.server_log(server)
    if not path.exists():
        raise _no_log(server or NAMES[state.service], path, known)
    return path


def _no_log(name: str, where: Path, known: list[str]) -> ProblemError:
    there = f"; there are logs of {', '.join(known)}" if known else ""
    detail = f"{where}: it was not started with this state folder yet{there}"
    return problem("no-log", f"there is no log of {name}", detail, status=404)


def _show(line: str, server: str | None, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"server": server, "line": line}, ensure_ascii=False))
    else:
        click.echo(plain(line) if sys.stdout.isatty() else line)
