"""`fairlead token`: named bearer tokens. A running service takes changes within a second."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from fairlead.cli.options import json_option, load, state_options
from fairlead.cli.output import columns, print_json, say
from fairlead.stores.state import StateFolder
from fairlead.stores.tokens import ENVIRONMENT, TokenStore


@click.group("token")
def token_command() -> None:
    """Make, list and revoke bearer tokens."""


@token_command.command("add")
@click.argument("name")
@json_option
@state_options
def add(name: str, *, as_json: bool, **given: Any) -> None:
    """Make a token named NAME and print its value, which cannot be shown again."""
    state = StateFolder(load(**given).settings.state_dir)
    state.prepare()
    value = TokenStore(state).add(name)
    if as_json:
        print_json({"name": name, "token": value})
    else:
        click.echo(value)


@token_command.command("list")
@json_option
@state_options
def list_tokens(*, as_json: bool, **given: Any) -> None:
    """List the tokens: names and when they were made, not their values."""
    settings = load(**given).settings
    rows = [
        {
            "name": token.name,
            "created": datetime.fromtimestamp(token.created, UTC).isoformat(timespec="seconds"),
        }
        for token in TokenStore(StateFolder(settings.state_dir)).list()
    ]
    if settings.token is not None:
        rows.append({"name": ENVIRONMENT, "created": "FAIRLEAD_TOKEN"})
    if as_json:
        print_json({"tokens": rows})
    else:
        for line in columns([("NAME", "CREATED"), *((row["name"], row["created"]) for row in rows)]):
            say(line)


@token_command.command("revoke")
@click.argument("name")
@json_option
@state_options
def revoke(name: str, *, as_json: bool, **given: Any) -> None:
    """Make the token named NAME invalid."""
    TokenStore(StateFolder(load(**given).settings.state_dir)).revoke(name)
    if as_json:
        print_json({"name": name, "revoked": True})
    else:
        say(f"{name} is not valid any more")
