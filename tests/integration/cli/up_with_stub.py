"""Runs `fairlead up` with stubs: up_with_stub.py STATE_DIR MANNER OPTIONS... [--gitops OPTIONS...]

MANNER is `foreground`, `detach`, `json`, `detach-json` or `impatient` (detached, with 1 s of patience). The
options are the stubs'; without `--gitops` there is only the orchestrator's.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from fairlead.app.settings_loader import load_settings
from fairlead.cli.main import LazyGroup
from fairlead.cli.up import Manner, run_up


def stub(service: str, state_dir: str) -> list[str]:
    return [sys.executable, str(Path(__file__).with_name(f"stub_{service}.py")), state_dir]


@click.command("stubbed")
@click.argument("state_dir")
@click.argument("manner")
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def stubbed(state_dir: str, manner: str, options: tuple[str, ...]) -> None:
    detach = "detach" in manner or manner == "impatient"
    given = {"state_dir": state_dir, "port": 0}
    if "FAIRLEAD_GITOPS_PORT" not in os.environ:
        given["gitops_port"] = 0
    settings = load_settings(given, environment=os.environ, folder=Path.cwd()).settings
    split = options.index("--gitops") if "--gitops" in options else len(options)
    own = [] if detach else ["--stop-with-stdin"]
    command = [*stub("orchestrator", state_dir), *options[:split], *own]
    gitops = [*stub("gitops", state_dir), *options[split + 1 :]] if options[split:] else None
    patience = 1.0 if manner == "impatient" else 30.0
    behaviour = Manner(detach=detach, as_json="json" in manner, patience=patience)
    raise click.exceptions.Exit(run_up(settings, command, behaviour, gitops=gitops))


class Stubbed(LazyGroup):
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return stubbed


if __name__ == "__main__":
    Stubbed().main(["stubbed", "--", *sys.argv[1:]])
