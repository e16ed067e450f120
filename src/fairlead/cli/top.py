"""`fairlead top`: what the servers do, second by second."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import click

from fairlead.app.settings import Settings
from fairlead.cli.client import Client, connect
from fairlead.cli.options import json_option, load, state_options
from fairlead.cli.rates import SORT_KEYS, Frame, Sample, frame, matching, ordered
from fairlead.cli.service import StopSignals
from fairlead.cli.top_view import JsonView, LiveView, PlainView, View
from fairlead.model.errors import ProblemError

POLL = 0.05  # s: how soon a signal is noticed
POLL_TIMEOUT = 2.0  # s: nor must it wait longer than this for an answer
_HOPELESS = (401, 403)  # problems of a poll that do not pass


@dataclass(frozen=True, slots=True)
class Choice:
    """Which servers are shown, in which order, and how often (s)."""

    interval: float
    sort: str
    part: str  # of the name
    once: bool

    def of(self, frame: Frame) -> Frame:
        return replace(frame, servers=ordered(matching(frame.servers, self.part), self.sort))


class Interval(click.FloatRange):
    """Seconds. Each look takes three requests, of which a token has 1000 a minute by default."""

    def __init__(self) -> None:
        super().__init__(min=0.5, max=3600)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds: float = super().convert(value, param, ctx)
        if math.isnan(seconds):  # it is neither below nor above any bound
            self.fail("it is not a number", param, ctx)
        return seconds


@click.command("top")
@click.option("--interval", type=Interval(), default=1.0, help="Seconds between looks. [1]")
@click.option("--once", is_flag=True, help="Show one interval as plain text and end.")
@click.option("--sort", type=click.Choice(SORT_KEYS), default="calls", help="What comes first. [calls]")
@click.option("--filter", "part", default="", metavar="TEXT", help="Only servers with TEXT in their name.")
@json_option
@state_options
def top_command(*, interval: float, once: bool, sort: str, part: str, as_json: bool, **given: Any) -> None:
    """Show rates, latencies, breakers and resources of the servers and their instances until Ctrl-C.

    Without a terminal it prints a plain table for each interval, with --json a line of JSON. CPU is in
    percent of one core.
    """
    settings = load(**given).settings
    choice = Choice(interval, sort, part, once)
    first = look(connect(settings, timeout=POLL_TIMEOUT))
    with StopSignals() as signals, _view(choice, first, as_json=as_json) as view:
        watch(settings, choice, first, view=view, stopped=lambda: signals.received)


def _view(choice: Choice, first: Sample, *, as_json: bool) -> View:
    if as_json:
        return JsonView()
    if choice.once or not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        return PlainView()
    return LiveView(choice.of(frame(None, first)))


def watch(
    settings: Settings, choice: Choice, first: Sample, *, view: View, stopped: Callable[[], bool]
) -> None:
    """Show what happened since the look before, again and again. A service that is away is waited for."""
    before: Sample | None = first
    while _passed(choice.interval, stopped):
        try:
            now = look(connect(settings, timeout=POLL_TIMEOUT))
        except ProblemError as error:
            if choice.once or error.problem.status in _HOPELESS:
                raise
            before = None  # it may be another process then
            view.trouble(str(error))
            continue
        view.show(choice.of(frame(before, now)))
        if choice.once:
            return
        before = now


def look(client: Client) -> Sample:
    return Sample(
        fleet=client.get("/api/servers"),
        summary=client.get("/api/metrics/summary"),
        breakers=client.get("/api/circuit-breakers")["breakers"],
    )


def _passed(interval: float, stopped: Callable[[], bool]) -> bool:
    """Wait for `interval` (s). False as soon as a signal has come."""
    end = time.monotonic() + interval
    while not stopped():
        left = end - time.monotonic()
        if left <= 0:
            return True
        time.sleep(min(POLL, left))
    return False
