"""`fairlead scale|drain`: how many instances a server has, and taking them out of service gently."""

from __future__ import annotations

from typing import Any

import click

from fairlead.cli.client import server_path
from fairlead.cli.edit import fleet_client
from fairlead.cli.options import json_option, state_options
from fairlead.cli.output import print_json, say
from fairlead.cli.servers import scale_text, show_servers

_MOST = 1000


@click.command("scale")
@click.argument("name")
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
    server = fleet_client(given).post(f"{server_path(name)}/scale", body)
    if as_json:
        print_json(server)
    else:
        say(f"{name}: {scale_text(server)}")
        say("This is a live edit, kept across restarts; `fairlead overrides` lists it.")


@click.command("drain")
@click.argument("name")
@click.option("--instance", metavar="ID", help="Only this instance; another one takes its place.")
@json_option
@state_options
def drain_command(name: str, *, instance: str | None, as_json: bool, **given: Any) -> None:
    """Let the server NAME, or one instance of it, end its calls in flight, and stop it then.

    It gets no new calls meanwhile. `fairlead start` starts a drained server again.
    """
    body = {} if instance is None else {"instance": instance}
    server = fleet_client(given).post(f"{server_path(name)}/drain", body)
    if as_json:
        print_json(server)
    else:
        show_servers([server])
