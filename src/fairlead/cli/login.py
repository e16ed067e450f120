"""`fairlead login`: a link that lets one browser in, once."""

from __future__ import annotations

from typing import Any

import click

from fairlead.cli.client import Client, connect
from fairlead.cli.options import json_option, load, state_options
from fairlead.cli.output import print_json, say


@click.command("login")
@json_option
@state_options
def login_command(*, as_json: bool, **given: Any) -> None:
    """Show a link that lets one browser in, once, within ten minutes."""
    link = make_link(connect(load(**given).settings))
    if as_json:
        print_json(link)
        return
    click.echo(link["url"])
    say("It is good for one browser, once, for ten minutes: do not pass it on.")


def make_link(client: Client) -> dict[str, Any]:
    """`url` and `expires` (Unix time, s)."""
    link: dict[str, Any] = client.post("/api/login-links")
    return link
