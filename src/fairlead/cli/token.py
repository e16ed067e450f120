"""`fairlead token`: bearer tokens, with the service running or not.

A token is the API key of an administrator of its name, kept in the database; a running service takes changes
within a second or two. `local` is this machine's own, kept in the state folder.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import click

from fairlead.access.roster import Roster, is_over
from fairlead.app.identities import offline_roster
from fairlead.app.settings import Settings
from fairlead.cli import offline
from fairlead.cli.options import json_option, load, state_options
from fairlead.cli.output import columns, print_json, problem, say
from fairlead.model.access import Principal, Role
from fairlead.stores.state import StateFolder
from fairlead.stores.tokens import ENVIRONMENT, LOCAL, TokenStore

_T = TypeVar("_T")
_BY = "fairlead token"


@click.group("token")
def token_command() -> None:
    """Make, list and revoke bearer tokens."""


@token_command.command("add")
@click.argument("name")
@json_option
@state_options
def add(name: str, *, as_json: bool, **given: Any) -> None:
    """Make a token named NAME and print its value, which cannot be shown again."""
    settings = load(**given).settings

    async def make(roster: Roster) -> str:
        if name in await _tokens(roster):
            raise problem(
                "token-name",
                f"there is a token named {name!r} already",
                f"revoke it first: fairlead token revoke {name}",
                status=400,
            )
        if name not in {each.name for each in await roster.principals()}:
            await roster.put_principal(Principal(name, Role.ADMIN), by=_BY)
        return (await roster.add_key(name, by=_BY, label="token")).value

    value = TokenStore(_prepared(settings)).ensure_local() if name == LOCAL else _with(settings, make)
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
    tokens = _with(settings, _tokens)
    rows = [
        {"name": name, "created": datetime.fromtimestamp(created, UTC).isoformat(timespec="seconds")}
        for name, created in sorted(tokens.items())
    ]
    if TokenStore(StateFolder(settings.state_dir)).local() is not None:
        rows.append({"name": LOCAL, "created": "local-token"})
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
    """Make the token named NAME invalid: all keys of that name."""
    settings = load(**given).settings

    async def end(roster: Roster) -> None:
        there = await _tokens(roster)
        if name not in there:
            known = ", ".join(sorted(there)) or "there is none"
            raise problem(
                "token-name", f"there is no token named {name!r}", f"known names: {known}", status=400
            )
        for key in await roster.keys(name):
            await roster.revoke_key(key.id, by=_BY)

    if name == LOCAL:
        TokenStore(_prepared(settings)).remove_local()
    else:
        _with(settings, end)
    if as_json:
        print_json({"name": name, "revoked": True})
    else:
        say(f"{name} is not valid any more")


async def _tokens(roster: Roster) -> dict[str, float]:
    """Principals that have a key, and when the first of those that are good was made."""
    now = datetime.now(UTC).timestamp()
    keys = [key for key in await roster.keys() if not is_over(key, now)]
    return {key.principal: key.created for key in reversed(keys)}


def _prepared(settings: Settings) -> StateFolder:
    state = StateFolder(settings.state_dir)
    state.prepare()
    return state


def _with(settings: Settings, work: Callable[[Roster], Awaitable[_T]]) -> _T:
    """Do something with the roster of the database."""

    async def work_on_it() -> _T:
        async with offline_roster(settings, _prepared(settings)) as roster:
            return await work(roster)

    return offline.run(work_on_it())
