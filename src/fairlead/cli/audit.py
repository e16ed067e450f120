"""`fairlead audit`: who did what, when, with what outcome."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

import click

from fairlead.cli.client import Client, connect
from fairlead.cli.gitops_client import connect_gitops
from fairlead.cli.moments import Moment
from fairlead.cli.options import json_option, load, state_options
from fairlead.cli.output import columns, instant, plain, print_json, say, style

POLL = 1.0  # s
OVERLAP = 10.0  # s: records of other processes may come later than ours
PAGE = 1000
KINDS = ("call", "change", "refusal", "system")
Record = dict[str, Any]  # as REST shows it


@click.command("audit")
@click.option("--since", type=Moment(), help="From when on: 90s, 15m, 2h or 3d ago, or a date and time.")
@click.option("--until", type=Moment(), help="Until when.")
@click.option("--kind", type=click.Choice(KINDS), help="Only records of this kind.")
@click.option("--principal", help="Only what this principal did.")
@click.option("--server", help="Only what is about this server.")
@click.option("--tool", help="Only calls of this tool, prompt or resource.")
@click.option("--outcome", help="Only what ended so: ok, tool_error, timeout, refused, ...")
@click.option("-n", "--limit", type=click.IntRange(1, PAGE), default=50, show_default=True, help="How many.")
@click.option("-f", "--follow", is_flag=True, help="Go on showing what comes, until Ctrl-C.")
@click.option("--gitops", is_flag=True, help="Those of the GitOps controller.")
@json_option
@state_options
def audit_command(*, limit: int, follow: bool, as_json: bool, gitops: bool, **given: Any) -> None:
    """Show who did what: calls, changes, refusals. The latest ones that fit, in their order."""
    names = ("since", "until", "kind", "principal", "server", "tool", "outcome")
    wanted = {name: value for name in names if (value := given.pop(name)) is not None}
    service = connect_gitops if gitops else connect
    client = service(load(**given).settings)
    records = search(client, wanted, limit)
    if as_json and not follow:
        print_json({"records": records})
        return
    show(records, as_json=as_json)
    if follow:
        with suppress(KeyboardInterrupt):
            for more in following(client, wanted, records):
                show(more, as_json=as_json)


def search(client: Client, wanted: dict[str, Any], limit: int) -> list[Record]:
    """The latest that fit, in the order of their times."""
    answer = client.get(f"/api/audit?{urlencode({**wanted, 'limit': limit})}")
    records: list[Record] = answer["records"]
    return records[::-1]


def following(client: Client, wanted: dict[str, Any], shown: list[Record]) -> Iterator[list[Record]]:
    """What comes after `shown`, as it comes; of more than a page at a time the latest."""
    wanted = {name: value for name, value in wanted.items() if name not in ("since", "until")}
    latest = shown[-1]["at"] if shown else time.time()
    known: set[str] | None = None
    while True:
        time.sleep(POLL)
        found = search(client, {**wanted, "since": latest - OVERLAP}, PAGE)
        if known is None:  # what lies before `shown` is not new
            known = {_identity(record) for record in shown}
            known |= {_identity(record) for record in found if record["at"] < latest}
        yield [record for record in found if _identity(record) not in known]
        known = {_identity(record) for record in found}
        latest = max([latest, *(record["at"] for record in found)])


def _identity(record: Record) -> str:
    return json.dumps(record, sort_keys=True)


def show(records: list[Record], *, as_json: bool) -> None:
    """With `as_json` a line of JSON for each."""
    if as_json:
        for record in records:
            click.echo(json.dumps(record, ensure_ascii=False))
        return
    for line in columns([_row(record) for record in records]) if records else ():
        say(line)


def _row(record: Record) -> tuple[str, ...]:
    about = "/".join(filter(None, (record.get("server"), record.get("tool"))))
    outcome = record.get("outcome", "")
    colour = None if outcome == "ok" else "yellow" if record["kind"] in ("call", "system") else "red"
    took = f"{record['seconds'] * 1000:.1f} ms" if record.get("seconds") else ""
    return (
        instant(record["at"]),
        record["kind"],
        plain(record.get("principal") or record.get("peer") or "-"),
        plain(record.get("action", "")),
        plain(about),
        style(plain(outcome), fg=colour),
        took,
        plain(_more(record)),
    )


def _more(record: Record) -> str:
    detail = record.get("detail", {})
    told = [f"{name}={detail[name]}" for name in detail if name != "status"]
    return " ".join(filter(None, (record.get("instance", ""), record.get("arguments", "")[:23], *told)))
