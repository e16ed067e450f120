"""`fairlead events`: what happened, and what happens."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

import click

from fairlead.cli.client import Client, connect
from fairlead.cli.gitops_client import connect_gitops
from fairlead.cli.options import json_option, load, state_options
from fairlead.cli.output import columns, plain, print_json, say, style, warn
from fairlead.model.errors import ProblemError
from fairlead.model.events import EventType

RECONNECT = 2.0  # s
SILENCE = 60.0  # s: the service says something four times as often
Event = dict[str, Any]  # as REST shows it

_COLOURS = {
    EventType.INSTANCE_LOST: "red",
    EventType.SERVICE_DEGRADED: "red",
    EventType.AUTHENTICATION_FAILED: "red",
    EventType.EVENTS_LOST: "red",
    EventType.BREAKER_CHANGED: "yellow",
    EventType.CONTRACT_CHANGED: "yellow",
    EventType.DRIFT_DETECTED: "yellow",
}


@click.command("events")
@click.option("-f", "--follow", is_flag=True, help="Go on showing what happens, until Ctrl-C.")
@click.option("--since", type=click.IntRange(min=0), help="Those after this number; 0 for all that are kept.")
@click.option("-n", "--limit", type=click.IntRange(0, 1000), default=50, show_default=True, help="How many.")
@click.option(
    "--type",
    "types",
    type=click.Choice([each.value for each in EventType]),
    multiple=True,
    help="Only this type.",
)
@click.option("--subject", "subjects", multiple=True, help="Only what is about this; * stands for anything.")
@click.option("--server", "servers", multiple=True, help="Only what is about this server.")
@click.option("--gitops", is_flag=True, help="Those of the GitOps controller.")
@json_option
@state_options
def events_command(
    *, follow: bool, since: int | None, limit: int, as_json: bool, gitops: bool, **given: Any
) -> None:
    """Show what happened, in order: the last of it, or all after a number. Filters may be given repeatedly.

    With --follow and without --since only what happens from now on is shown, after the last events.
    """
    wanted = [("type", each) for each in given.pop("types")]
    wanted += [("subject", each) for each in given.pop("subjects")]
    wanted += [("server", each) for each in given.pop("servers")]
    service = connect_gitops if gitops else connect
    client = service(load(**given).settings, timeout=SILENCE)
    page = read(client, wanted, since, limit)
    if as_json and not follow:
        print_json(page)
        return
    show(page["events"], as_json=as_json)
    if follow:
        with suppress(KeyboardInterrupt):
            for event in following(client, wanted, page["next"], page.get("epoch", "")):
                show([event], as_json=as_json)


def read(client: Client, wanted: list[tuple[str, str]], since: int | None, limit: int) -> dict[str, Any]:
    """A page of events: the last ones without `since`."""
    begin = [] if since is None else [("since", str(since))]
    page: dict[str, Any] = client.get(
        f"/api/events?{urlencode([*wanted, *begin, ('limit', str(max(1, limit)))])}"
    )
    return page if limit else {**page, "events": []}


def following(client: Client, wanted: list[tuple[str, str]], since: int, epoch: str = "") -> Iterator[Event]:
    """The events after a number as they come, over breaks of the connection, which are told once each."""
    broken = ""
    while True:
        try:
            place = [("since", str(since)), *([("epoch", epoch)] if epoch else [])]
            for name, data in client.stream(f"/api/events?{urlencode([*wanted, *place])}"):
                broken = ""
                if name in ("slow", "goodbye"):  # it goes on from there, if it may
                    since = data["resumeFrom"]
                elif name == "error":
                    since, epoch = _skip(data), data.get("epoch", epoch)
                else:
                    since = int(data["sequence"])
                    yield data
        except ProblemError as error:
            code = error.problem.code
            if code == "events-gone":
                since, epoch = _skip(error.problem.extra), error.problem.extra.get("epoch", epoch)
            elif code not in ("not-reachable", "store-unavailable", "store-slow", "too-many-readers"):
                raise
            elif broken != code:
                warn(f"{error.problem.title}; trying again")
                broken = code
        time.sleep(RECONNECT)


def _skip(problem: Mapping[str, Any]) -> int:
    """From where on the events are still kept."""
    lost = "have another history now" if "epoch" in problem else "are not kept any more"
    warn(f"the events before {problem['oldest']} {lost}")
    return int(problem["oldest"]) - 1


def show(events: list[Event], *, as_json: bool) -> None:
    """With `as_json` a line of JSON for each."""
    if as_json:
        for event in events:
            click.echo(json.dumps(event, ensure_ascii=False))
        return
    for line in columns([_row(event) for event in events]) if events else ():
        say(line)


def _row(event: Event) -> tuple[str, ...]:
    type_ = str(event["type"])
    data = {name: value for name, value in event["data"].items() if value not in ("", None, [])}
    told = (
        f"{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in data.items()
    )
    moment = str(event["time"])[:19].replace("T", " ") + "Z"
    return (
        style(str(event["sequence"]), dim=True),
        moment,
        style(plain(type_), fg=_COLOURS.get(EventType(type_)) if type_ in list(EventType) else None),
        plain(str(event.get("subject", "-"))),
        plain(" ".join(told)),
    )
