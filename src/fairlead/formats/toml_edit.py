"""Edits of TOML by statements: a line with a key and its value, or a header.

A table may be told by its header, by keys with dots, by headers of tables below it, or between braces; each
is changed in the way in which it was told. An array of tables changes as a whole, unless it only grows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Final

from fairlead.core.overrides import Key, same
from fairlead.formats import toml_text
from fairlead.formats.flow import FlowEditor, Notation
from fairlead.formats.splices import Splice, spliced
from fairlead.formats.toml_scan import GAP, Statement
from fairlead.formats.tree import line_start

_TAIL: Final = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\r?\n|\Z)")
_COMMENTS: Final = re.compile(r"(?:[ \t]*#[^\n]*\n)+(?=[ \t]*\r?\n|\Z)")


class TomlEditor:
    """Collects the splices that make of the statements what is wanted. `body` ends with a newline."""

    def __init__(self, body: str, newline: str, statements: Sequence[Statement]) -> None:
        self._body = body
        self._newline = newline
        self._statements = statements
        self._splices: list[Splice] = []
        self._sections: list[Splice] = []  # come after all else at their place
        notation = Notation(GAP, _TAIL, newline, "  ", (", ", " = "), toml_text.name, _dumps)
        self._flow = FlowEditor(body, notation)

    def changed(self) -> str:
        return spliced(self._body, [*self._splices, *self._flow.splices, *self._sections])

    def table(self, path: Key, old: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
        new = {name: value for name, value in wanted.items() if name not in old}
        for name, value in old.items():
            if name not in wanted:
                self._remove((*path, name))
            elif not same(value, wanted[name]) and not self._change((*path, name), value, wanted[name]):
                self._remove((*path, name))
                new[name] = wanted[name]
        self._add(path, new)

    def _change(self, path: Key, old: Any, wanted: Any) -> bool:
        """Whether it can be changed in its place."""
        found = next((each for each in self._statements if each.path == path), None)
        is_table = isinstance(old, dict) and isinstance(wanted, dict)
        if found and found.node and not found.is_array:
            if isinstance(wanted, dict) and not is_table:
                return False
            self._flow.change(found.node, wanted, roomy=False)
            return True
        if is_table and (wanted or found):
            self.table(path, old, wanted)
            return True
        if found and found.is_array and toml_text.is_tables(wanted) and same(old, wanted[: len(old)]):
            items = [toml_text.section(path, item, item=True) for item in wanted[len(old) :]]
            end = self._below_comments(self._below(path)[-1].end)
            self._insert(self._sections, end, chain.from_iterable(items))
            return True
        return False

    def _below(self, path: Key) -> list[Statement]:
        """All that tells of a table: headers and keys."""
        return [each for each in self._statements if each.path[: len(path)] == path]

    def _remove(self, path: Key) -> None:
        """Its lines; from a header on all that is in its section."""
        end: int | None = None  # of the section that goes
        for statement in self._statements:
            if statement.path[: len(path)] != path:
                end = None
            elif statement.is_header or end is not None:
                start = self._above_blank_lines(statement.start) if end is None else end
                end = statement.end
                self._splices.append(Splice(start, end, ""))
            else:
                self._splices.append(Splice(statement.start, statement.end, ""))

    def _above_blank_lines(self, start: int) -> int:
        while start and not self._body[(head := line_start(self._body, start - 1)) : start].strip():
            start = head
        return start

    def _below_comments(self, end: int) -> int:
        """Past comments that are about what is above them."""
        comments = _COMMENTS.match(self._body, end)
        return comments.end() if comments else end

    def _add(self, path: Key, new: Mapping[str, Any]) -> None:
        if not new:
            return
        below = self._below(path)
        own = [each for each in below if each.section == path and not (each.is_header and path == ())]
        dotted = [each for each in below if len(each.section) < len(path) and each.node]
        if dotted and not own:
            section = dotted[-1].section
            lines = [toml_text.pair((*path[len(section) :], name), new[name]) for name in new]
            self._insert(self._splices, dotted[-1].end, lines)
            return
        pairs, tables = toml_text.parted(new)
        end = self._below_comments(below[-1].end) if below else len(self._body)
        if path and not own:
            self._insert(self._sections, end, toml_text.section(path, new))
            return
        lines = [toml_text.pair((name,), value) for name, value in pairs.items()]
        if lines and own:
            self._insert(self._splices, own[-1].end, lines)
        elif lines:
            self._first(lines)
        if tables:
            self._insert(self._sections, end, toml_text.section(path, tables))

    def _first(self, lines: list[str]) -> None:
        """Keys of the top, where there is none: above the first header and the comment on it."""
        at = self._statements[0].start if self._statements else len(self._body)
        while at and self._body[(head := line_start(self._body, at - 1)) : at].strip():
            at = head
        at = self._above_blank_lines(at)
        self._insert(self._splices, at, ["", *lines] if at else [*lines, ""] if self._statements else lines)

    def _insert(self, into: list[Splice], at: int, lines: Iterable[str]) -> None:
        text = "".join(f"{line}\n" for line in lines).replace("\n", self._newline)
        into.append(Splice(at, at, text))


def _dumps(value: Any, _: str | None) -> str:
    return toml_text.inline(value)
