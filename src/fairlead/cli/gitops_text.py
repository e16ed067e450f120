"""How reports of the GitOps controller are said to people. Pure but for the time, which is an argument."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from typing import Any, Final

from fairlead.cli.output import instant, plain, style

Json = dict[str, Any]  # a report as REST shows it

NOTHING: Final = "(nothing)"
SHORT: Final = 12  # characters of a commit
ENDED: Final = frozenset({"succeeded", "failed", "rolled-back", "superseded", "cancelled"})
SEVERITIES: Final = {"critical": "bright_red", "high": "red", "medium": "yellow", "low": "cyan"}
_STATES: Final = {
    "succeeded": "green",
    "running": "yellow",
    "pending": "yellow",
    "waiting": "magenta",
    "failed": "red",
    "rolled-back": "red",
    "superseded": "bright_black",
    "cancelled": "bright_black",
    # of a place that is not as Git says
    "open": "yellow",
    "held": "magenta",
    "proposed": "cyan",
    "conflict": "red",
    "uncommitted": "cyan",
}
_UNITS: Final = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))
_WORD: Final = re.compile(r"\w+|\s+|.", re.DOTALL)
_LONGEST: Final = 20_000  # characters that are compared word by word


def short(commit: str | None) -> str:
    return plain(commit[:SHORT]) if commit else "-"


def state_word(state: str) -> str:
    """Of a deployment, or of drift."""
    return style(plain(state), fg=_STATES.get(state))


def severity_word(severity: str) -> str:
    return style(plain(severity), fg=SEVERITIES.get(severity), bold=severity == "critical")


def span(seconds: float) -> str:
    """A duration: 0.2 s, 12 s, 3 min, 2 h, 5 d."""
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    for length, unit in _UNITS:
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return "0 s"


def ago(at: float, now: float) -> str:
    """A moment that lies before now; one that is long past as its date."""
    passed = now - at
    if passed >= 7 * 86400.0:
        return instant(at)
    return "just now" if passed < 1.0 else f"{span(passed)} ago"


def until(at: float, now: float) -> str:
    """A moment to come."""
    return f"for {span(at - now)} more, until {instant(at)}" if at > now else f"until {instant(at)}"


def condition(application: Json, type_: str) -> Json | None:
    found: Json | None = next((row for row in application["conditions"] if row["type"] == type_), None)
    return found


def is_ready(application: Json) -> bool:
    return bool((condition(application, "Ready") or {}).get("status"))


def state_of(application: Json) -> str:
    """The reason of its condition, coloured by whether that is good."""
    ready = condition(application, "Ready")
    if ready is None:
        return style("not looked at yet", dim=True)
    stalled = (condition(application, "Stalled") or {}).get("status")
    colour = "green" if ready["status"] else "red" if stalled else "yellow"
    return style(plain(ready["reason"]), fg=colour)


def message_of(application: Json) -> str:
    """Why it is not ready, for people."""
    ready = condition(application, "Ready")
    return "" if ready is None or ready["status"] else plain(ready["message"])


def commit_of(application: Json) -> str:
    """What is in force, and what Git has beyond it."""
    applied, newest = application.get("applied"), application.get("commit")
    if newest in (None, applied):
        return short(applied)
    return f"{short(applied)} -> {short(newest)}"


def place(row: Json) -> str:
    """Object and key, as commands take them."""
    return plain(row["object"]) + (f" {plain(row['key'])}" if row["key"] else "")


def versions(row: Json) -> Iterator[str]:
    """A line for each of the versions that there are of a place.

    Words of the live version that Git does not have are red, those that only Git has green.
    """
    base, live, desired = (_said(row[name]) for name in ("base", "live", "desired"))
    live_shown, desired_shown = _contrast(live, desired)
    if base not in (desired, live):
        yield f"    before  {style(base, dim=True)}"
    yield f"    live    {live_shown}"
    yield f"    Git     {desired_shown}"


def unified(text: str) -> Iterator[str]:
    """The lines of a unified difference, coloured."""
    for line in plain(text).splitlines():
        if line.startswith(("--- ", "+++ ")):
            yield style(line, bold=True)
        elif line.startswith("@@"):
            yield style(line, fg="cyan")
        elif line.startswith("+"):
            yield style(line, fg="green")
        else:
            yield style(line, fg="red") if line.startswith("-") else line


def _said(value: str | None) -> str:
    return NOTHING if value is None else plain(value)


def _contrast(live: str, desired: str) -> tuple[str, str]:
    if NOTHING in (live, desired) or len(live) + len(desired) > _LONGEST:
        return style(live, fg="red"), style(desired, fg="green")
    left, right = _WORD.findall(live), _WORD.findall(desired)
    shown_left, shown_right = "", ""
    for kind, begin, end, other, last in difflib.SequenceMatcher(None, left, right, False).get_opcodes():
        ours, theirs = "".join(left[begin:end]), "".join(right[other:last])
        shown_left += ours if kind == "equal" else style(ours, fg="red") if ours else ""
        shown_right += theirs if kind == "equal" else style(theirs, fg="green") if theirs else ""
    return shown_left, shown_right
