"""`fairlead down`: stop the running system."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

import click

from fairlead.cli.options import json_option, load, state_options
from fairlead.cli.output import print_json, say, warn
from fairlead.stores.state import Holder, StateFolder

PATIENCE = 10.0  # s, from SIGTERM to SIGKILL
POLL = 0.05  # s


@click.command("down")
@json_option
@state_options
def down_command(*, as_json: bool, **given: Any) -> None:
    """Stop the system that runs with the state folder, within 10 seconds."""
    state = StateFolder(load(**given).settings.state_dir)
    holder = state.holder()
    if holder is None:
        stopped = killed = False
        message = f"nothing runs with the state folder {state.root}"
    else:
        killed = not stop(holder)
        stopped = True
        message = f"stopped (process {holder.pid})"
    if as_json:
        print_json({"stopped": stopped, "killed": killed, "pid": holder.pid if holder else None})
        return
    if killed:
        warn(f"it did not stop within {PATIENCE:g} s and was killed; the next start ends what it left behind")
    say(message, sys.stdout)


def stop(holder: Holder, *, patience: float = PATIENCE) -> bool:
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
