"""The five fields of a crontab: minute, hour, day of the month, month, day of the week.

Each is `*`, numbers, ranges and lists of them, with steps; months and days of the week have names, too, and
Sunday is 0 or 7. As in cron, a day counts if it is in one of both day fields, unless one of them starts
with `*`: then it must be in both.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import Final

from fairlead.model.errors import SpecError

_HINT: Final = 'five fields, "minute hour day month weekday", such as "30 22 * * mon-fri"'
_RANGE: Final = re.compile(r"(\*|(\w+)(?:-(\w+))?)(?:/([0-9]{1,4}))?")
_MONTHS: Final = ("", "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_LONGEST_MONTH: Final = (0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_LONGEST: Final = 256  # characters


@dataclass(frozen=True, slots=True)
class Schedule:
    """Sunday is weekday 0. A day must be in one of `days` and `weekdays` (`either`), or in both."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either: bool

    def on(self, day: date) -> bool:
        found = (day.day in self.days, day.isoweekday() % 7 in self.weekdays)
        return day.month in self.months and (any(found) if self.either else all(found))


def parse_schedule(text: str) -> Schedule:
    """Raises `SpecError`."""
    fields = text.lower().split()
    if len(fields) != 5 or len(text) > _LONGEST:
        raise SpecError(f"{text[:80]!r} is not a schedule", _HINT)
    minutes = _numbers("minute", fields[0], 0, 59)
    hours = _numbers("hour", fields[1], 0, 23)
    days = _numbers("day of the month", fields[2], 1, 31)
    months = _numbers("month", fields[3], 1, 12, _MONTHS)
    weekdays = frozenset(number % 7 for number in _numbers("day of the week", fields[4], 0, 7, _WEEKDAYS))
    either = not (fields[2].startswith("*") or fields[4].startswith("*"))
    if not either and min(days) > max(_LONGEST_MONTH[month] for month in months):
        raise SpecError(f"{text!r} never comes: no such month has {min(days)} days", _HINT)
    return Schedule(minutes, hours, frozenset(days), frozenset(months), weekdays, either)


def _numbers(what: str, text: str, least: int, most: int, names: tuple[str, ...] = ()) -> tuple[int, ...]:
    found: set[int] = set()
    for part in text.split(","):
        match = _RANGE.fullmatch(part)
        if match is None:
            raise SpecError(f"{part!r} is not a {what} of a schedule", _HINT)
        first = least if match[1] == "*" else _number(match[2], names)
        last = (
            most if match[1] == "*" or (match[4] and not match[3]) else _number(match[3] or match[2], names)
        )
        if names is _WEEKDAYS and last == 0 < first:
            last = 7  # fri-sun
        step = int(match[4] or 1)
        if not (least <= first <= last <= most and step):
            raise SpecError(f"{part!r} is not a {what}: it goes from {least} to {most}", _HINT)
        found.update(range(first, last + 1, step))
    return tuple(sorted(found))


def _number(text: str, names: tuple[str, ...]) -> int:
    if text in names:
        return names.index(text)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 4 else -1
