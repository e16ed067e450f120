"""`fairlead config`: the settings of this call, and the form of fleet files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from fairlead.app.settings import KEYS
from fairlead.cli.options import json_option, load, service_options
from fairlead.cli.output import columns, print_json, say, style
from fairlead.model.fleet_schema import json_schema
from fairlead.model.gitops_schema import application_schema, gitops_schema
from fairlead.stores.upgrade import upgrade

_INTRODUCTION = """\
# Settings

<!-- Written by `fairlead config docs`; a test compares it with the model. -->

A setting is taken from, the later over the earlier: its default; a file (`--settings FILE`, the variable
`FAIRLEAD_SETTINGS`, or `fairlead.toml` in the current folder); its variable; an option of the command.
In the file, the part before the dot is a table: `body_timeout = 20` under `[edge]`. Relative paths in the
file start at the file. An empty variable counts as not set. `fairlead config show` prints what holds and
where it comes from.

| Key | Variable | Unit | Default | What it is |
|---|---|---|---|---|
"""


@click.group("config")
def config_command() -> None:
    """Show the settings; upgrade and describe fleet files."""


@config_command.command("show")
@json_option
@service_options
def show(*, as_json: bool, **given: Any) -> None:
    """Show every setting with its value, unit, origin and meaning; secrets are masked."""
    rows = load(**given).rows()
    if as_json:
        print_json({"settings": rows})
        return
    for line in columns([("KEY", "VALUE", "FROM"), *(_cells(row) for row in rows)]):
        say(line)
    say()
    for row in rows:
        say(f"{style(row['key'], bold=True)}: {row['doc']}")


def _cells(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["key"], f"{row['value']} {row['unit']}".rstrip(), row["origin"]


@config_command.command("docs")
def docs() -> None:
    """Print the page docs/settings.md, made from the model."""
    click.echo(settings_page(), nl=False)


def settings_page() -> str:
    rows = [
        f"| `{key.path}` | `{key.variable}` | {key.unit or '-'} | {_cell(key.default)} | {_cell(key.doc)} |"
        for key in KEYS
    ]
    return _INTRODUCTION + "\n".join(rows) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


_SCHEMAS: Final = {"fleet": json_schema, "application": application_schema, "gitops": gitops_schema}


@config_command.command("schema")
@click.argument("kind", type=click.Choice([*_SCHEMAS]), default="fleet")
def schema(*, kind: str) -> None:
    """Print the JSON Schema of fleet files (or of applications, or gitops.yml), for editors."""
    print_json(_SCHEMAS[kind]())


@config_command.command("asyncapi")
@click.argument("service", type=click.Choice(["orchestrator", "gitops"]), default="orchestrator")
def asyncapi(*, service: str) -> None:
    """Print the AsyncAPI document of the live connection of a service."""
    from fairlead.web import live_fleet, live_gitops  # noqa: PLC0415 - takes long, and no other needs it
    from fairlead.web.asyncapi import asyncapi_document  # noqa: PLC0415

    actions = live_gitops.ACTIONS if service == live_gitops.SERVICE else live_fleet.ACTIONS
    print_json(asyncapi_document(service, actions))


@config_command.command("upgrade")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--write", is_flag=True, help="Change FILE instead of printing; the old one stays as FILE.orig."
)
@json_option
def upgrade_file(file: Path, *, write: bool, as_json: bool) -> None:
    """Rewrite an original FILE in today's form, comments kept."""
    old = file.read_text(encoding="utf-8")
    new = upgrade(old)
    if write and new != old:
        _replace(file, new)
    if as_json:
        print_json({"file": str(file), "changed": new != old, "written": write and new != old, "text": new})
    elif not write:
        click.echo(new, nl=False)
    elif new == old:
        say(f"{file} is in today's form already")
    else:
        say(f"{file} is rewritten; the old one is {_backup(file)}")


def _backup(file: Path) -> Path:
    return file.with_name(file.name + ".orig")


def _replace(file: Path, text: str) -> None:
    """Rename a finished file over the old one: whoever watches it never sees a part."""
    fresh = file.with_name(f".{file.name}.new")
    fresh.write_text(text, encoding="utf-8")
    fresh.chmod(file.stat().st_mode & 0o777)
    _backup(file).write_bytes(file.read_bytes())
    fresh.replace(file)
