"""`fairlead add`: a new server for the running fleet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from shlex import quote
from typing import Any

import click

from fairlead.app.fleet_reading import complaint
from fairlead.cli.edit import Json, change_lines, edit_fleet, file_text, fleet_client, live_edit_text
from fairlead.cli.options import json_option, state_options
from fairlead.cli.output import GOOD, print_json, problem, say, warn
from fairlead.cli.servers import settled, show_servers
from fairlead.core.literal_secrets import covered, variable_for
from fairlead.formats.yaml_text import write_yaml
from fairlead.model.fleet import Sharing
from fairlead.stores.fleet_file import load as load_fleet

_SOURCES = ("package", "command", "url")


@click.command("add")
@click.argument("name")
@click.option("--package", help="npm:NAME@VERSION or pypi:NAME==VERSION.")
@click.option("--command", help="A program on this machine: a path, or a name in PATH.")
@click.option("--url", help="A server that runs elsewhere.")
@click.option("--arg", "args", multiple=True, help="An argument of the program. Repeatable.")
@click.option("--env", "environment", multiple=True, metavar="NAME=VALUE", help="For its environment.")
@click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="Sent to the url.")
@click.option(
    "--sharing", type=click.Choice([*map(str, Sharing)]), help="Who may share an instance. [shared]"
)
@click.option("--capability", "capabilities", multiple=True, help="What it is good for. Repeatable.")
@click.option("--min", "least", type=click.IntRange(min=0), help="Instances to keep ready. [1]")
@click.option("--max", "most", type=click.IntRange(min=1), help="Instances at most. [4]")
@click.option("--dry-run", is_flag=True, help="Only show what it would change.")
@json_option
@state_options
def add_command(name: str, *, dry_run: bool, as_json: bool, **given: Any) -> None:
    """Add the server NAME to the running fleet and wait until it is ready or cannot be.

    Give one of --package, --command, --url. Values may hold ${NAME}, which is looked up in the environment
    that Fairlead runs in: single quotes keep the shell from doing so. This is a live edit: the fleet file is
    not touched.
    """
    entry = _entry(given)
    lasting = covered(entry, lambda secret: f"${{{variable_for(secret)}}}")
    _warn_of_secrets(entry, lasting)
    _check(name, entry)
    client = fleet_client(given)
    change = edit_fleet(client, lambda spec: with_server(spec, name, entry), dry_run=dry_run)
    server = None if dry_run else settled(client, name)
    if as_json:
        print_json({"change": change, "server": server, "fleetFile": {"servers": {name: lasting}}})
    elif server is None:
        for line in change_lines(change):
            say(line)
    else:
        show_servers([server])
        owner = client.get("/api/fleet")["owner"]
        say()
        say(live_edit_text(owner))
        say(f"To make it last, put this into {file_text(owner)}:")
        say()
        click.echo(write_yaml({"servers": {name: lasting}}), nl=False)
    if server is not None and server["state"] not in GOOD:
        raise click.exceptions.Exit(1)


def with_server(spec: Json, name: str, entry: Json) -> Json:
    """The spec with one more server. Raises `ProblemError` when the name is taken."""
    if name in spec["servers"]:
        raise problem(
            "server-exists",
            f"there is a server {name!r} already",
            f"choose another name; to replace it, `fairlead remove {name}` first, or change `servers.{name}` "
            "in the fleet file, where the new version takes over without a gap",
            status=409,
        )
    return spec | {"servers": spec["servers"] | {name: entry}}


def _entry(given: dict[str, Any]) -> Json:
    """The server as the fleet file writes it; its options are taken out of `given`."""
    source = {kind: value for kind in _SOURCES if (value := given.pop(kind)) is not None}
    if len(source) != 1:
        msg = "give one of --package, --command, --url" + (", not more" if source else "")
        raise click.UsageError(msg)
    scaling = {"minInstances": given.pop("least"), "maxInstances": given.pop("most")}
    parts = {
        "args": list(given.pop("args")),
        "environment": _pairs(given.pop("environment"), "=", "--env", "NAME=VALUE"),
        "headers": _pairs(given.pop("headers"), ":", "--header", "'Name: value'"),
        "sharing": given.pop("sharing"),
        "capabilities": list(given.pop("capabilities")),
        "scaling": {key: value for key, value in scaling.items() if value is not None},
    }
    return source | {key: value for key, value in parts.items() if value}


def _pairs(texts: Iterable[str], mark: str, option: str, form: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts:
        name, found, value = text.partition(mark)
        if not found or not name.strip():
            msg = f"write it as {form}"  # without the text, which may be a secret
            raise click.BadParameter(msg, param_hint=option)
        pairs[name.strip()] = value.strip() if mark == ":" else value
    return pairs


def _warn_of_secrets(entry: Json, lasting: Json) -> None:
    for given, better in zip(_options(entry), _options(lasting), strict=True):
        if given != better:
            option, text = better
            warn(
                f"{option}: what is given looks like a secret: who reads the fleet spec sees it, and your "
                "shell remembers it. Better set the variable where Fairlead runs, and write "
                f"{option} {quote(text)}"
            )


def _options(entry: Json) -> Iterator[tuple[str, str]]:
    """The entry as the options that give it, those that may hold a secret."""
    yield "--url", entry.get("url", "")
    for text in entry.get("args", ()):
        yield "--arg", text
    for name, value in entry.get("environment", {}).items():
        yield "--env", f"{name}={value}"
    for name, value in entry.get("headers", {}).items():
        yield "--header", f"{name}: {value}"


def _check(name: str, entry: Json) -> None:
    """What a fleet file with only this server would be told; the service checks the whole once more."""
    loaded = load_fleet(write_yaml({"servers": {name: entry}}), "")
    for warning in loaded.warnings:
        warn(complaint(warning))
    if loaded.errors:
        found = "\n".join(map(complaint, loaded.errors))
        raise problem("server-invalid", "the server is not right", found, status=422)
