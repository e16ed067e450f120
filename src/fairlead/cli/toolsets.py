"""`fairlead toolsets`: the named views of the running fleet."""

from __future__ import annotations

from typing import Any

import click

from fairlead.cli.client import connect
from fairlead.cli.options import json_option, load, state_options
from fairlead.cli.output import columns, plain, print_json, say, style


@click.command("toolsets")
@json_option
@state_options
def toolsets_command(*, as_json: bool, **given: Any) -> None:
    """List the toolsets: what each of them shows, and what of its spec has no effect."""
    answer = connect(load(**given).settings).get("/api/toolsets")
    if as_json:
        print_json(answer)
        return
    toolsets = answer["toolsets"]
    if not toolsets:
        say("no toolsets: the fleet file has none under `toolsets`")
        return
    rows = [("TOOLSET", "MODE", "TOOLS", "PROMPTS", "RESOURCES", "SERVERS", "")]
    for toolset in toolsets:
        resources = toolset["resources"] + toolset["templates"]
        counts = (str(count) for count in (toolset["tools"], toolset["prompts"], resources))
        servers = ", ".join(toolset["servers"]) or "-"
        about = " ".join(plain(toolset["description"]).split())  # on one line
        rows.append((toolset["name"], toolset["mode"], *counts, servers, about))
    for line in columns(rows):
        say(line)
    for toolset in toolsets:
        for problem in toolset["problems"]:
            say(style("! ", fg="yellow") + f"{toolset['name']}: {plain(problem)}")
