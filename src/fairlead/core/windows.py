"""When changes may be applied: windows that open as a crontab says, in a time zone, for a duration.

A schedule's times are those of the clock on the wall. Where the clock is put forward over a time, it counts
from when the clock would have shown it, an hour later; where it is put back, a time that comes twice counts
once, the first time. A duration is real time, whatever the clock does.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fairlead.core.crontab import Schedule, parse_schedule
from fairlead.model.errors import SpecError
from fairlead.model.gitops import Window

LONGEST: Final = 31 * 86_400.0  # s
_FARTHEST: Final = 366 * 8 + 2  # days: a 29 February may be eight years away
_LOOKS: Final = 50  # changes that are looked at in a row


@dataclass(frozen=True, slots=True)
class _Times:
    """When a window starts."""

    schedule: Schedule
    zone: tzinfo
    duration: float

    def latest(self, now: float) -> float | None:
        """The last start until now, if it may matter still."""
        day = self._day(now)
        for back in range(int(self.duration // 86_400) + 3):
            starts = _starts(self.schedule, self.zone, day - timedelta(days=back))
            if at := bisect_right(starts, now):
                return starts[at - 1]
        return None

    def following(self, now: float) -> float | None:
        """The first start after now."""
        day = self._day(now)
        for ahead in range(-1, _FARTHEST):
            starts = _starts(self.schedule, self.zone, day + timedelta(days=ahead))
            if (at := bisect_right(starts, now)) < len(starts):
                return starts[at]
        return None

    def look(self, now: float) -> tuple[bool, float | None]:
        """Whether it is open, and a time before which that does not change."""
        start = self.latest(now)
        if start is None or start + self.duration <= now:
            return False, self.following(now)
        return True, start + self.duration

    def _day(self, now: float) -> date:
        return datetime.fromtimestamp(now, self.zone).date()


def check(window: Window) -> None:
    """Raises `SpecError` for what cannot be understood."""
    _times(window)


def is_open(windows: Sequence[Window], now: float) -> tuple[bool, float | None]:
    """Whether changes may be applied at `now`, and when that changes next: Unix time in s.

    None if that is not in the next eight years. A `deny` that is open wins; with an `allow`, one must be
    open. Where changes follow each other for long, the time is one at which to look again.

    Raises `SpecError`.
    """
    times = [(window.kind, _times(window)) for window in windows]
    opened, again = _look(times, now)
    for _ in range(_LOOKS):
        if again is None:
            break
        later, following = _look(times, again)
        if later != opened:
            break
        again = following
    return opened, again


def _look(times: Sequence[tuple[str, _Times]], now: float) -> tuple[bool, float | None]:
    looks = [(kind, *each.look(now)) for kind, each in times]
    denied = any(is_open for kind, is_open, _ in looks if kind == "deny")
    allows = [is_open for kind, is_open, _ in looks if kind == "allow"]
    changes = [change for _, _, change in looks if change is not None]
    return not denied and (not allows or any(allows)), min(changes, default=None)


def _times(window: Window) -> _Times:
    if not 0.0 < window.duration <= LONGEST:
        raise SpecError("a window's duration must be between a second and 31 days", "write it like 4h")
    return _Times(parse_schedule(window.schedule), _zone(window.timezone), window.duration)


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC  # needs no database
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise SpecError(
            f"{name[:80]!r} is not a known time zone", "write it like Europe/Berlin, or UTC"
        ) from None


@lru_cache(maxsize=256)
def _starts(schedule: Schedule, zone: tzinfo, day: date) -> tuple[float, ...]:
    """All starts of a day of the wall's calendar, in order."""
    if not schedule.on(day):
        return ()
    return tuple(
        sorted(
            {
                datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone).timestamp()
                for hour in schedule.hours
                for minute in schedule.minutes
            }
        )
    )
