"""`fairlead status|start|stop|restart`: the servers of the running fleet."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import click

from fairlead.cli.client import connect, server_path
from fairlead.cli.options import json_option, load, state_options
from fairlead.cli.output import columns, plain, print_json, say, state_text, style

PASSING = ("installing", "starting")  # the states that end by themselves
PATIENCE = 600.0  # s: a start may install a package
POLL = 0.2  # s
Server = dict[str, Any]  # a `ServerStatus` as REST shows it


@click.command("status")
@click.argument("server", required=False)
@json_option
@state_options
def status_command(server: str | None, *, as_json: bool, **given: Any) -> None:
    """Show all servers, or SERVER with its conditions and instances."""
    client = connect(load(**given).settings)
    answer = client.get(server_path(server) if server else "/api/servers")
    if as_json:
        print_json(answer)
    elif server:
        show_server(answer)
    else:
        show_servers(answer["servers"])


def show_servers(servers: list[Server]) -> None:
    rows = [("SERVER", "STATE", "TOOLS", "")]
    for server in servers:
        tools = str(server["tools"]) if server["state"] == "ready" else "-"
        rows.append((server["id"], state_text(server["state"]), tools, plain(server["message"])))
    for line in columns(rows):
        say(line)


def show_server(server: Server) -> None:
    version = " ".join(filter(None, (server.get("serverName"), server.get("serverVersion"))))
    facts = [
        ("state", f"{state_text(server['state'])}  {plain(server['message'])}"),
        ("source", plain(server["source"])),
        ("server", plain(version) or "-"),
        ("offers", f"{server['tools']} tools, {server['resources']} resources, {server['prompts']} prompts"),
        ("sharing", server["sharing"]),
        ("weight", f"{server['weight']:g}"),
        ("capabilities", ", ".join(server["capabilities"]) or "-"),
        ("restarts", str(server["restarts"])),
    ]
    say(style(server["id"], bold=True))
    for line in columns([(f"  {name}", value) for name, value in facts]):
        say(line)
    if server["conditions"]:
        say("  conditions")
        rows = [
            (f"    {row['type']}", "yes" if row["status"] else "no", row["reason"], plain(row["message"]))
            for row in server["conditions"]
        ]
        for line in columns(rows):
            say(line)
    if server["instances"]:
        say("  instances")
        for line in columns([_instance_row(row) for row in server["instances"]]):
            say(line)


def _instance_row(row: dict[str, Any]) -> tuple[str, ...]:
    memory = row.get("memoryBytes")
    started = row.get("startedAt")
    return (
        f"    {row['id']}",
        row["state"],
        f"pid {row['pid']}" if row.get("pid") else "",
        f"MCP {row['protocolVersion']}" if row.get("protocolVersion") else "",
        f"since {datetime.fromtimestamp(started, UTC):%Y-%m-%d %H:%M:%SZ}" if started else "",
        f"{row['callsTotal']} calls",
        f"{memory / 2**20:.0f} MiB" if memory else "",
        plain(row.get("detail", "")),
    )


def _change(server: str, action: str, *, as_json: bool, given: dict[str, Any]) -> None:
    """Ask for it, wait for the outcome, show it; exit code 1 when the server did not get there."""
    client = connect(load(**given).settings)
    client.post(f"{server_path(server)}/{action}")
    deadline = time.monotonic() + PATIENCE
    while (answer := client.get(server_path(server)))["state"] in PASSING and time.monotonic() < deadline:
        time.sleep(POLL)
    if as_json:
        print_json(answer)
    else:
        show_servers([answer])
    if answer["state"] != ("stopped" if action == "stop" else "ready"):
        raise click.exceptions.Exit(1)


@click.command("start")
@click.argument("server")
@json_option
@state_options
def start_command(server: str, *, as_json: bool, **given: Any) -> None:
    """Start SERVER, which was stopped."""
    _change(server, "start", as_json=as_json, given=given)


@click.command("stop")
@click.argument("server")
@json_option
@state_options
def stop_command(server: str, *, as_json: bool, **given: Any) -> None:
    """Stop SERVER until it is started again; the others go on."""
    _change(server, "stop", as_json=as_json, given=given)


@click.command("restart")
@click.argument("server")
@json_option
@state_options
def restart_command(server: str, *, as_json: bool, **given: Any) -> None:
    """Stop SERVER and start it again."""
    _change(server, "restart", as_json=as_json, given=given)
