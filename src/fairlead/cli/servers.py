"""`fairlead status|start|stop|restart`: the servers of the running fleet."""

from __future__ import annotations

import time
from typing import Any

import click

from fairlead.cli.client import Client, connect, server_path
from fairlead.cli.gitops_report import gitops_report
from fairlead.cli.options import ServerName, json_option, load, state_options
from fairlead.cli.output import GOOD, columns, counted, instant, plain, print_json, say, state_text, style
from fairlead.model.errors import ProblemError

PASSING = ("installing", "starting")  # the states that end by themselves
PATIENCE = 600.0  # s: a start may install a package
POLL = 0.2  # s
Server = dict[str, Any]  # a `ServerStatus` as REST shows it


@click.command("status")
@click.argument("server", type=ServerName(), required=False)
@json_option
@state_options
def status_command(server: str | None, *, as_json: bool, **given: Any) -> None:
    """Show all servers and the GitOps controller, or SERVER with its conditions and instances."""
    settings = load(**given).settings
    if server is not None:
        answer = connect(settings).get(server_path(server))
        if as_json:
            print_json(answer)
        else:
            show_server(answer)
        return
    gitops = gitops_report(settings, absent="it does not run; `fairlead up` starts it")
    try:
        answer = connect(settings).get("/api/servers")
    except ProblemError:
        if gitops.run is not None and not as_json:
            say(gitops.line())
        raise
    if as_json:
        print_json({**answer, **gitops.document()})
        return
    show_servers(answer["servers"])
    say()
    say(gitops.line())


def show_servers(servers: list[Server]) -> None:
    rows = [("SERVER", "STATE", "TOOLS", "")]
    for server in servers:
        tools = str(server["tools"]) if server["state"] in GOOD else "-"
        rows.append((server["id"], state_text(server["state"]), tools, plain(server["message"])))
    for line in columns(rows):
        say(line)


def show_server(server: Server) -> None:
    say(style(server["id"], bold=True))
    for line in columns([(f"  {name}", value) for name, value in _facts(server)]):
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


def _facts(server: Server) -> list[tuple[str, str]]:
    version = " ".join(filter(None, (server.get("serverName"), server.get("serverVersion"))))
    panic = "  panicking: so few instances are trusted that all get calls" if server["panicking"] else ""
    return [
        ("state", f"{state_text(server['state'])}  {plain(server['message'])}"),
        ("source", plain(server["source"])),
        ("server", plain(version) or "-"),
        ("offers", ", ".join(counted(server[f"{noun}s"], noun) for noun in ("tool", "resource", "prompt"))),
        ("sharing", server["sharing"]),
        ("strategy", server["strategy"] + style(panic, fg="red")),
        ("breaker", state_text(server["breaker"])),
        ("scale", scale_text(server)),
        ("waiting", counted(server["callsWaiting"], "call")),
        ("weight", f"{server['weight']:g}"),
        ("capabilities", ", ".join(server["capabilities"]) or "-"),
        ("restarts", str(server["restarts"])),
    ]


def scale_text(server: Server) -> str:
    """How many instances there are, should be and may be."""
    ready = ready_instances(server)
    wanted, least, most = (server[f"{name}Instances"] for name in ("wanted", "min", "max"))
    return f"{ready} of {counted(wanted, 'instance')} ready; {least} to {most} allowed"


def ready_instances(server: Server) -> int:
    return sum(instance["state"] == "ready" for instance in server["instances"])


def _instance_row(row: dict[str, Any]) -> tuple[str, ...]:
    memory, cores, started = row.get("memoryBytes"), row.get("cpuCores"), row.get("startedAt")
    marks = [
        "" if row["breaker"] == "closed" else f"breaker {state_text(row['breaker'])}",
        "gets no calls" if row["state"] == "ready" and not row["inRotation"] else "",
        "leased" if row["leased"] else "",
        f"for clients with {plain(row['profile'])}" if row.get("profile") else "",
        "" if row["weight"] == 1 else f"weight {row['weight']:g}",
        plain(row["detail"]),
    ]
    return (
        f"    {row['id']}",
        row["state"],
        state_text(row["health"]),
        f"pid {row['pid']}" if row.get("pid") else "",
        f"MCP {row['protocolVersion']}" if row.get("protocolVersion") else "",
        f"since {instant(started)}" if started else "",
        f"{row['callsInFlight']} in flight",
        counted(row["callsTotal"], "call"),
        f"{cores:.0%} CPU" if cores is not None else "",
        f"{memory / 2**20:.0f} MiB" if memory else "",
        ", ".join(filter(None, marks)),
    )


def settled(client: Client, server: str) -> Server:
    """The server, as soon as it is ready or cannot be (or has taken too long)."""
    deadline = time.monotonic() + PATIENCE
    answer: Server = client.get(server_path(server))
    while answer["state"] in PASSING and time.monotonic() < deadline:
        time.sleep(POLL)
        answer = client.get(server_path(server))
    return answer


def _change(server: str, action: str, *, as_json: bool, given: dict[str, Any]) -> None:
    """Ask for it, wait for the outcome, show it; exit code 1 when the server did not get there."""
    client = connect(load(**given).settings)
    client.post(f"{server_path(server)}/{action}")
    answer = settled(client, server)
    if as_json:
        print_json(answer)
    else:
        show_servers([answer])
    if answer["state"] not in (("stopped",) if action == "stop" else GOOD):
        raise click.exceptions.Exit(1)


@click.command("start")
@click.argument("server", type=ServerName())
@json_option
@state_options
def start_command(server: str, *, as_json: bool, **given: Any) -> None:
    """Start SERVER, which was stopped."""
    _change(server, "start", as_json=as_json, given=given)


@click.command("stop")
@click.argument("server", type=ServerName())
@json_option
@state_options
def stop_command(server: str, *, as_json: bool, **given: Any) -> None:
    """Stop SERVER until it is started again; the others go on."""
    _change(server, "stop", as_json=as_json, given=given)


@click.command("restart")
@click.argument("server", type=ServerName())
@json_option
@state_options
def restart_command(server: str, *, as_json: bool, **given: Any) -> None:
    """Replace the instances of SERVER by new ones: while it serves, these come first, and no call is lost."""
    _change(server, "restart", as_json=as_json, given=given)
