"""Three texts merged by lines: both sides' changes of the base, where they do not touch.

Done here and not by `git merge-file`, so that what a sync will do is decided in one pure place, and no
process is started for each text. The rule is the same: changes in the same or in neighbouring lines are a
conflict, unless both sides made the same. Changes are found by Myers' algorithm (Algorithmica 1, 1986),
whose work grows with their number: a side that changed more than `MOST_CHANGES` lines is a conflict, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

MOST_CHANGES: Final = 500
"""Lines taken out and put in, together."""

Change = tuple[int, int, list[str]]
"""The lines from one number to before another are replaced by others."""


def merge_text(base: str, live: str, desired: str) -> str | None:
    """Both sides' changes in one text; None where they conflict. Line ends are part of the lines."""
    if live in (base, desired) or desired == base:
        return desired if live == base else live
    lines = base.splitlines(keepends=True)
    sides = [_changes(lines, side.splitlines(keepends=True)) for side in (live, desired)]
    if sides[0] is None or sides[1] is None:
        return None
    merged: list[str] = []
    at = 0
    last: Change | None = None
    for change in sorted(sides[0] + sides[1]):
        if change == last:
            continue
        if last is not None and change[0] <= last[1]:
            return None
        merged += lines[at : change[0]] + change[2]
        at, last = change[1], change
    return "".join(merged + lines[at:])


def _changes(old: Sequence[str], new: Sequence[str]) -> list[Change] | None:
    """What makes `new` of `old`, in order and never touching; None if it is too much."""
    start = 0
    while start < min(len(old), len(new)) and old[start] == new[start]:
        start += 1
    end = 0
    while end < min(len(old), len(new)) - start and old[-1 - end] == new[-1 - end]:
        end += 1
    kept = _common(old[start : len(old) - end], new[start : len(new) - end])
    if kept is None:
        return None
    changes: list[Change] = []
    i = j = start
    for x, y in [*((start + x, start + y) for x, y in kept), (len(old) - end, len(new) - end)]:
        if x > i or y > j:
            changes.append((i, x, list(new[j:y])))
        i, j = x + 1, y + 1
    return changes


def _common(old: Sequence[str], new: Sequence[str]) -> list[tuple[int, int]] | None:
    """The pairs of lines that both have, in order; as many as there can be."""
    trace: list[dict[int, int]] = []
    reached = {1: 0}  # diagonal x - y -> the furthest x on it
    for changes in range(MOST_CHANGES + 1):
        trace.append(dict(reached))
        for diagonal in range(-changes, changes + 1, 2):
            down = _comes_from_above(reached, diagonal, changes)
            x = reached[diagonal + 1] if down else reached[diagonal - 1] + 1
            y = x - diagonal
            while x < len(old) and y < len(new) and old[x] == new[y]:
                x, y = x + 1, y + 1
            reached[diagonal] = x
            if x >= len(old) and y >= len(new):
                return _back(trace, len(old), len(new))
    return None


def _comes_from_above(reached: dict[int, int], diagonal: int, changes: int) -> bool:
    if diagonal in (-changes, changes):
        return diagonal == -changes
    return reached[diagonal - 1] < reached[diagonal + 1]


def _back(trace: Sequence[dict[int, int]], x: int, y: int) -> list[tuple[int, int]]:
    """The way that was taken, from its end: the lines on its diagonals are the common ones."""
    pairs: list[tuple[int, int]] = []
    for changes in range(len(trace) - 1, -1, -1):
        reached, diagonal = trace[changes], x - y
        before = diagonal + 1 if _comes_from_above(reached, diagonal, changes) else diagonal - 1
        old_x = reached[before]
        old_y = old_x - before
        while x > max(old_x, 0) and y > max(old_y, 0):
            x, y = x - 1, y - 1
            pairs.append((x, y))
        x, y = old_x, old_y
    return pairs[::-1]
