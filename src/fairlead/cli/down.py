"""`fairlead down`: stop the running system."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

import click

from fairlead.app.settings import Settings
from fairlead.cli.options import json_option, load, state_options
from fairlead.cli.output import print_json, say, warn
from fairlead.stores.state import Holder, StateFolder

POLL = 0.05  # s
SERVERS_STOP = 6.0  # s: what the servers may take by default once calls have finished, and a second


@click.command("down")
@json_option
@state_options
def down_command(*, as_json: bool, **given: Any) -> None:
    """Stop the system that runs with the state folder, by default within 10 seconds."""
    settings = load(**given).settings
    state, patience = StateFolder(settings.state_dir), stop_patience(settings)
    holder = state.holder()
    if holder is None:
        stopped = killed = False
        message = f"nothing runs with the state folder {state.root}"
    else:
        killed = not stop(holder, patience=patience)
        stopped = True
        message = f"stopped (process {holder.pid})"
    if as_json:
        print_json({"stopped": stopped, "killed": killed, "pid": holder.pid if holder else None})
        return
    if killed:
        warn(f"it did not stop within {patience:g} s and was killed; the next start ends what it left behind")
    say(message, sys.stdout)


def stop_patience(settings: Settings) -> float:
    """How long an orderly stop may take before the process is killed, s: by default 10."""
    return settings.edge.shutdown_timeout + SERVERS_STOP


def stop(holder: Holder, *, patience: float) -> bool:
    """End the process: SIGTERM, after `patience` (s) SIGKILL. True when it ended by itself."""
    deadline = time.monotonic() + patience
    _signal(holder, signal.SIGTERM)
    while holder.alive():
        if time.monotonic() > deadline:
            _signal(holder, signal.SIGKILL)
            return False
        time.sleep(POLL)
    return True


def _signal(holder: Holder, number: signal.Signals) -> None:
    if holder.alive():
        try:
            os.kill(holder.pid, number)
        except ProcessLookupError:
            return
