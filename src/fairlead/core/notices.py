"""Which events people are told of, when, and in which words. Pure: `now` is Unix time in s."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fairlead.model.errors import SpecError
from fairlead.model.events import EventType
from fairlead.model.gitops import Channel, QuietHours, Severity

USUAL: Final = frozenset({EventType.DRIFT_DETECTED.value, EventType.DEPLOYMENT_COMPLETED.value})
"""Types of events that are told where a channel names none."""

MOST_REMEMBERED: Final = 5000  # things of which it is known when they were told
MOST_HELD: Final = 50  # that quiet hours keep back in their words; of more only the number is told
_SEVERITIES: Final = list(Severity)  # the worst first
_CLOCK: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
_NAME: Final = re.compile(r"\{(type|subject|application|summary)\}")


@dataclass(frozen=True, slots=True)
class Notice:
    """An event, for people. `about` is the same for what need not be told twice."""

    type: str
    subject: str
    application: str
    severity: Severity | None
    conflict: bool
    summary: str
    about: str


def notice_of(event_type: str, subject: str, data: Mapping[str, Any]) -> Notice:
    """Of an event's type, subject and data."""
    application = str(data.get("application") or subject)
    said = {name: str(data[name]) for name in data if isinstance(data[name], str) and data[name]}
    if event_type == EventType.DRIFT_DETECTED:
        place = "#".join(said[part] for part in ("object", "key") if part in said)
        facts = [said[name] for name in ("severity", "state") if name in said]
        facts += [f"by {said['by']}"] if "by" in said else []
        what = said.get("message", "is not as Git says")
        summary = f"{application}: {place or subject} {what} ({', '.join(facts)})"
        about = [place, said.get("state", "")]
    else:
        facts = [said[name][:12] for name in ("commit",) if name in said]
        facts += [said[name] for name in ("state", "message") if name in said]
        where = f"{application} in {said['environment']}" if "environment" in said else application
        summary = f"{where}: {event_type} {': '.join(facts)}".rstrip()
        about = [subject, *facts]
    return Notice(
        type=event_type,
        subject=subject,
        application=application,
        severity=next((each for each in _SEVERITIES if each.value == said.get("severity")), None),
        conflict=said.get("state") == "conflict",
        summary=summary,
        about="\n".join((event_type, application, *about)),
    )


def wants(channel: Channel, notice: Notice) -> bool:
    """Whether a channel's people want to know of it at all."""
    if notice.type not in (channel.events or USUAL):
        return False
    if notice.severity is None or notice.conflict:
        return True
    return _SEVERITIES.index(notice.severity) <= _SEVERITIES.index(channel.severity)


def words(template: str | None, notice: Notice) -> str:
    """The channel's own, or the usual ones. Braces with other names in them stay."""
    if template is None:
        return notice.summary
    return _NAME.sub(lambda found: str(getattr(notice, found[1])), template)


class Desk:
    """Of one channel: keeps back what was told lately, and what has to wait for the end of quiet hours."""

    def __init__(self, channel: Channel) -> None:
        """Raises SpecError for quiet hours that cannot be."""
        self._channel = channel
        self._quiet = _Quiet(channel.quiet) if channel.quiet is not None else None
        self._told: dict[str, float] = {}  # what, when; the latest last
        self._held: list[str] = []
        self._more = 0
        self.wakes_at: float | None = None  # when `due` has something

    def __repr__(self) -> str:
        return f"Desk(told={len(self._told)}, held={len(self._held) + self._more})"

    def take(self, notice: Notice, now: float) -> str | None:
        """What is to be told at once; None if nothing is."""
        if not wants(self._channel, notice):
            return None
        last = self._told.pop(notice.about, None)
        if last is not None and now - last < self._channel.repeat:
            self._told[notice.about] = last
            return None
        self._told[notice.about] = now
        while len(self._told) > MOST_REMEMBERED:
            del self._told[next(iter(self._told))]
        text = words(self._channel.template, notice)
        until = self._quiet.until(now) if self._quiet is not None else None
        if until is None or notice.severity is Severity.CRITICAL:
            return text
        self.wakes_at = until
        if len(self._held) < MOST_HELD:
            self._held.append(text)
        else:
            self._more += 1
        return None

    def take_over(self, former: Desk, now: float) -> None:
        """From the desk of the same people: what they were told, and what it holds back for them."""
        self._told = {**former._told, **self._told}
        self._held, self._more = [*former._held, *self._held], self._more + former._more
        if self._held:
            quiet = self._quiet.until(now) if self._quiet is not None else None
            self.wakes_at = now if quiet is None else quiet

    def due(self, now: float) -> str | None:
        """What was held back, once the quiet hours are over."""
        if self.wakes_at is None or now < self.wakes_at:
            return None
        lines = [*self._held, *([f"and {self._more} more"] if self._more else [])]
        self._held, self._more, self.wakes_at = [], 0, None
        return "\n".join(lines)


class _Quiet:
    """Every day from one time of the clock on the wall to another, which may be that of the next day."""

    def __init__(self, spec: QuietHours) -> None:
        self._start, self._end = _clock(spec.start), _clock(spec.end)
        if self._start == self._end:
            raise SpecError(f"quiet hours from {spec.start} to {spec.end} are none", "write another `end`")
        try:
            self._zone = ZoneInfo(spec.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            hint = "write one such as Europe/Berlin, or UTC"
            raise SpecError(f"{spec.timezone[:100]!r} is no time zone", hint) from None

    def until(self, now: float) -> float | None:
        """When they end; None if there are none now."""
        here = datetime.fromtimestamp(now, self._zone)
        overnight = self._start > self._end
        for day in (here.date() - timedelta(days=1), here.date()):
            start = datetime.combine(day, self._start, self._zone).timestamp()
            last = day + timedelta(days=1) if overnight else day
            end = datetime.combine(last, self._end, self._zone).timestamp()
            if start <= now < end:
                return end
        return None


def _clock(text: str) -> time:
    found = _CLOCK.fullmatch(text)
    if found is None:
        raise SpecError(f"{text[:100]!r} is no time of day", "write it as HH:MM, such as 22:00")
    return time(int(found[1]), int(found[2]))
