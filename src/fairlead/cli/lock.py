"""`fairlead lock`: pin the fleet's packages, and with `--update` its tools, for the whole team."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from fairlead.app.settings import Settings
from fairlead.app.tool_reading import read_tools
from fairlead.cli.options import config_option, json_option, load, state_options
from fairlead.cli.output import columns, plain, print_json, problem, say
from fairlead.cli.tool_changes import ToolReport, report_of
from fairlead.model.fleet import FleetSpec
from fairlead.packages.installer import Installer, LockChanges
from fairlead.packages.lock import LockFiles
from fairlead.stores import fleet_file
from fairlead.stores.state import StateFolder


@click.command("lock")
@click.option("--anew", is_flag=True, help="Resolve also what is pinned already.")
@click.option(
    "--update",
    is_flag=True,
    help="Start the servers for a moment, show which of their tools differ from the lock, and lock them.",
)
@json_option
@config_option
@state_options
def lock_command(*, anew: bool, update: bool, as_json: bool, **given: Any) -> None:
    """Resolve the packages of the fleet file and pin them, with all they need, in the file beside it.

    Servers that are not enabled are pinned too. Commit the file: the team then runs the same packages.

    With --update the file also gets the contract of every tool (name, description, schemas, annotations) of
    the servers that can start; the others keep theirs. What differs is shown as breaking (a caller may fail),
    review (it tells the model something else) or safe. A running fleet takes the new contracts over at once.
    """
    settings = load(**given).settings
    spec = _spec(settings.require_config())
    state = StateFolder(settings.state_dir)
    state.prepare()
    files = LockFiles(committed=settings.lock_file, local=state.packages_lock)
    installer = Installer(state.packages, files, on_progress=_progress)
    changes = asyncio.run(installer.lock_all(_packages(spec), anew=anew))
    report = asyncio.run(_update(settings, spec, installer, files)) if update else None
    if as_json:
        told = {} if report is None else {"tools": report.document()}
        print_json({"file": str(settings.lock_file), **asdict(changes), **told})
    else:
        _show(settings, changes, report)


def _progress(what: str, text: str) -> None:
    say(plain(f"{what}: {text}"), sys.stderr)


def _spec(config: Path) -> FleetSpec:
    loaded = fleet_file.load(config.read_bytes(), str(config))
    if loaded.spec is None:
        found = "\n".join(map(str, loaded.errors))
        raise problem("fleet-file-invalid", "the fleet file is not right", found, status=422)
    return loaded.spec


def _packages(spec: FleetSpec) -> Iterable[str]:
    return [server.package for server in spec.servers.values() if server.package is not None]


async def _update(settings: Settings, spec: FleetSpec, installer: Installer, files: LockFiles) -> ToolReport:
    """Lock the tools as they are now; what that changes."""
    locked = files.read_contracts()
    reading = await read_tools(settings, spec, installer, on_progress=_progress)
    report = report_of(locked, reading.contracts, reading.unread)
    files.commit_contracts(report.locked)
    return report


def _show(settings: Settings, changes: LockChanges, report: ToolReport | None) -> None:
    rows = [(verb, package) for verb, packages in asdict(changes).items() for package in packages]
    for line in columns(rows):
        say(line)
    for line in report.lines() if report is not None else ():
        say(line)
    nothing = not rows and report is None
    say(f"{settings.config} names no packages" if nothing else f"written to {settings.lock_file}")
