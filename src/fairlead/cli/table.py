"""Tables that fit the terminal: short cells below each other, and a note for each row where there is room.

Cells are never cut: names, commits and ids are there to be copied. A note that has no room beside its row
goes on lines of its own, below it. Output that is no terminal has no width.
"""

from __future__ import annotations

import shutil
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import click

GAP: Final = 2
_ROOM: Final = 32  # a longer note must have as much room, to be beside its row


@dataclass(frozen=True, slots=True)
class Row:
    """Cells may be styled, the note is not."""

    cells: Sequence[str]
    note: str = ""


def terminal_width() -> int:
    """0 where it has none. COLUMNS goes first."""
    return shutil.get_terminal_size((0, 0)).columns


def table(titles: Sequence[str], rows: Iterable[Row], *, width: int | None = None) -> list[str]:
    """Lines. A column whose cells are all empty is left out."""
    limit = terminal_width() if width is None else width
    shown = list(rows)
    kept = [at for at in range(len(titles)) if any(row.cells[at] for row in shown)]
    heads = [titles[at] for at in kept]
    cells = [[row.cells[at] for at in kept] for row in shown]
    widths = [max(map(cell_width, column)) for column in zip(heads, *cells, strict=True)]
    notes = [" ".join(row.note.split()) for row in shown]
    used = sum(widths) + GAP * len(widths)
    longest = max(map(cell_width, notes), default=0)
    beside = not limit or used + min(longest, _ROOM) <= limit
    lines = [_line(heads, widths)]
    for row, note in zip(cells, notes, strict=True):
        if not beside:
            lines.append(_line(row, widths))
            lines += wrapped(note, limit, indent=4)
            continue
        first, *more = wrapped(note, limit - used if limit else 0) or [""]
        lines.append(f"{_line(row, widths, full=True)}{first}".rstrip())
        lines += [f"{' ' * used}{line}" for line in more]
    return lines


def facts(rows: Iterable[tuple[str, str]], *, indent: int = 2, width: int | None = None) -> list[str]:
    """Names and values; a long value goes on below its beginning. Values may be styled if they are short."""
    limit = terminal_width() if width is None else width
    shown = [(name, value) for name, value in rows if value]
    begin = indent + GAP + max((cell_width(name) for name, _ in shown), default=0)
    lines = []
    for name, value in shown:
        first, *more = wrapped(value, limit - begin if limit else 0) or [""]
        lines.append(f"{(' ' * indent + name).ljust(begin)}{first}")
        lines += [" " * begin + line for line in more]
    return lines


def wrapped(text: str, width: int, *, indent: int = 0) -> list[str]:
    """At spaces, words stay whole; without a width, one line. Nothing for an empty text."""
    lines: list[str] = []
    line, left = "", max(width - indent, 1)
    for word in text.split():
        if line and width > 0 and cell_width(line) + 1 + cell_width(word) > left:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    return [" " * indent + each for each in ([*lines, line] if line else lines)]


def cell_width(text: str) -> int:
    """Columns of the terminal."""
    wide = ("W", "F")
    return sum(
        0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in wide else 1
        for each in click.unstyle(text)
    )


def _line(cells: Sequence[str], widths: Sequence[int], *, full: bool = False) -> str:
    padded = (
        cell + " " * (width - cell_width(cell) + GAP) for cell, width in zip(cells, widths, strict=True)
    )
    line = "".join(padded)
    return line if full else line.rstrip()
