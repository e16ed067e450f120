"""Tools as they are, against tools as they were locked.

A contract is what a caller relies on: the tool's name, description, schemas and annotations, as JSON data.
What differs is breaking, safe, or for a person to look at; a description that says something else breaks no
caller, and is still the usual way to turn a tool that was trusted against its user.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from fairlead.core.schemas import ABSENT, Difference, Direction, Impact, compare_schemas, same, shown

Contract = Mapping[str, Any]
"""The parts of a tool that count, by their name in MCP."""
Contracts = Mapping[str, Contract]
"""Of one server, by the tool's name."""
LockedContracts = Mapping[str, Contracts]
"""Of a fleet, by the server's id."""


class ToolChange(StrEnum):
    CHANGED = "changed"
    NEW = "new"  # there, and not locked
    MISSING = "missing"  # locked, and not there


@dataclass(frozen=True, slots=True)
class ToolDifference:
    """How one tool differs from the lock."""

    tool: str
    change: ToolChange
    differences: tuple[Difference, ...] = ()

    @property
    def impact(self) -> Impact:
        """The worst of it."""
        if self.change is ToolChange.MISSING:
            return Impact.BREAKING
        if self.change is ToolChange.NEW:
            return Impact.REVIEW
        return min((each.impact for each in self.differences), key=lambda impact: impact.rank)

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(each.part for each in self.differences))


def compare(locked: Contracts, live: Mapping[str, Contract | None]) -> tuple[ToolDifference, ...]:
    """What differs, by the tool's name. None in `live` is a tool that cannot be read."""
    found = []
    for tool in sorted(locked.keys() | live.keys()):
        if tool not in live:
            found.append(ToolDifference(tool, ToolChange.MISSING))
        elif tool not in locked:
            found.append(ToolDifference(tool, ToolChange.NEW))
        elif differences := contract_differences(locked[tool], live[tool]):
            found.append(ToolDifference(tool, ToolChange.CHANGED, differences))
    return tuple(found)


def contract_differences(locked: Contract, live: Contract | None) -> tuple[Difference, ...]:
    """Nothing for equal contracts, and only for these."""
    if live is None:
        return (Difference("", Impact.BREAKING, "cannot be read"),)
    try:
        return tuple(_differences(locked, live))
    except RecursionError:
        return (Difference("", Impact.BREAKING, "nested too deeply to be compared"),)


def _differences(locked: Contract, live: Contract) -> Iterator[Difference]:
    for part in sorted(locked.keys() | live.keys()):
        was, is_ = locked.get(part, ABSENT), live.get(part, ABSENT)
        if was is not ABSENT and is_ is not ABSENT and same(was, is_):
            continue
        both = isinstance(was, dict) and isinstance(is_, dict)
        if part == "inputSchema" and both:
            yield from compare_schemas(was, is_, part, Direction.ARGUMENTS)
        elif part == "outputSchema" and both:
            yield from compare_schemas(was, is_, part, Direction.RESULTS)
        elif part == "annotations" and both:
            yield from _annotations(was, is_)
        else:
            yield Difference(part, _impact(part, was), _what(was, is_), shown(was), shown(is_))


def _impact(part: str, was: Any) -> Impact:
    """Of a part that came, went, or is something else altogether."""
    if part in ("description", "annotations"):
        return Impact.REVIEW
    if part == "outputSchema" and was is ABSENT:
        return Impact.SAFE
    return Impact.BREAKING


def _annotations(was: dict[str, Any], is_: dict[str, Any]) -> Iterator[Difference]:
    """What a tool says that it does: clients ask their users, or do not, by it."""
    for name in sorted(was.keys() | is_.keys()):
        old, new = was.get(name, ABSENT), is_.get(name, ABSENT)
        if old is ABSENT or new is ABSENT or not same(old, new):
            yield Difference(f"annotations.{name}", Impact.REVIEW, _what(old, new), shown(old), shown(new))


def _what(was: Any, is_: Any) -> str:
    return "added" if was is ABSENT else "removed" if is_ is ABSENT else "changed"
