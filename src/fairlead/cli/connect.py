"""`fairlead connect`: what a client must be given to reach the fleet."""

from __future__ import annotations

import shlex
from typing import Any

import click

from fairlead.app.settings import Settings, base_url
from fairlead.cli.client import not_running
from fairlead.cli.options import json_option, load, state_options
from fairlead.cli.output import print_json, say, style
from fairlead.stores.state import StateFolder
from fairlead.stores.tokens import TokenStore

SCOPES = ("user", "project", "local")
NAME = "fairlead"


@click.group("connect")
def connect_command() -> None:
    """Show how a client is connected."""


@connect_command.command("claude")
@click.option("--scope", type=click.Choice(SCOPES), help="Where Claude Code keeps the entry. [local]")
@click.option("--print-json", "entry_only", is_flag=True, help="Print only the .mcp.json entry.")
@json_option
@state_options
def claude(*, scope: str | None, entry_only: bool, as_json: bool, **given: Any) -> None:
    """Show the line that adds the fleet to Claude Code, and the entry for a project's .mcp.json."""
    settings = load(**given).settings
    address = service_address(settings)
    entry = {"mcpServers": {NAME: claude_entry(address)}}
    if entry_only:
        print_json(entry)
        return
    command = claude_command(address, local_token(settings), scope=scope)
    if as_json:
        print_json(
            {"url": mcp_url(address), "command": command, "line": shlex.join(command), "mcpJson": entry}
        )
        return
    say(style("Paste this line once:", bold=True))
    click.echo(claude_line(command))
    say()
    say(
        style(
            "Or put this into a project's .mcp.json and set FAIRLEAD_TOKEN where Claude Code runs:", bold=True
        )
    )
    print_json(entry)


def service_address(settings: Settings) -> str:
    """Where the orchestrator answers, or, while it does not run, where the settings put it."""
    state = StateFolder(settings.state_dir)
    run = state.read_run()
    if run is not None:
        return run.addresses["orchestrator"]
    if settings.port == 0:
        raise not_running(state)
    return base_url(settings.host, settings.port)


def local_token(settings: Settings) -> str:
    state = StateFolder(settings.state_dir)
    state.prepare()
    return TokenStore(state).ensure_local()


def mcp_url(address: str) -> str:
    return f"{address}/mcp"


def claude_command(address: str, token: str, *, scope: str | None = None) -> list[str]:
    scoped = ["--scope", scope] if scope else []
    header = f"Authorization: Bearer {token}"
    return [
        "claude",
        "mcp",
        "add",
        "--transport",
        "http",
        *scoped,
        NAME,
        mcp_url(address),
        "--header",
        header,
    ]


def claude_line(command: list[str]) -> str:
    """The command as people write it: only the header is in quotes."""
    return " ".join(f'"{part}"' if " " in part else part for part in command)


def claude_entry(address: str) -> dict[str, Any]:
    return {
        "type": "http",
        "url": mcp_url(address),
        "headers": {"Authorization": "Bearer ${FAIRLEAD_TOKEN}"},
    }
