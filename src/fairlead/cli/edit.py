"""Live edits of the running fleet: the spec is taken, changed and put back, unless somebody was faster."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click

from fairlead.cli.client import Client, connect
from fairlead.cli.options import ServerName, json_option, load, state_options
from fairlead.cli.output import columns, counted, plain, print_json, problem, say, warn
from fairlead.cli.servers import PATIENCE
from fairlead.formats.model_walk import nearest
from fairlead.model.errors import ProblemError

ATTEMPTS = 5
Json = dict[str, Any]

# what a change does to servers, and how that is said of one that was made and of one that would be
_DEEDS = {
    "started": ("started", "would be started"),
    "replaced": ("replaced by a new version", "would be replaced by a new version"),
    "adjusted": ("adjusted, without a new process", "would be adjusted, without a new process"),
    "stopped": ("stopped, after its calls", "would be stopped, after its calls"),
}


def edit_fleet(client: Client, edit: Callable[[Json], Json], *, dry_run: bool = False) -> Json:
    """Put `edit(spec)` in the place of the spec in force; returns the `Change`.

    When somebody else changed the spec in between, it is taken and edited anew.
    """
    path = f"/api/fleet?dryRun={'true' if dry_run else 'false'}&origin=live"
    for _ in range(ATTEMPTS):
        fleet, tag = client.get_tagged("/api/fleet")
        try:
            change: Json = client.put(path, edit(fleet["spec"]), if_match=tag)
        except ProblemError as error:
            if error.problem.status != 412:
                raise
        else:
            warn_unless_saved(saved=change["saved"])
            return change
    raise problem(
        "fleet-busy",
        "the fleet is being changed by others all the time",
        f"{ATTEMPTS} attempts came too late, and nothing was changed: try again",
        status=412,
    )


def fleet_client(given: dict[str, Any]) -> Client:
    """A client that waits for changes of the fleet, which may install packages."""
    return connect(load(**given).settings, timeout=PATIENCE)


def change_lines(change: Json) -> list[str]:
    """What a `Change` did, or would do, for people."""
    dry = change["dryRun"]
    rows = [(server, text[dry]) for deed, text in _DEEDS.items() for server in change[deed]]
    for moved in change["sessionsMoved"]:
        sessions = counted(len(moved["sessions"]), "session")
        rows.append((moved["server"], f"{sessions} {'would get' if dry else 'got'} a new instance"))
    rows += [
        (key, f"this live edit {'would be' if dry else 'was'} dropped") for key in change["droppedOverrides"]
    ]
    if not rows:
        return ["nothing would change" if dry else "nothing had to change"]
    return columns(rows)


def server_in(servers: Mapping[str, Json], name: str) -> Json:
    """The server of that name. Raises `ProblemError` with the nearest name when there is none."""
    if name in servers:
        return servers[name]
    meant = nearest(name, servers)
    hint = f"did you mean {meant!r}?" if meant else f"there are: {', '.join(servers) or 'none'}"
    raise problem("unknown-server", f"there is no server {plain(name)!r}", hint, status=404)


def without_server(spec: Json, name: str) -> Json:
    """The spec without the server and its weight (a weight of nobody is an error)."""
    server_in(spec["servers"], name)
    rest = spec | {"servers": {key: entry for key, entry in spec["servers"].items() if key != name}}
    balancing = spec.get("loadBalancing", {})
    if name in balancing.get("weights", {}):
        weights = {key: weight for key, weight in balancing["weights"].items() if key != name}
        rest["loadBalancing"] = balancing | {"weights": weights}
    return rest


@click.command("remove")
@click.argument("name", type=ServerName())
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@json_option
@state_options
def remove_command(name: str, *, yes: bool, as_json: bool, **given: Any) -> None:
    """Take the server NAME out of the running fleet. Its calls in flight end first.

    This is a live edit: the fleet file is not touched.
    """
    client = fleet_client(given)
    fleet = client.get("/api/fleet")
    server_in(fleet["spec"]["servers"], name)
    if not yes:
        click.confirm(f"Remove {name} from the running fleet?", abort=True, err=True)
    change = edit_fleet(client, lambda spec: without_server(spec, name))
    if as_json:
        print_json(change)
        return
    for line in change_lines(change):
        say(line)
    if any(override["key"] == f"servers.{name}" for override in fleet["overrides"]):
        say(f"{name} stood in no file: it was a live edit itself")
    else:
        say(live_edit_text(fleet["owner"]))
        file = file_text(fleet["owner"])
        say(f"To make it last, take `servers.{name}` out of {file}, and its weight if it has one.")


def warn_unless_saved(*, saved: bool) -> None:
    if not saved:
        warn(
            "the change is in force, but could not be written to the state folder: THE NEXT RESTART FORGETS "
            "IT. `fairlead logs` says why"
        )


def tell_live_edit(client: Client) -> None:
    """Say of the live edit of just now whether it lasts."""
    conditions = client.get("/api/fleet")["conditions"]
    saved = all(condition["status"] for condition in conditions if condition["type"] == "Kept")
    warn_unless_saved(saved=saved)
    if saved:
        say("This is a live edit, kept across restarts; `fairlead overrides` lists it.")


def live_edit_text(owner: str) -> str:
    base = "what Git says, to which it counts as drift" if owner == "gitops" else "the fleet file"
    return f"This is a live edit on top of {base}, kept across restarts; `fairlead overrides` lists it."


def file_text(owner: str) -> str:
    return "the fleet file in Git" if owner == "gitops" else "the fleet file"
