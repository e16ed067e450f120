"""Waiting for deployments: each step is told when it is over, on a terminal also what goes on meanwhile.

What was ordered is carried out by the application's next look. So that it is known when nothing more comes
of an order, a look is asked for as well, and deployments are shown meanwhile. The service answers when the
look is over, or after a while with what is known by then: such an answer is no end, so it is asked again.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from rich.console import Console
from rich.markup import escape

from fairlead.cli.client import Client
from fairlead.cli.gitops_client import Json, app_path, deployment_path
from fairlead.cli.gitops_text import (
    ENDED,
    condition,
    is_ready,
    message_of,
    short,
    span,
    state_of,
    state_word,
)
from fairlead.cli.output import coloured, plain, say, style, warn
from fairlead.model.errors import ProblemError

POLL: Final = 0.2  # s
FETCH: Final = 30.0  # s that a repository may take to answer
CUT_OFF: Final = 14.0  # s: an answer that took as long was not waited for to the end; the service's are 15
LOOKS: Final = 20  # times that such a look is asked for: what takes longer goes on without us
LATEST: Final = "/api/deployments?application={}&limit=1"
_STANDING: Final = frozenset({"Suspended", "WindowClosed"})  # a person or a time ends them, no other try
_AWAY: Final = frozenset({"SourceAway", "StoreAway", "TargetAway"})  # tried again by itself


class Working(Protocol):
    """What the terminal shows while something goes on."""

    def __call__(self, text: str) -> None: ...


@contextmanager
def working(text: str) -> Iterator[Working]:
    """Show on stderr that something goes on, and what; nothing where that is no terminal."""
    if not coloured(sys.stderr):
        yield lambda _: None
        return
    with Console(stderr=True).status(escape(plain(text))) as status:
        yield lambda more: status.update(escape(plain(more)))


class Look:
    """A look at an application, or at all, that goes on in the background."""

    def __init__(self, client: Client, app: str | None) -> None:
        self._client = client
        self._body = {} if app is None else {"application": app}
        self._error: ProblemError | None = None
        self._thread = threading.Thread(target=self._run, name="look", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"Look({self._body}, over={self.over})"

    @property
    def over(self) -> bool:
        return not self._thread.is_alive()

    def check(self) -> bool:
        """Whether it is over. Raises ProblemError when it failed."""
        if not self.over:
            return False
        if self._error is not None:
            raise self._error
        return True

    def _run(self) -> None:
        try:
            for _ in range(LOOKS):
                began = time.monotonic()
                self._client.post("/api/drift/check", self._body)
                if time.monotonic() - began < CUT_OFF:
                    break
        except ProblemError as error:
            self._error = error


class Follower:
    """Shows deployments of one application on their way. `quiet`: nothing is printed."""

    def __init__(self, client: Client, *, quiet: bool) -> None:
        self._client = client
        self._quiet = quiet

    def __repr__(self) -> str:
        return f"Follower({self._client!r})"

    def follow(self, deployment_id: str, look: Look | None = None) -> Json:
        """The deployment as soon as it is over, or (after the look) still waits for a person or a time.

        What keeps it from going on is told on stderr, once.
        """
        path, told, hindered = deployment_path(deployment_id), 0, ""
        row: Json = self._client.get(path)
        self._say(f"deployment {row['id']} of {plain(row['application'])}: {short(row['commit'])}")
        with working(_current(row)) as doing:
            while True:
                looked = look is None or look.check()
                row = self._client.get(path)
                over = [step for step in row["steps"] if step["ended"] is not None]
                for step in over[told:]:
                    self._say(step_line(step))
                told = len(over)
                if row["state"] in ENDED:
                    break
                stands, why = self._hindrance(row["application"]) if looked else (False, "")
                if why and why != hindered:
                    warn(why)
                    hindered = why
                if looked and (row["state"] == "waiting" or (row["state"] == "pending" and stands)):
                    break
                doing(_current(row))
                time.sleep(POLL)
        self._say(outcome(row))
        return row

    def latest(self, app: str) -> Json | None:
        """The newest deployment of an application."""
        rows: list[Json] = self._client.get(LATEST.format(app))["deployments"]
        return rows[0] if rows else None

    def synchronised(self, app: str, before: Json | None, look: Look) -> Json | None:
        """What came of a sync: the deployment that it led to, followed to its end; None where it took none.

        `before` was the latest one when it was asked for. One that is overtaken by a newer one is left.
        """
        known = before["id"] if before is not None and before["state"] in ENDED else ""
        while True:
            looked = look.check()
            found = self.latest(app)
            if found is not None and found["id"] != known:
                row = self.follow(found["id"], look)
                if row["state"] != "superseded":
                    return row
                known = row["id"]
            elif looked:
                return None
            else:
                time.sleep(POLL)

    def fetched(self, sources: set[str], since: float) -> None:
        """Wait until the repositories were asked after `since` (of the monotonic clock), but not for ever."""
        deadline = since + FETCH
        with working("fetching"):
            while True:
                rows: list[Json] = self._client.get("/api/git/status")["sources"]
                passed = time.monotonic() - since
                old = [row for row in rows if row["name"] in sources and _is_older(row, passed)]
                if not old or time.monotonic() > deadline:
                    break
                time.sleep(POLL)
        for row in old:
            why = plain(f"{row['reason']}: {row['message']}" if row["reason"] else "it does not answer")
            warn(f"{row['name']}: {why}; its last verified commit {short(row['head'])} stays in force")

    def settled(self, app: str) -> bool:
        """Tell how an application is that needed no deployment. Whether it is as Git says."""
        application: Json = self._client.get(app_path(app))
        good = is_ready(application)
        if good:
            commit = short(application["applied"] or application["commit"])
            self._say(f"{app}: as Git says already ({commit})")
        else:
            self._say(f"{app}: {state_of(application)}  {message_of(application)}".rstrip())
        return good

    def _hindrance(self, app: str) -> tuple[bool, str]:
        """Why its orders are put off, "" if they are not, and whether no other try ends that."""
        application: Json = self._client.get(app_path(app))
        ready = condition(application, "Ready") or {}
        reason = plain(ready.get("reason", ""))
        stands = reason in _STANDING or bool((condition(application, "Stalled") or {}).get("status"))
        if is_ready(application) or not (stands or reason in _AWAY):
            return False, ""
        more = "; it is tried again" if reason in _AWAY else ""
        return stands, f"{app}: {reason}: {message_of(application)}{more}"

    def _say(self, line: str) -> None:
        if not self._quiet:
            say(line)


def step_line(step: Json) -> str:
    took = f"{span(step['seconds']):>7}" if step["seconds"] is not None else f"{'...':>7}"
    error = style(plain(step["error"]), fg="red") if step["error"] else plain(step["message"])
    return f"  {step['name']:<9} {took}  {error}".rstrip()


def outcome(row: Json) -> str:
    took = f" after {span(row['seconds'])}" if row["seconds"] is not None else ""
    message = f": {plain(row['message'])}" if row["message"] else ""
    return f"{state_word(row['state'])}{took}{message}"


def _current(row: Json) -> str:
    step = next((step["name"] for step in row["steps"] if step["ended"] is None), row["state"])
    return f"{row['application']} {row['commit'][:12]}: {step}"


def _is_older(source: Json, seconds: float) -> bool:
    """Whether it was seen last before so many seconds. A checkout is followed, not asked."""
    if source["name"] == "checkout":
        return False
    return source["age"] is None or source["age"] > seconds
