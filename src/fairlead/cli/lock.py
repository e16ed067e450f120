"""`fairlead lock`: pin the fleet's packages for the whole team."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from fairlead.app.settings import Settings
from fairlead.cli.options import config_option, json_option, load, state_options
from fairlead.cli.output import columns, plain, print_json, problem, say
from fairlead.packages.installer import Installer, LockChanges
from fairlead.packages.lock import LockFiles
from fairlead.stores import fleet_file
from fairlead.stores.state import StateFolder


@click.command("lock")
@click.option("--anew", is_flag=True, help="Resolve also what is pinned already.")
@json_option
@config_option
@state_options
def lock_command(*, anew: bool, as_json: bool, **given: Any) -> None:
    """Resolve the packages of the fleet file and pin them, with all they need, in the file beside it.

    Servers that are not enabled are pinned too. Commit the file: the team then runs the same packages.
    """
    settings = load(**given).settings
    packages = _packages(settings.require_config())
    state = StateFolder(settings.state_dir)
    state.prepare()
    installer = Installer(
        state.packages,
        LockFiles(committed=settings.lock_file, local=state.packages_lock),
        on_progress=lambda package, text: say(plain(f"{package}: {text}"), sys.stderr),
    )
    changes = asyncio.run(installer.lock_all(packages, anew=anew))
    if as_json:
        print_json({"file": str(settings.lock_file), **asdict(changes)})
    else:
        _show(settings, changes)


def _packages(config: Path) -> Iterable[str]:
    loaded = fleet_file.load(config.read_bytes(), str(config))
    if loaded.spec is None:
        found = "\n".join(map(str, loaded.errors))
        raise problem("fleet-file-invalid", "the fleet file is not right", found, status=422)
    return [server.package for server in loaded.spec.servers.values() if server.package is not None]


def _show(settings: Settings, changes: LockChanges) -> None:
    rows = [(verb, package) for verb, packages in asdict(changes).items() for package in packages]
    for line in columns(rows):
        say(line)
    say(f"written to {settings.lock_file}" if rows else f"{settings.config} names no packages")
