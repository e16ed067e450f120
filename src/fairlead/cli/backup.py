"""`fairlead backup` and `fairlead restore`: all that the services keep, as one file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from fairlead.app.backup import STATE, back_up, restore
from fairlead.cli import offline
from fairlead.cli.options import json_option, load, state_options
from fairlead.cli.output import counted, instant, plain, print_json, say, warn
from fairlead.stores.backup_file import Manifest, Part, reading
from fairlead.stores.state import GITOPS, StateFolder

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("backup")
@click.argument("file", type=_FILE)
@click.option(
    "--with-key",
    is_flag=True,
    help="Put the state folder's key and local token in, so that another machine can use the keys and sealed "
    "credentials in it. Whoever has the file can then act as an administrator.",
)
@json_option
@state_options
def backup_command(file: Path, *, with_key: bool, as_json: bool, **given: Any) -> None:
    """Write all that the services keep to FILE, while they run.

    Events, audit, fleet specs, principals and keys (as digests), credentials (sealed), trends. What is
    configured (the fleet file, settings, secrets) is not in it, nor are the packages.
    """
    settings = load(**given).settings
    manifest = offline.run(back_up(settings, file, with_key=with_key, on_part=_progress(quiet=as_json)))
    if as_json:
        print_json(_document(file, manifest))
    else:
        say(f"{file}: {_summary(manifest)}, {file.stat().st_size / 2**20:.1f} MiB")
        if with_key:
            warn("the file lets whoever reads it act as an administrator: keep it as you keep a key")


@click.command("restore")
@click.argument("file", type=_FILE)
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@json_option
@state_options
def restore_command(file: Path, *, yes: bool, as_json: bool, **given: Any) -> None:
    """Put the backup FILE in the place of all that the services keep now. They must not run.

    The file is verified first; all of it is put back, or nothing. A backup of SQLite can be restored into
    PostgreSQL and the other way round: into whatever the settings name.
    """
    settings = load(**given).settings
    state = StateFolder(settings.state_dir)
    state.prepare()
    with state.lock(), state.of(GITOPS).lock(), reading(file) as backup:
        manifest = backup.manifest
        if not yes:
            _ask(file, manifest, "PostgreSQL" if settings.database else str(state.root))
        offline.run(restore(settings, state, backup, _progress(quiet=as_json)))
    if as_json:
        print_json(_document(file, manifest))
        return
    say(f"restored {_summary(manifest)}, as they were at {instant(manifest.taken)}")
    warn("a key that was revoked since then is valid again: look at `fairlead key list` after the start")


def _ask(file: Path, manifest: Manifest, place: str) -> None:
    say(f"{file}: {_summary(manifest)}, taken at {instant(manifest.taken)} by {manifest.version}", sys.stderr)
    click.confirm(f"Put it in the place of all that is kept in {place}?", abort=True, err=True)


def _progress(*, quiet: bool) -> Any:
    def show(part: Part) -> None:
        if not quiet:
            amount = f"{part.size} bytes" if part.name.startswith(STATE) else counted(part.rows, "row")
            say(f"  {plain(part.name)}: {amount}", sys.stderr)

    return show


def _summary(manifest: Manifest) -> str:
    rows = sum(part.rows for part in manifest.parts if not part.name.startswith(STATE))
    key = ", with the key" if manifest.of(STATE) else ""
    return f"{counted(rows, 'row')} of {' and '.join(manifest.services)}{key}"


def _document(file: Path, manifest: Manifest) -> dict[str, Any]:
    return {
        "file": str(file),
        "taken": instant(manifest.taken),
        "version": manifest.version,
        "services": dict(manifest.services),
        "parts": [{"name": part.name, "rows": part.rows, "bytes": part.size} for part in manifest.parts],
    }
