"""`fairlead principal`: who may come in, and what each may do."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

import click

from fairlead.cli.client import connect
from fairlead.cli.edit import Json
from fairlead.cli.options import json_option, load, state_options
from fairlead.cli.output import columns, instant, print_json, say

ROLES: Final = ("viewer", "developer", "operator", "admin")
_KINDS: Final = ("servers", "toolsets", "tools")
_GRANT_HELP: Final = "`servers=docs,file*`, with ` toolsets=...` and ` tools=...` after it; may be repeated."


@click.group("principal")
def principal_command() -> None:
    """Make, list and remove principals, and say what each may do."""


@principal_command.command("set")
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), required=True, help="What it may do at most.")
@click.option("--grant", "grants", multiple=True, help=f"What it may use, and nothing else: {_GRANT_HELP}")
@click.option("--deny", "denials", multiple=True, help=f"What it may not use: {_GRANT_HELP}")
@click.option("--disabled", is_flag=True, help="Refuse it for now.")
@json_option
@state_options
def set_principal(
    name: str,
    *,
    role: str,
    grants: tuple[str, ...],
    denials: tuple[str, ...],
    disabled: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Make the principal NAME, or change all that it may do; in force at once."""
    body = {
        "role": role,
        "grants": [_grant("allow", text) for text in grants] + [_grant("deny", text) for text in denials],
        "disabled": disabled,
    }
    kept = connect(load(**given).settings).put(_path(name), body)
    if as_json:
        print_json(kept)
    else:
        say(f"{name} has the role {role}. `fairlead key add {name}` makes a key")


@principal_command.command("list")
@json_option
@state_options
def list_principals(*, as_json: bool, **given: Any) -> None:
    """List the principals: their roles and grants."""
    answer = connect(load(**given).settings).get("/api/principals")
    if as_json:
        print_json(answer)
        return
    rows = [("NAME", "ROLE", "MADE", "GRANTS")]
    for row in answer["principals"]:
        role = row["role"] + (" (disabled)" if row["disabled"] else "")
        rows.append((row["name"], role, instant(row["created"]), "; ".join(map(_shown, row["grants"]))))
    for line in columns(rows):
        say(line)


@principal_command.command("remove")
@click.argument("name")
@json_option
@state_options
def remove(name: str, *, as_json: bool, **given: Any) -> None:
    """Remove the principal NAME, with all of its keys."""
    connect(load(**given).settings).delete(_path(name))
    if as_json:
        print_json({"name": name, "removed": True})
    else:
        say(f"{name} may not come in any more")


def _path(name: str) -> str:
    return f"/api/principals/{quote(name, safe='')}"


def _grant(effect: str, text: str) -> Json:
    """`servers=a,b tools=read_*` as a grant."""
    grant: Json = {"effect": effect}
    for part in text.split():
        kind, mark, names = part.partition("=")
        if kind not in _KINDS or not mark or kind in grant or not all(names.split(",")):
            msg = f"{part!r}: write servers=, toolsets= or tools=, each once, with names and commas between"
            raise click.BadParameter(msg, param_hint="--grant" if effect == "allow" else "--deny")
        grant[kind] = names.split(",")
    return grant


def _shown(grant: Json) -> str:
    parts = [f"{kind}={','.join(grant[kind])}" for kind in _KINDS if grant[kind] != ["*"]]
    return " ".join((grant["effect"], *parts))
