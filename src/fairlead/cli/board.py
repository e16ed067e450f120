"""What `fairlead up` shows of the servers while they start: a live table, lines, or nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fairlead.cli.output import GOOD, STATE_COLOURS, plain, say, state_text

Server = dict[str, Any]  # a `ServerStatus` as REST shows it

SETTLED = frozenset({*GOOD, "blocked", "failed", "stopped", "disabled"})


class Board(Protocol):
    """Shows each new state of the servers. `elapsed` is the time since the start, s."""

    def update(self, servers: list[Server], elapsed: float) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class LineBoard:
    """A line for each server whose state or message changed."""

    def __init__(self, write: Callable[[str], None] = say) -> None:
        self._write = write
        self._shown: dict[str, tuple[str, str]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def update(self, servers: list[Server], elapsed: float) -> None:
        for server in servers:
            now = (server["state"], server["message"])
            if self._shown.get(server["id"]) != now:
                self._shown[server["id"]] = now
                message = f", {note}" if (note := _note(server)) else ""
                self._write(f"{server['id']}: {state_text(server['state'])}{message} ({elapsed:.1f} s)")


class LiveBoard:
    """A table on the terminal that is drawn anew on each update and stays when it is left."""

    def __init__(self, console: Console | None = None) -> None:
        self._live = Live(console=console or Console(), auto_refresh=False)
        self._settled_at: dict[str, float] = {}

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def update(self, servers: list[Server], elapsed: float) -> None:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for title in ("server", "state", "tools", "time", ""):
            table.add_column(title, justify="right" if title in ("tools", "time") else "left")
        for server in servers:
            table.add_row(*self._row(server, elapsed))
        self._live.update(table, refresh=True)

    def _row(self, server: Server, elapsed: float) -> tuple[Text, ...]:
        state = server["state"]
        if state in SETTLED:
            taken = self._settled_at.setdefault(server["id"], elapsed)
        else:
            self._settled_at.pop(server["id"], None)
            taken = elapsed
        good = state in GOOD
        return (
            Text(server["id"]),
            Text(f"{_mark(state)} {state}", style=STATE_COLOURS.get(state, "")),
            Text(str(server["tools"]) if good else ""),
            Text(f"{taken:.1f} s" if state not in ("disabled", "stopped") else ""),
            Text("" if good else _note(server)),
        )


class SilentBoard(LineBoard):
    """For --json: only the result is printed."""

    def update(self, servers: list[Server], elapsed: float) -> None:
        return


def board(*, as_json: bool) -> Board:
    if as_json:
        return SilentBoard()
    return LiveBoard() if sys.stdout.isatty() else LineBoard()


def _note(server: Server) -> str:
    """The server's message, unless it only repeats the state."""
    message = plain(server["message"])
    return "" if message == server["state"] else message


def _mark(state: str) -> str:
    """A sign beside the colour, for those who do not see it."""
    return {"ready": "*", "idle": "*", "failed": "x", "blocked": "!"}.get(
        state, "-" if state in SETTLED else "~"
    )
