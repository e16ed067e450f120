"""A document as a tree that knows where each node stands in the text, and what must change in it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fairlead.core.overrides import same

_BLANKS: Final = re.compile(r"[ \t]*")
GONE: Final = object()


@dataclass(slots=True)
class Node:
    """`value` is all of it, as JSON data. `members` is None for what changes only as a whole."""

    start: int
    end: int
    value: Any
    members: Sequence[Member] | None = None
    block: bool = False  # without brackets
    tangled: bool = False  # there are aliases in it
    is_alias: bool = False


@dataclass(slots=True)
class Member:
    """`name` is None in a list, and of a merge key. `start` is that of name or dash, `after` follows them."""

    start: int
    name: str | None
    after: int
    node: Node


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of each member (`GONE`: nothing), and what comes after them."""

    kept: Sequence[Any]
    new: Sequence[tuple[str | None, Any]]


def change_of(node: Node, wanted: Any) -> Change | None:
    """How to make of a node what is wanted, member by member; None if only as a whole."""
    if node.members is None:
        return None
    if isinstance(node.value, dict) and isinstance(wanted, Mapping):
        names = {member.name for member in node.members}
        new = [
            (name, item)
            for name, item in wanted.items()
            if name not in names and not (name in node.value and same(node.value[name], item))
        ]
        kept = [m.node.value if m.name is None else wanted.get(m.name, GONE) for m in node.members]
        return Change(kept, new)
    if isinstance(node.value, list) and isinstance(wanted, list):
        places = _aligned(node.value, wanted)
        taken = sum(place is not None for place in places)
        if places and not taken:
            return None
        items = [GONE if place is None else wanted[place] for place in places]
        return Change(items, [(None, item) for item in wanted[taken:]])
    return None


def _aligned(old: Sequence[Any], new: Sequence[Any]) -> list[int | None]:
    """Which item of the new list each item of the old one becomes; those that are left come after them."""
    if len(old) == len(new):
        return list(range(len(new)))
    found: list[int | None] = []
    taken = 0
    for item in old:
        kept = taken < len(new) and same(item, new[taken])
        found.append(taken if kept else None)
        taken += kept
    return found


def line_start(text: str, at: int) -> int:
    return text.rfind("\n", 0, at) + 1


def line_end(text: str, at: int) -> int:
    """Where the line's content ends, before its newline."""
    end = text.find("\n", at)
    end = len(text) if end < 0 else end
    return end - 1 if end > at and text[end - 1] == "\r" else end


def next_line(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end + 1


def indent_at(text: str, at: int) -> str:
    """The white space that the line begins with."""
    match = _BLANKS.match(text, line_start(text, at))
    assert match is not None
    return match[0]


def is_deeper(value: Any, levels: int) -> bool:
    """Whether collections are nested in more than so many levels."""
    if not isinstance(value, dict | list):
        return False
    if not levels:
        return True
    return any(is_deeper(item, levels - 1) for item in (value.values() if isinstance(value, dict) else value))
