"""How `fairlead top` shows a frame: a table that is drawn anew, plain tables, or lines of JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from types import TracebackType
from typing import Any, Protocol, Self

import click
from pydantic.alias_generators import to_camel
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fairlead.cli.output import STATE_COLOURS, columns, counted, plain, say, style, warn
from fairlead.cli.rates import Breaker, Frame, InstanceRow, ServerRow

Cell = tuple[str, str]  # a text and its colour ("" for none)
_TITLES = (
    "SERVER",
    "STATE",
    "READY",
    "FLIGHT",
    "WAIT",
    "CALLS/S",
    "ERR/S",
    "P50",
    "P99",
    "BREAKER",
    "CPU",
    "MEMORY",
)
_NOTHING: Cell = ("", "")
_LEFT = ("SERVER", "STATE", "BREAKER")  # the columns of words
_AROUND = 4  # lines of the screen that are not rows


def header(frame: Frame) -> list[str]:
    """The fleet as a whole, in two lines."""
    traffic = frame.traffic
    sessions = "- sessions" if frame.sessions is None else counted(frame.sessions, "session")
    since = "last interval" if frame.latency_of == "interval" else "since start"
    return [
        f"{_rate(traffic.calls_per_second)} calls/s  {frame.in_flight} in flight  "
        f"{_rate(traffic.errors_per_second)} errors/s  {sessions}  generation {frame.generation}",
        f"latency ({since}): p50 {_seconds(traffic.p50)}  p95 {_seconds(traffic.p95)}  "
        f"p99 {_seconds(traffic.p99)}",
    ]


def table_rows(servers: tuple[ServerRow, ...]) -> Iterator[tuple[Cell, ...]]:
    """A row for each server and, below it, one for each instance."""
    for server in servers:
        yield _server_cells(server)
        yield from map(_instance_cells, server.instances)


def document(frame: Frame, *, at: float) -> dict[str, Any]:
    """The frame as JSON data in camelCase; `at` is Unix time, s."""
    data: dict[str, Any] = _camel(asdict(frame))
    return {"at": at, **data}


class View(Protocol):
    """Shows each frame; `trouble` says why there is none."""

    def show(self, frame: Frame) -> None: ...

    def trouble(self, text: str) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class PlainView:
    """A table of text for each frame, a blank line between them."""

    def __init__(self) -> None:
        self._shown = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def show(self, frame: Frame) -> None:
        if self._shown:
            say()
        self._shown = True
        for line in [*header(frame), *_aligned(list(table_rows(frame.servers)))]:
            say(line)

    def trouble(self, text: str) -> None:
        warn(text)


class JsonView(PlainView):
    """A line of JSON for each frame."""

    def show(self, frame: Frame) -> None:
        click.echo(json.dumps(document(frame, at=time.time()), ensure_ascii=False))


class LiveView:
    """The whole screen, drawn anew for each frame; what stood there comes back in the end."""

    def __init__(self, first: Frame, console: Console | None = None) -> None:
        self._frame = first
        self._console = console or Console()
        self._live = Live(console=self._console, auto_refresh=False, screen=True)

    def __enter__(self) -> Self:
        self._live.__enter__()
        self.show(self._frame)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def show(self, frame: Frame) -> None:
        self._frame = frame
        self._draw(Text("Ctrl-C ends", style="bright_black"))

    def trouble(self, text: str) -> None:
        """The last frame stays, and below the header is said why."""
        self._draw(Text(plain(text).replace("\n", " "), style="red"))

    def _draw(self, note: Text) -> None:
        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
        for title in _TITLES:
            table.add_column(
                title, justify="left" if title in _LEFT else "right", no_wrap=True, overflow="ellipsis"
            )
        rows = list(table_rows(self._frame.servers))
        room = max(1, self._console.height - _AROUND)
        for row in rows if len(rows) <= room else rows[: room - 1]:
            table.add_row(*(Text(text, style=colour) for text, colour in row))
        if len(rows) > room:
            table.add_row(Text(f"... {len(rows) - room + 1} more (--filter)", style="bright_black"))
        first, second = header(self._frame)
        self._live.update(Group(Text(first, style="bold"), Text(second), note, table), refresh=True)


def _server_cells(server: ServerRow) -> tuple[Cell, ...]:
    traffic = server.traffic
    return (
        (server.id, ""),
        (server.state, _colour(server.state)),
        (f"{server.ready}/{server.wanted}", "" if server.ready >= server.wanted else "yellow"),
        (str(server.in_flight), ""),
        (str(server.waiting), "yellow" if server.waiting else ""),
        (_rate(traffic.calls_per_second), ""),
        (_rate(traffic.errors_per_second), "red" if traffic.errors_per_second else ""),
        (_seconds(traffic.p50), ""),
        (_seconds(traffic.p99), ""),
        _breaker(server.breaker),
        (_cpu(server.cpu_cores), ""),
        (_memory(server.memory_bytes), ""),
    )


def _instance_cells(row: InstanceRow) -> tuple[Cell, ...]:
    return (
        (f"  {row.id}", ""),
        (row.state, _colour(row.state)),
        ("out" if row.ready and not row.in_rotation else "", "yellow"),
        (str(row.in_flight), ""),
        _NOTHING,
        (_rate(row.calls_per_second), ""),
        _NOTHING,
        _NOTHING,
        _NOTHING,
        _breaker(row.breaker),
        (_cpu(row.cpu_cores), ""),
        (_memory(row.memory_bytes), ""),
    )


def _aligned(rows: list[tuple[Cell, ...]]) -> list[str]:
    """The rows below their titles as lines, words to the left and numbers to the right."""
    table: list[tuple[Cell, ...]] = [tuple((title, "") for title in _TITLES), *rows]
    widths = [max(len(row[index][0]) for row in table) for index in range(len(_TITLES))]
    return columns(
        tuple(
            style(text if title in _LEFT else text.rjust(width), fg=colour or None)
            for (text, colour), title, width in zip(row, _TITLES, widths, strict=True)
        )
        for row in table
    )


def _colour(state: str) -> str:
    return STATE_COLOURS.get(state, "")


def _breaker(breaker: Breaker) -> Cell:
    after = "" if breaker.retry_after is None else f" {breaker.retry_after:.0f} s"
    return breaker.state + after, _colour(breaker.state)


def _rate(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value == 0 or value >= 100 else f"{value:.1f}"


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    if value >= 1:
        return f"{value:.1f} s"
    return f"{value * 1000:.0f} ms" if value >= 0.01 else f"{value * 1000:.1f} ms"


def _cpu(cores: float | None) -> str:
    return "-" if cores is None else f"{cores:.0%}"


def _memory(size: int | None) -> str:
    if size is None:
        return "-"
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def _camel(value: Any) -> Any:
    if isinstance(value, dict):
        return {to_camel(key): _camel(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_camel(item) for item in value]
    return value
