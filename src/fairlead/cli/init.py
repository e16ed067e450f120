"""`fairlead init`: a new configuration repository."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

import click

from fairlead.cli.options import json_option
from fairlead.cli.output import print_json, problem, say, warn

TEMPLATE: Final = "templates/repository"
_PATIENCE: Final = 30.0  # s for `git init`


@click.command("init")
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@json_option
def init_command(folder: Path, *, as_json: bool) -> None:
    """Make DIR a configuration repository: layers, applications for three environments, a check for CI.

    Nothing that is there is overwritten (a README.md stays), and nothing is committed.
    """
    files = dict(sorted(_files(resources.files("fairlead.cli").joinpath(TEMPLATE), "")))
    if (folder / "README.md").is_file():
        del files["README.md"]
    taken = [name for name in files if (folder / name).exists() or (folder / name).is_symlink()]
    if taken:
        more = f" and {len(taken) - 3} more" if len(taken) > 3 else ""
        detail = (
            f"{folder} has {', '.join(taken[:3])}{more} already; choose another folder, or move them away"
        )
        raise problem("not-empty", "Nothing is overwritten", detail, status=422)
    for name, file in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    git = _in_git(folder)
    if as_json:
        print_json({"folder": str(folder), "files": sorted(files), "git": git})
        return
    say(f"{folder} has {len(files)} new files. Next:")
    say("  1. change what is below applications/ and base/ as you need it")
    say(f"  2. fairlead validate {folder}")
    say(f"  3. {'' if git else 'git init, '}commit and push it, and name it in the controller's gitops.yml")


def _files(folder: Traversable, above: str) -> Iterator[tuple[str, Traversable]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _files(entry, f"{above}{entry.name}/")
        else:
            yield above + entry.name, entry


def _in_git(folder: Path) -> bool:
    """See that the folder is in a repository; False where there is no git."""
    git = shutil.which("git")
    if git is None:
        return False
    for arguments in (("rev-parse", "--git-dir"), ("init", "--quiet", "--initial-branch=main")):
        ran = subprocess.run(  # noqa: S603 - our own arguments
            [git, *arguments], cwd=folder, capture_output=True, timeout=_PATIENCE, check=False
        )
        if ran.returncode == 0:
            return True
    warn(f"git init failed: {ran.stderr.decode(errors='replace').strip()[:200]}")
    return False
