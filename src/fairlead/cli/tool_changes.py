"""What `fairlead lock --update` has found, for people and as JSON."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from fairlead.cli.output import counted, style
from fairlead.core.contracts import (
    Contract,
    Contracts,
    LockedContracts,
    ToolChange,
    ToolDifference,
    compare,
)
from fairlead.core.schemas import Difference, Impact, shown
from fairlead.core.visible import visible

CONTEXT: Final = 30  # characters around what differs within a line
SHORT: Final = 40  # characters of a value that stands beside another one
_COLOURS: Final = {Impact.BREAKING: "red", Impact.REVIEW: "yellow", Impact.SAFE: "green"}


@dataclass(frozen=True, slots=True)
class ToolReport:
    """`before` is what was locked, `locked` what is now; `unread` says why a server was not looked at."""

    before: LockedContracts
    locked: LockedContracts
    changes: Mapping[str, tuple[ToolDifference, ...]]  # of the servers that were read and had been locked
    unread: Mapping[str, str]

    @property
    def gone(self) -> list[str]:
        """Servers that are no longer in the fleet file."""
        return sorted(self.before.keys() - self.locked.keys() - self.unread.keys())

    def document(self) -> dict[str, Any]:
        """For programs."""
        servers = {
            server: {
                "tools": len(tools),
                "first": server not in self.before,
                "changes": [_document(change) for change in self.changes.get(server, ())],
            }
            for server, tools in self.locked.items()
            if server not in self.unread
        }
        return {"servers": servers, "unread": dict(self.unread), "removed": self.gone}

    def lines(self) -> Iterator[str]:
        """For people."""
        for server, tools in self.locked.items():
            if server in self.unread:
                continue
            many = counted(len(tools), "tool")
            if server not in self.before:
                yield f"{_bold(server)}  {many}, locked for the first time"
            elif not self.changes[server]:
                yield f"{_bold(server)}  {many}, as locked"
            else:
                yield f"{_bold(server)}  {many}"
                for change in self.changes[server]:
                    yield from _tool_lines(change, tools.get(change.tool))
        for server, why in self.unread.items():
            kept = len(self.locked.get(server, ()))
            stays = f"{counted(kept, 'tool')} locked as before" if kept else "nothing locked"
            yield f"{_bold(server)}  {stays}, since it was not looked at: {visible(why)}"
        for server in self.gone:
            yield f"{_bold(server)}  taken out, since the fleet file has no such server"


def report_of(
    locked: LockedContracts, live: Mapping[str, Contracts], unread: Mapping[str, str]
) -> ToolReport:
    """Lock what is live; servers that could not be read keep what they have, others go."""
    changes = {server: compare(locked[server], tools) for server, tools in live.items() if server in locked}
    kept = {server: locked[server] for server in unread if server in locked}
    return ToolReport(locked, {**kept, **live}, changes, unread)


def _document(change: ToolDifference) -> dict[str, Any]:
    return {
        "tool": change.tool,
        "change": change.change,
        "impact": change.impact,
        "differences": [asdict(difference) for difference in change.differences],
    }


def _tool_lines(change: ToolDifference, contract: Contract | None) -> Iterator[str]:
    yield f"  {change.change} {_bold(visible(change.tool))}  {_impact(change.impact)}"
    for difference in change.differences:
        yield from _difference_lines(difference)
    if change.change is ToolChange.NEW and contract is not None:
        for part in sorted(contract.keys() - {"name"}):
            yield f"    {part}"
            yield from _text_lines(None, shown(contract[part]))


def _difference_lines(difference: Difference) -> Iterator[str]:
    before, after = difference.before, difference.after
    head = f"    {visible(difference.part)}  {_impact(difference.impact)}  {visible(difference.what)}"
    values = [visible(text) for text in (before, after) if text is not None]
    if values and max(map(len, values)) <= SHORT:
        yield f"{head}: {' → '.join(values)}"
        return
    yield head
    yield from _text_lines(before, after)


def _text_lines(before: str | None, after: str | None) -> Iterator[str]:
    """The lines that differ; of a line that became another one, what differs in it and a little around."""
    old, new = ([] if text is None else text.splitlines() or [""] for text in (before, after))
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    for tag, start, end, new_start, new_end in matcher.get_opcodes():
        if tag == "equal":
            continue
        gone, come = old[start:end], new[new_start:new_end]
        if len(gone) == len(come) == 1:
            gone[0], come[0] = _shortened(gone[0], come[0])
        for sign, colour, lines in (("-", "red", gone), ("+", "green", come)):
            for line in lines:
                yield style(f"      {sign} {visible(line)}", fg=colour)
    if old == new:  # line ends
        yield style(f"      - {visible(before or '')}", fg="red")
        yield style(f"      + {visible(after or '')}", fg="green")


def _shortened(one: str, other: str) -> tuple[str, str]:
    """Without most of what both begin and end with."""
    shorter = min(len(one), len(other))
    begin = next((place for place in range(shorter) if one[place] != other[place]), shorter)
    rest = shorter - begin
    end = next((place for place in range(rest) if one[-1 - place] != other[-1 - place]), rest)
    start = begin - CONTEXT if begin > CONTEXT + 1 else 0
    stop = end - CONTEXT if end > CONTEXT + 1 else 0

    def cut(text: str) -> str:
        return ("…" if start else "") + text[start : len(text) - stop] + ("…" if stop else "")

    return cut(one), cut(other)


def _impact(impact: Impact) -> str:
    return style(impact.value, fg=_COLOURS[impact])


def _bold(text: str) -> str:
    return style(text, bold=True)
