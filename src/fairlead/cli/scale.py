"""`fairlead scale|drain`: how many instances a server has, and taking them out of service gently."""

from __future__ import annotations

from typing import Any

import click

from fairlead.cli.client import server_path
from fairlead.cli.edit import fleet_client, tell_live_edit
from fairlead.cli.options import ServerName, json_option, state_options
from fairlead.cli.output import print_json, say
from fairlead.cli.servers import scale_text, show_servers

_MOST = 1000
_STARTED_BY = {"stopped": "`fairlead start {0}`", "disabled": "`enabled: true` in the fleet spec"}


@click.command("scale")
@click.argument("name", type=ServerName())
@click.argument("instances", type=click.IntRange(0, _MOST), required=False)
@click.option(
    "--min", "least", type=click.IntRange(0, _MOST), help="Instances to keep ready; 0 lets it go idle."
)
@click.option("--max", "most", type=click.IntRange(1, _MOST), help="Instances at most.")
@json_option
@state_options
def scale_command(
    name: str, instances: int | None, *, least: int | None, most: int | None, as_json: bool, **given: Any
) -> None:
    """Keep at least INSTANCES instances of the server NAME, or set the bounds with --min and --max.

    Between the bounds Fairlead scales by load. This is a live edit: the fleet file is not touched.
    """
    bounds = {"minInstances": least, "maxInstances": most}
    asked = {key: value for key, value in bounds.items() if value is not None}
    if (instances is None) is not bool(asked):
        msg = "give either the number of INSTANCES, or --min or --max or both"
        raise click.UsageError(msg)
    body = asked if instances is None else {"instances": instances}
    client = fleet_client(given)
    server = client.post(f"{server_path(name)}/scale", body)
    if as_json:
        print_json(server)
    else:
        say(f"{name}: {scale_text(server)}")
        if server["state"] in _STARTED_BY:
            say(f"It is {server['state']}: {_STARTED_BY[server['state']].format(name)} starts it.")
        tell_live_edit(client)


@click.command("drain")
@click.argument("name", type=ServerName())
@click.option("--instance", metavar="ID", help="Only this instance; another one takes its place.")
@json_option
@state_options
def drain_command(name: str, *, instance: str | None, as_json: bool, **given: Any) -> None:
    """Let the server NAME, or one instance of it, end its calls in flight, and stop it then.

    A server gets no new calls meanwhile; `fairlead start` starts it again. An instance gets none as long as
    others serve; one that is alone goes on until the one that takes its place is ready.
    """
    body = {} if instance is None else {"instance": instance}
    server = fleet_client(given).post(f"{server_path(name)}/drain", body)
    if as_json:
        print_json(server)
    else:
        show_servers([server])
