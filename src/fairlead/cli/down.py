"""`fairlead down`: stop the running system."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from typing import Any

import click

from fairlead.app.settings import Settings
from fairlead.cli.options import json_option, load, state_options
from fairlead.cli.output import print_json, say, warn
from fairlead.cli.service import NAMES
from fairlead.stores.state import GITOPS, ORCHESTRATOR, Holder, StateFolder

POLL = 0.05  # s
SERVERS_STOP = 6.0  # s: what the servers may take by default once calls have finished, and a second


@dataclass(frozen=True, slots=True)
class Stopped:
    """What became of one service that ran. `killed`: it did not stop in time."""

    holder: Holder
    killed: bool

    def document(self) -> dict[str, Any]:
        return {"stopped": True, "killed": self.killed, "pid": self.holder.pid}


@click.command("down")
@json_option
@state_options
def down_command(*, as_json: bool, **given: Any) -> None:
    """Stop the system that runs with the state folder: each service by default within 10 seconds."""
    settings = load(**given).settings
    patience = stop_patience(settings)
    state = StateFolder(settings.state_dir)
    gitops = _stopped(state.of(GITOPS), patience)  # first, so that it does not tell of a fleet that goes away
    orchestrator = _stopped(state, patience)
    gitops = _stopped(state.of(GITOPS), patience) or gitops  # an `up` may have started it once more
    if as_json:
        nothing = {"stopped": False, "killed": False, "pid": None}
        document = orchestrator.document() if orchestrator else nothing
        print_json({**document, "gitops": gitops.document() if gitops else None})
        return
    for service, what in ((GITOPS, gitops), (ORCHESTRATOR, orchestrator)):
        if what is not None:
            _tell(NAMES[service], what, patience)
    if gitops is None and orchestrator is None:
        say(f"nothing runs with the state folder {state.root}")


def _stopped(state: StateFolder, patience: float) -> Stopped | None:
    """None where the service does not run."""
    holder = state.holder()
    return None if holder is None else Stopped(holder, killed=not stop(holder, patience=patience))


def _tell(name: str, what: Stopped, patience: float) -> None:
    if what.killed:
        late = f"{name} did not stop within {patience:g} s and was killed"
        warn(f"{late}; the next start ends what it left behind")
    say(f"stopped {name} (process {what.holder.pid})")


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
