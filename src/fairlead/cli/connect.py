"""`fairlead connect`: what a client must be given to reach the fleet."""

from __future__ import annotations

import shlex
from typing import Any

import click

from fairlead.app.settings import Settings, base_url
from fairlead.cli.client import connect, not_running
from fairlead.cli.options import ToolsetName, json_option, load, state_options
from fairlead.cli.output import print_json, problem, say, style
from fairlead.stores.state import StateFolder
from fairlead.stores.tokens import TokenStore

SCOPES = ("user", "project", "local")
NAME = "fairlead"


@click.group("connect")
def connect_command() -> None:
    """Show how a client is connected."""


@connect_command.command("claude")
@click.option("--toolset", type=ToolsetName(), help="Connect to this toolset instead of the whole fleet.")
@click.option("--scope", type=click.Choice(SCOPES), help="Where Claude Code keeps the entry. [local]")
@click.option("--print-json", "entry_only", is_flag=True, help="Print only the .mcp.json entry.")
@json_option
@state_options
def claude(*, toolset: str | None, scope: str | None, entry_only: bool, as_json: bool, **given: Any) -> None:
    """Show the line that adds the fleet to Claude Code, and the entry for a project's .mcp.json."""
    settings = load(**given).settings
    if toolset is not None:
        require_toolset(settings, toolset)
    name = NAME if toolset is None else f"{NAME}-{toolset}"
    url = mcp_url(service_address(settings), toolset)
    entry = {"mcpServers": {name: claude_entry(url)}}
    if entry_only:
        print_json(entry)
        return
    command = claude_command(name, url, local_token(settings), scope=scope)
    if as_json:
        print_json({"url": url, "command": command, "line": shlex.join(command), "mcpJson": entry})
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
        return run.mcp_address
    if settings.port == 0:
        raise not_running(state)
    return base_url(settings.host, settings.port, settings.scheme)


def local_token(settings: Settings) -> str:
    state = StateFolder(settings.state_dir)
    state.prepare()
    return TokenStore(state).ensure_local()


def require_toolset(settings: Settings, name: str) -> None:
    """Refuse a toolset that the running fleet does not have; one that does not run may get it yet."""
    if StateFolder(settings.state_dir).read_run() is None:
        return
    known = [toolset["name"] for toolset in connect(settings).get("/api/toolsets")["toolsets"]]
    if name not in known:
        there = ", ".join(known) or "none"
        raise problem(
            "unknown-toolset", "No such toolset", f"no toolset {name!r}; there are: {there}", status=400
        )


def mcp_url(address: str, toolset: str | None = None) -> str:
    return f"{address}/mcp" if toolset is None else f"{address}/toolsets/{toolset}/mcp"


def claude_command(name: str, url: str, token: str, *, scope: str | None = None) -> list[str]:
    scoped = ["--scope", scope] if scope else []
    header = f"Authorization: Bearer {token}"
    return [
        "claude",
        "mcp",
        "add",
        "--transport",
        "http",
        *scoped,
        name,
        url,
        "--header",
        header,
    ]


def claude_line(command: list[str]) -> str:
    """The command as people write it: only the header is in quotes."""
    return " ".join(f'"{part}"' if " " in part else part for part in command)


def claude_entry(url: str) -> dict[str, Any]:
    return {
        "type": "http",
        "url": url,
        "headers": {"Authorization": "Bearer ${FAIRLEAD_TOKEN}"},
    }
