"""Runs `fairlead up` with the stub as the orchestrator: up_with_stub.py STATE_DIR MANNER STUB_OPTIONS...

MANNER is `foreground`, `detach`, `json`, `detach-json` or `impatient` (detached, with 1 s of patience).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from fairlead.app.settings_loader import load_settings
from fairlead.cli.main import LazyGroup
from fairlead.cli.up import Manner, run_up


@click.command("stubbed")
@click.argument("state_dir")
@click.argument("manner")
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def stubbed(state_dir: str, manner: str, options: tuple[str, ...]) -> None:
    detach = "detach" in manner or manner == "impatient"
    given = {"state_dir": state_dir, "port": 0}
    settings = load_settings(given, environment=os.environ, folder=Path.cwd()).settings
    stub = str(Path(__file__).with_name("stub_orchestrator.py"))
    command = [sys.executable, stub, state_dir, *options, *([] if detach else ["--stop-with-stdin"])]
    patience = 1.0 if manner == "impatient" else 30.0
    behaviour = Manner(detach=detach, as_json="json" in manner, patience=patience)
    raise click.exceptions.Exit(run_up(settings, command, behaviour))


class Stubbed(LazyGroup):
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return stubbed


if __name__ == "__main__":
    Stubbed().main(["stubbed", "--", *sys.argv[1:]])
