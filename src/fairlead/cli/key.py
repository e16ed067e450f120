"""`fairlead key`: API keys, of the running service."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

import click

from fairlead.cli.client import connect
from fairlead.cli.edit import Json
from fairlead.cli.moments import Span
from fairlead.cli.options import json_option, load, state_options
from fairlead.cli.output import columns, instant, plain, print_json, say
from fairlead.stores.state import StateFolder


@click.group("key")
def key_command() -> None:
    """Make, list and revoke API keys."""


@key_command.command("add")
@click.argument("principal")
@click.option("--label", default="", help="Where it is used, for people.")
@click.option("--expires", type=Span(), help="When it ends, from now: 12h, 90d. Without it, never.")
@json_option
@state_options
def add(principal: str, *, label: str, expires: float | None, as_json: bool, **given: Any) -> None:
    """Make a key of PRINCIPAL and print its value, which cannot be shown again."""
    body: Json = {"principal": principal, "label": label}
    if expires is not None:
        body["expiresIn"] = expires
    made = connect(load(**given).settings).post("/api/keys", body)
    if as_json:
        print_json(made)
    else:
        click.echo(made["key"])


@key_command.command("list")
@click.option("--principal", help="Only this one's.")
@json_option
@state_options
def list_keys(*, principal: str | None, as_json: bool, **given: Any) -> None:
    """List the keys: whose they are and whether they are good, not their values."""
    query = "" if principal is None else f"?principal={quote(principal, safe='')}"
    answer = connect(load(**given).settings).get(f"/api/keys{query}")
    if as_json:
        print_json(answer)
        return
    rows = [("ID", "PRINCIPAL", "LABEL", "CREATED", "STATE")]
    rows += [
        (row["id"], row["principal"], plain(row["label"]), instant(row["created"]), _state(row))
        for row in answer["keys"]
    ]
    for line in columns(rows):
        say(line)


@key_command.command("revoke")
@click.argument("key_id", metavar="ID")
@json_option
@state_options
def revoke(key_id: str, *, as_json: bool, **given: Any) -> None:
    """Make a key invalid, at once, in every process."""
    connect(load(**given).settings).delete(f"/api/keys/{quote(key_id, safe='')}")
    if as_json:
        print_json({"id": key_id, "revoked": True})
    else:
        say(f"{key_id} is not valid any more")


@key_command.command("renew")
@click.confirmation_option(prompt="All API keys, logins and credentials for servers end. Go on?")
@state_options
def renew(**given: Any) -> None:
    """Give up everything that was made with a former service key, and begin with the present one.

    For when the file `key` of the state folder, or FAIRLEAD_KEY, is lost. The service must not run.
    """
    from fairlead.app.identities import renew_key  # noqa: PLC0415 - the database is slow to import
    from fairlead.cli import offline  # noqa: PLC0415

    settings = load(**given).settings
    offline.run(renew_key(settings, StateFolder(settings.state_dir)))
    say("The present key is in force; make new API keys with `fairlead key add`.")


def _state(row: Json) -> str:
    if row["revoked"] is not None:
        return f"revoked {instant(row['revoked'])}"
    if row["expires"] is None:
        return "good"
    over = row["expires"] <= time.time()
    return f"{'ended' if over else 'good until'} {instant(row['expires'])}"
