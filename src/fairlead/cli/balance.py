"""`fairlead strategy|breakers`: how calls are spread, and who gets none for a while."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click

from fairlead.cli.client import connect
from fairlead.cli.edit import Json, fleet_client, server_in, tell_live_edit
from fairlead.cli.options import BreakerName, ServerName, json_option, load, state_options
from fairlead.cli.output import columns, plain, print_json, say, state_text, style
from fairlead.model.fleet import Strategy
from fairlead.model.reports import BreakerScope

_AS_FLEET = "fleet"


@click.command("strategy")
@click.argument("strategy", type=click.Choice([*map(str, Strategy), _AS_FLEET]), required=False)
@click.option(
    "--server",
    type=ServerName(),
    metavar="NAME",
    help="Only for this server; `fleet` then means: as for all.",
)
@json_option
@state_options
def strategy_command(strategy: str | None, *, server: str | None, as_json: bool, **given: Any) -> None:
    """Show how calls are spread over instances, or set the STRATEGY for all servers or one.

    A new strategy is a live edit: the fleet file is not touched.
    """
    if strategy == _AS_FLEET and server is None:
        msg = "`fleet` stands for the strategy of all: name a --server that is to follow it"
        raise click.UsageError(msg)
    client = fleet_client(given)
    if strategy is None:
        status = client.get("/api/load-balancer/status")
        if server is not None:
            status["servers"] = [server_in({row["id"]: row for row in status["servers"]}, server)]
    else:
        wanted = {"strategy": None if strategy == _AS_FLEET else strategy}
        body = wanted if server is None else wanted | {"server": server}
        status = client.post("/api/load-balancer/strategy", body)
    if as_json:
        print_json(status)
        return
    _show_balance(status)
    if strategy is not None:
        say()
        tell_live_edit(client)


def _show_balance(status: Json) -> None:
    say(f"The fleet's strategy: {style(status['strategy'], bold=True)}")
    say()
    rows: list[tuple[str, ...]] = [
        ("SERVER", "STRATEGY", "WEIGHT", "IN FLIGHT", "WAITING", "PRESSURE", "CALLS", "")
    ]
    for server in status["servers"]:
        rows += [_balance_row(server), *map(_member_row, server["instances"])]
    for line in columns(rows):
        say(line)
    for offered in status["capabilities"]:
        for servers in offered["groups"]:
            if len(servers) > 1:
                say(f"{offered['capability']}: {', '.join(servers)} have the same tools and share its calls")


def _balance_row(server: Json) -> tuple[str, ...]:
    members = server["instances"]
    return (
        server["id"],
        server["strategy"],
        f"{server['weight']:g}",
        str(sum(member["callsInFlight"] for member in members)),
        str(server["callsWaiting"]),
        "",
        str(sum(member["callsTotal"] for member in members)),
        "panicking: all that live get calls" if server["panicking"] else "",
    )


def _member_row(member: Json) -> tuple[str, ...]:
    return (
        f"  {member['id']}",
        "",
        f"{member['weight']:g}",
        f"{member['callsInFlight']} of {member['limit']}",
        "",
        f"{member['pressure']:.2f}",
        str(member["callsTotal"]),
        "" if member["inRotation"] else "gets no calls",
    )


@click.command("breakers")
@click.option(
    "--reset", type=BreakerName(), metavar="ID", help="Close the breaker of this server or instance."
)
@click.option(
    "--scope",
    type=click.Choice([*map(str, BreakerScope)]),
    help="What --reset means, where a server and an instance have the same id.",
)
@json_option
@state_options
def breakers_command(*, reset: str | None, scope: str | None, as_json: bool, **given: Any) -> None:
    """Show the circuit breakers of servers and instances; the counts are those of their windows."""
    if scope and reset is None:
        msg = "--scope goes with --reset"
        raise click.UsageError(msg)
    client = connect(load(**given).settings)
    if reset is None:
        answer = client.get("/api/circuit-breakers")
        breakers = answer["breakers"]
    else:
        query = f"?scope={scope}" if scope else ""
        answer = client.post(f"/api/circuit-breakers/{quote(reset, safe='')}/reset{query}")
        breakers = [answer]
    if as_json:
        print_json(answer)
        return
    rows = [("BREAKER", "SCOPE", "STATE", "CALLS", "FAILED", "SLOW", "OPENED", "")]
    for line in columns([*rows, *map(_breaker_row, breakers)]):
        say(line)


def _breaker_row(breaker: Json) -> tuple[str, ...]:
    after = breaker["retryAfter"]
    notes = ["" if after is None else f"tried again in {after:.0f} s", plain(breaker["reason"])]
    return (
        *(breaker["id"], breaker["scope"], state_text(breaker["state"])),
        *(str(breaker[name]) for name in ("calls", "failures", "slow", "openedTotal")),
        ": ".join(filter(None, notes)),
    )
