"""`fairlead overrides`: the live edits on top of the accepted fleet spec."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import click

from fairlead.cli.edit import Json, change_lines, fleet_client, warn_unless_saved
from fairlead.cli.options import json_option, state_options
from fairlead.cli.output import columns, instant, plain, print_json, say
from fairlead.core.literal_secrets import covered

_LONGEST = 60  # characters of a value in the table


@click.command("overrides")
@click.option("--drop", "dropped", multiple=True, metavar="KEY", help="Take this live edit back. Repeatable.")
@click.option("--drop-all", is_flag=True, help="Take all live edits back.")
@json_option
@state_options
def overrides_command(*, dropped: tuple[str, ...], drop_all: bool, as_json: bool, **given: Any) -> None:
    """List the live edits on top of the fleet file, by key, or take them back.

    What looks like a secret is shown as ***; --json shows it.
    """
    if dropped and drop_all:
        msg = "give either --drop or --drop-all"
        raise click.UsageError(msg)
    client = fleet_client(given)
    if not (dropped or drop_all):
        fleet = client.get("/api/fleet")
        if as_json:
            print_json({"owner": fleet["owner"], "overrides": fleet["overrides"]})
        else:
            _show(fleet)
        return
    query = "?" + urlencode([("key", key) for key in dropped]) if dropped else ""
    change = client.delete(f"/api/fleet/overrides{query}")
    warn_unless_saved(saved=change["saved"])
    if as_json:
        print_json(change)
    else:
        for line in change_lines(change):
            say(line)


def _show(fleet: Json) -> None:
    owner = "Git" if fleet["owner"] == "gitops" else "the file"
    if not fleet["overrides"]:
        say(f"no live edits: the fleet is as {owner} says")
        return
    rows = [("KEY", "LIVE", f"IN {owner.upper()}", "BY", "AT")]
    for row in fleet["overrides"]:
        live = "(removed)" if row["removed"] else _text(row["key"], row["value"])
        was = "-" if row["was"] is None else _text(row["key"], row["was"])
        rows.append((plain(row["key"]), live, was, plain(row["by"]), instant(row["at"])))
    for line in columns(rows):
        say(line)


def _text(key: str, value: object) -> str:
    """The value as JSON in one line, shortened, without what looks like a secret."""
    shown = covered(value, lambda _: "***", key.rpartition(".")[2])
    text = plain(json.dumps(shown, ensure_ascii=False))
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
