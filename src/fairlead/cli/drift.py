"""`fairlead drift`: what is not as Git says, with the versions that there are of it."""

from __future__ import annotations

import json
import threading
import time
from contextlib import closing, suppress
from typing import Any, Final
from urllib.parse import urlencode

import click

from fairlead.app.settings import Settings
from fairlead.cli.client import Client
from fairlead.cli.events import SILENCE, read
from fairlead.cli.gitops_client import AppName, Json, connect_gitops
from fairlead.cli.gitops_follow import working
from fairlead.cli.gitops_text import ago, place, severity_word, state_word, versions
from fairlead.cli.options import json_option, load, state_options
from fairlead.cli.output import counted, plain, print_json, say, style, warn
from fairlead.cli.table import terminal_width, wrapped
from fairlead.model.errors import ProblemError

EVERY: Final = 2.0  # s between looks while nothing is told: of what goes by itself there is no event
AGAIN: Final = 0.2  # s until events are asked for again
_FLEETING: Final = ("not-reachable", "not-running", "store-unavailable", "store-slow")
_SEVERITIES: Final = ("critical", "high", "medium", "low")
_KINDS: Final = ("configuration", "file", "environment", "service")
_STATES: Final = ("open", "held", "proposed", "conflict", "uncommitted")
_MARKS: Final = {"new": "yellow", "changed": "yellow", "gone": "green"}


@click.command("drift")
@click.argument("app", type=AppName(), required=False)
@click.option("--check", is_flag=True, help="Look at everything first, instead of telling what is known.")
@click.option("--kind", type=click.Choice(_KINDS), help="Only of this kind.")
@click.option("--severity", type=click.Choice(_SEVERITIES), help="As bad as this, or worse.")
@click.option("--state", type=click.Choice(_STATES), help="Only in this state.")
@click.option(
    "-n", "--limit", type=click.IntRange(1, 5000), default=1000, help="Of places; the worst come first."
)
@click.option("-w", "--watch", is_flag=True, help="Go on telling what comes and goes, until Ctrl-C.")
@click.option("--exit-code", is_flag=True, help="Exit with 1 if there is any.")
@json_option
@state_options
def drift_command(
    app: str | None, *, check: bool, watch: bool, exit_code: bool, as_json: bool, **given: Any
) -> None:
    """Show what is not as Git says, of APP or of all: what is there (live), and what Git says.

    What was applied last is shown, too, where it is neither. Values are shortened, secrets concealed.
    """
    if watch and exit_code:
        raise click.UsageError("--watch does not end by itself: leave --exit-code out")
    names = ("kind", "severity", "state", "limit")
    wanted = {"application": app, **{name: given.pop(name) for name in names}}
    settings = load(**given).settings
    client = connect_gitops(settings)
    if check:
        with working("looking"):
            client.post("/api/drift/check", {} if app is None else {"application": app})
    status = look(client, wanted)
    if as_json and not watch:
        print_json(status)
    elif as_json:
        click.echo(json.dumps(status, ensure_ascii=False))
    else:
        show(status, app)
    if watch:
        with suppress(KeyboardInterrupt):
            follow(settings, wanted, status, as_json=as_json)
    if exit_code and sum(status["bySeverity"].values()):
        raise click.exceptions.Exit(1)


def look(client: Client, wanted: dict[str, Any]) -> Json:
    """A `DriftStatus`."""
    query = {name: value for name, value in wanted.items() if value is not None}
    status: Json = client.get(f"/api/drift/status?{urlencode(query)}")
    return status


def show(status: Json, app: str | None = None) -> None:
    now = time.time()
    for row in status["drift"]:
        for line in row_lines(row, now):
            say(line)
        say()
    say(summary(status, app, now))


def row_lines(row: Json, now: float, mark: str = "") -> list[str]:
    """One place: a head, why, and its versions."""
    words = [
        severity_word(row["severity"]),
        plain(row["application"]),
        style(place(row), bold=True),
        state_word(row["state"]),
    ]
    by = f" by {plain(row['by'])}" if row["by"] else ""
    since = style(f"{plain(row['kind'])}, {ago(row['since'], now)}{by}", dim=True)
    head = "  ".join([*([style(mark, fg=_MARKS.get(mark))] if mark else []), *words, since])
    lines = [head, *wrapped(plain(row["message"]), terminal_width(), indent=4)]
    if any(row[version] is not None for version in ("base", "live", "desired")):
        lines += versions(row)
    return lines


def summary(status: Json, app: str | None, now: float) -> str:
    """How much there is, and how old that is."""
    whose = app or counted(status["applications"], "application")
    looked = (
        f"looked {ago(status['checked'], now)}" if status["checked"] else "not everything was looked at yet"
    )
    counts = status["bySeverity"]
    total = sum(counts.values())
    if not total:
        good = style("as Git says", fg="green") if status["checked"] else "nothing found"
        return f"{plain(whose)}: {good}; {looked}"
    severities = ", ".join(
        f"{counts[each]} {severity_word(each)}" for each in _SEVERITIES if counts.get(each)
    )
    shown = len(status["drift"])
    part = f"; the first {shown} are shown, --limit gives more" if shown < total else ""
    return f"{counted(total, 'place')} not as Git says ({severities}){part}; {looked}"


def follow(settings: Settings, wanted: dict[str, Any], status: Json, *, as_json: bool) -> None:
    """Tell what comes, changes and goes, over breaks of the connection, which are told once each."""
    with closing(Bell(settings)) as bell:
        _follow(bell, settings, wanted, status, as_json=as_json)


def _follow(bell: Bell, settings: Settings, wanted: dict[str, Any], status: Json, *, as_json: bool) -> None:
    before, broken = _by_place(status), ""
    while True:
        bell.wait(EVERY)
        try:
            status = look(connect_gitops(settings), wanted)
        except ProblemError as error:
            if error.problem.code not in _FLEETING:
                raise
            if broken != error.problem.code:
                warn(f"{error.problem.title}; trying again")
            broken = error.problem.code
            continue
        broken = ""
        now_there = _by_place(status)
        if as_json and now_there != before:
            click.echo(json.dumps(status, ensure_ascii=False))
        elif not as_json:
            _tell(before, now_there, complete=_is_complete(status))
            if not _is_complete(status):
                now_there = {**before, **now_there}
        before = now_there


class Bell:
    """Rings when the controller tells an event, which a thread of its own listens to.

    How it fares with that is of no concern here: whoever waits looks, and learns what is wrong.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._rung = threading.Event()
        self._closed = threading.Event()
        threading.Thread(target=self._listen, name="bell", daemon=True).start()

    def __repr__(self) -> str:
        return f"Bell(rung={self._rung.is_set()})"

    def wait(self, seconds: float) -> bool:
        """Until it rings, or so long; whether it rang since the last time."""
        rang = self._rung.wait(seconds)
        self._rung.clear()
        return rang

    def close(self) -> None:
        """Listen no more, once what is listened to now has ended."""
        self._closed.set()

    def _listen(self) -> None:
        while not self._closed.wait(AGAIN):
            with suppress(ProblemError):
                client = connect_gitops(self._settings, timeout=SILENCE)
                page = read(client, [], None, 1)
                self._rung.set()  # for what happened before it listened
                for _ in client.stream(f"/api/events?since={page['next']}&epoch={page['epoch']}"):
                    self._rung.set()


def _is_complete(status: Json) -> bool:
    """Whether no place is beyond the limit: only then what is missing has gone."""
    total: int = sum(status["bySeverity"].values())
    return len(status["drift"]) >= total


def _tell(before: dict[tuple[str, ...], Json], there: dict[tuple[str, ...], Json], *, complete: bool) -> None:
    now = time.time()
    for where, row in there.items():
        if before.get(where) != row:
            for line in row_lines(row, now, "changed" if where in before else "new"):
                say(line)
    for where, row in before.items():
        if complete and where not in there:
            say(f"{style('gone', fg='green')}  {plain(row['application'])}  {style(place(row), bold=True)}")


def _by_place(status: Json) -> dict[tuple[str, ...], Json]:
    return {(row["application"], row["object"], row["key"], row["kind"]): row for row in status["drift"]}
