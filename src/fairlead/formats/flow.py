"""Edits of what stands between brackets, with commas: JSON, and YAML in its flow style.

A tree knows where each of its nodes stands in the text. It is walked side by side with what is wanted of
it, and where the two differ, the smallest part is replaced: a value, a member that goes with its comma and
its line, a new one that is written as those beside it are. Nothing else is touched. All changes are offsets
of the text as it was, so that they are carried out at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fairlead.core.overrides import same
from fairlead.formats.splices import Splice
from fairlead.formats.tree import GONE, Change, Member, Node, change_of, indent_at, line_start

_BLANKS: Final = re.compile(r"[ \t]*")


@dataclass(frozen=True, slots=True)
class Notation:
    """How a file is written."""

    gap: re.Pattern[str]  # white space and comments; matches nothing, too
    tail: re.Pattern[str]  # the rest of a line where nothing but a comment follows
    newline: str
    indent: str  # of one level
    separators: tuple[str, str]  # between members on one line, and after a name
    name: Callable[[str], str]
    dumps: Callable[[Any, str | None], str]  # with an indent over several lines, which end with \n


class FlowEditor:
    """Collects the splices that make of a tree what is wanted."""

    def __init__(self, body: str, notation: Notation) -> None:
        self.splices: list[Splice] = []
        self._body = body
        self._notation = notation

    def change(self, node: Node, wanted: Any, *, roomy: bool) -> None:
        """`roomy`: what is around it stands on several lines."""
        if same(node.value, wanted):
            return
        change = change_of(node, wanted)
        if change is None:
            self._replace(node, wanted, roomy)
        else:
            self._members(node, change, roomy)

    def _splice(self, start: int, end: int, text: str) -> None:
        self.splices.append(Splice(start, end, text))

    def _replace(self, node: Node, wanted: Any, roomy: bool) -> None:
        several = "\n" in self._body[node.start : node.end] or (roomy and not node.members)
        self._splice(node.start, node.end, self._value(wanted, indent_at(self._body, node.start), several))

    def _value(self, value: Any, indent: str, roomy: bool) -> str:
        text = self._notation.dumps(value, self._notation.indent if roomy else None)
        return text.replace("\n", self._notation.newline + indent)

    def _members(self, node: Node, change: Change, roomy: bool) -> None:
        members = node.members or ()
        lines = self._has_lines(node, members)
        roomy = lines or (roomy and not members)
        commas = [self._comma(member) for member in members]
        trailing = bool(commas) and commas[-1] is not None
        last = max((index for index, item in enumerate(change.kept) if item is not GONE), default=None)
        done = 0
        for index, (member, wanted, comma) in enumerate(zip(members, change.kept, commas, strict=True)):
            if wanted is GONE:
                is_tail = last is None or index > last
                done = self._remove(member, comma, done, lines=lines, is_tail=is_tail)
                continue
            self.change(member.node, wanted, roomy=roomy)
            wants_comma = trailing or bool(change.new) or index != last
            if comma is None and wants_comma:
                self._splice(member.node.end, member.node.end, ",")
            elif comma is not None and not wants_comma:
                self._splice(comma, comma + 1, "")
        if change.new and roomy:
            self._add_lines(node, change, lines=lines, end="," * trailing)
        elif change.new:
            at = max(done, len(self._body[: node.end - 1].rstrip(" \t")))
            self._add(at, node, change, first=last is None, end="," * trailing)

    def _has_lines(self, node: Node, members: Sequence[Member]) -> bool:
        """Whether a line ends between the members, or beside the brackets."""
        at = node.start
        for member in members:
            if "\n" in self._body[at : member.start]:
                return True
            at = member.node.end
        return "\n" in self._body[at : node.end]

    def _comma(self, member: Member) -> int | None:
        gap = self._notation.gap.match(self._body, member.node.end)
        assert gap is not None
        return gap.end() if self._body.startswith(",", gap.end()) else None

    def _remove(self, member: Member, comma: int | None, done: int, *, lines: bool, is_tail: bool) -> int:
        """Take it away with its comma, and with its line where it is alone on it. Returns where that ends."""
        start, end = member.start, member.node.end if comma is None else comma + 1
        head = line_start(self._body, start)
        tail = self._notation.tail.match(self._body, end)
        if lines and tail and head >= done and not self._body[head:start].strip():
            start, end = head, tail.end()
        elif not is_tail:
            blanks = _BLANKS.match(self._body, end)
            end = blanks.end() if blanks else end
        else:
            start = max(done, len(self._body[:start].rstrip(" \t")))
        self._splice(start, end, "")
        return end

    def _add(self, at: int, node: Node, change: Change, *, first: bool, end: str) -> None:
        """On the line of the others."""
        between, _ = self._notation.separators
        indent = indent_at(self._body, node.start)
        texts = [self._member(name, value, indent, roomy=False) for name, value in change.new]
        self._splice(at, at, ("" if first else between[1:]) + between.join(texts) + end)

    def _add_lines(self, node: Node, change: Change, *, lines: bool, end: str) -> None:
        """On lines of their own."""
        closer, newline = node.end - 1, self._notation.newline
        outer = indent_at(self._body, node.start)
        indent = self._indent(node, outer)
        texts = [self._member(name, value, indent, roomy=True) for name, value in change.new]
        text = f",{newline}{indent}".join(texts) + end
        head = line_start(self._body, closer)
        if lines and not self._body[head:closer].strip():
            self._splice(head, head, f"{indent}{text}{newline}")
        else:
            self._splice(closer, closer, f"{newline}{indent}{text}{'' if lines else newline + outer}")

    def _member(self, name: str | None, value: Any, indent: str, *, roomy: bool) -> str:
        head = "" if name is None else self._notation.name(name) + self._notation.separators[1]
        return head + self._value(value, indent, roomy)

    def _indent(self, node: Node, outer: str) -> str:
        """Of the members that stand on lines of their own."""
        for member in node.members or ():
            indent = indent_at(self._body, member.start)
            if line_start(self._body, member.start) + len(indent) == member.start:
                return indent
        return outer + self._notation.indent
