"""Edits of YAML in block style, by lines; what stands between brackets is left to `flow`.

A value that is replaced keeps the comment behind it. A member goes with its lines, and a comment on them; a
comment above it stays. New members come below the last one. Where aliases or merge keys are in the way, they
are written out (`expand`): then every place has a text of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from fairlead.core.overrides import same
from fairlead.formats.flow import FlowEditor, Notation
from fairlead.formats.place import Text
from fairlead.formats.splices import Splice, spliced
from fairlead.formats.tree import GONE, Change, Member, Node, change_of, line_end, line_start, next_line
from fairlead.formats.yaml_marks import GAP
from fairlead.formats.yaml_text import Style, entry_lines, in_quotes, inline, item_lines, quoted, write_yaml

_TAIL: Final = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\r?\n|\Z)")

_BLANK_REST: Final = re.compile(r"[ \t]*\r?\n")


def edited(text: Text, root: Node | None, wanted: Mapping[str, Any], *, lines: bool, expand: bool) -> str:
    """The text's body, with what is wanted."""
    body = text.body
    open_end = bool(body) and not body.endswith("\n")
    if open_end:
        body += text.newline
    if root is None or not root.members:
        rest = _BLANK_REST.match(body, root.end) if root else None
        splices = [Splice(root.start, rest.end() if rest else root.end, "")] if root else []
        return spliced(body, splices) + write_yaml(wanted).replace("\n", text.newline)
    editor = _BlockEditor(body, text.newline, _style(body, root, lines), expand)
    editor.root(root, wanted)
    changed = spliced(body, editor.splices())
    return changed.removesuffix(text.newline) if open_end else changed


class _BlockEditor:
    def __init__(self, body: str, newline: str, style: Style, expand: bool) -> None:
        self._body = body
        self._newline = newline
        self._style = style
        self._expand = expand
        self._splices: list[Splice] = []
        self._flow = FlowEditor(body, Notation(GAP, _TAIL, newline, "  ", (", ", ": "), quoted, _dumps))

    def splices(self) -> list[Splice]:
        return self._splices + self._flow.splices

    def root(self, node: Node, wanted: Mapping[str, Any]) -> None:
        if node.block and (change := self._change_of(node, wanted)):
            self._collection(node, change)
        elif self._expand:
            self._splice(node.start, node.end, inline(wanted))
        else:
            self._flow.change(node, wanted, roomy=False)

    def _splice(self, start: int, end: int, text: str) -> None:
        self._splices.append(Splice(start, end, text))

    def _change_of(self, node: Node, wanted: Any) -> Change | None:
        """As `change_of`; where aliases are written out, merge keys go and what they merged is new."""
        if not (
            self._expand and isinstance(node.value, dict) and node.members and isinstance(wanted, Mapping)
        ):
            return change_of(node, wanted)
        names = {member.name for member in node.members}
        kept = [GONE if m.name is None else wanted.get(m.name, GONE) for m in node.members]
        return Change(kept, [(name, item) for name, item in wanted.items() if name not in names])

    def _change(self, member: Member, wanted: Any) -> None:
        node = member.node
        expand = self._expand and node.tangled
        if same(node.value, wanted) and not expand:
            return
        change = self._change_of(node, wanted)
        if change is None or all(item is GONE for item in change.kept) or (expand and not node.block):
            self._replace(member, wanted)
        elif node.block:
            self._collection(node, change)
        else:
            self._flow.change(node, wanted, roomy=False)

    def _collection(self, node: Node, change: Change) -> None:
        members = node.members or ()
        stays = [index for index, item in enumerate(change.kept) if item is not GONE]
        first = members[0].start
        beside = bool(self._body[line_start(self._body, first) : first].strip())  # a dash
        if beside and stays[0]:
            self._splice(first, members[stays[0]].start, "")
        for index, (member, wanted) in enumerate(zip(members, change.kept, strict=True)):
            if wanted is not GONE:
                self._change(member, wanted)
            elif not beside or index > stays[0]:
                self._splice(line_start(self._body, member.start), next_line(self._body, member.node.end), "")
        indent = " " * _column(self._body, members[0].start)
        lines = [line for name, value in change.new for line in self._lines(name, value, indent)]
        if lines:
            at = next_line(self._body, members[-1].node.end)
            self._splice(at, at, self._joined(lines) + self._newline)

    def _lines(self, name: str | None, value: Any, indent: str) -> Iterator[str]:
        if name is None:
            return item_lines(value, indent, self._style)
        return entry_lines(name, value, indent, self._style)

    def _joined(self, lines: Iterable[str]) -> str:
        return self._newline.join(lines)

    def _replace(self, member: Member, wanted: Any) -> None:
        """Another value after the name or the dash."""
        start, end, after = member.node.start, member.node.end, member.after
        indent = " " * _column(self._body, member.start)
        head, *others = self._lines(None if member.name is None else "k", wanted, indent)
        first = head[len(indent) + (1 if member.name is None else 2) :]
        below = self._newline + self._joined(others) if others else ""
        if "\n" in self._body[after:start]:
            at = line_end(self._body, after)
            self._splice(after, after, first)
            self._splice(at, line_end(self._body, end), below)
            return
        if first and start < end and not below:
            self._splice(start, end, self._like(start, wanted) or first.lstrip())
        else:
            self._splice(after, end, first)
        if below:
            at = line_end(self._body, end)
            self._splice(at, at, below)

    def _like(self, start: int, wanted: Any) -> str:
        """A text in the quotes of the old one; empty where they do not matter or will not do."""
        if not isinstance(wanted, str) or not wanted.isprintable():
            return ""
        match self._body[start]:
            case "'":
                return "'" + wanted.replace("'", "''") + "'"
            case '"':
                return in_quotes(wanted)
        return ""


def _dumps(value: Any, _: str | None) -> str:
    return inline(value, bare=False)


def _column(body: str, at: int) -> int:
    return at - line_start(body, at)


def _style(body: str, root: Node, lines: bool) -> Style:
    """How far this file's entries are further in than their key: as at the first place that shows it."""
    mapping = sequence = None
    todo = [root]
    while todo and (mapping is None or sequence is None):
        node = todo.pop()
        members = [member for member in node.members or () if node.block and member.node.block]
        todo += [member.node for member in reversed(members)]
        for member in members:
            if member.name is None or not member.node.members:
                continue
            inner = _column(body, member.node.members[0].start) - _column(body, member.start)
            if isinstance(member.node.value, list):
                sequence = inner if sequence is None else sequence
            else:
                mapping = inner if mapping is None else mapping
    mapping = mapping or 2
    return Style(" " * mapping, " " * (min(mapping, 2) if sequence is None else sequence), lines)
