"""TOML that `tomllib` has found to be good, as statements that know where they stand."""

from __future__ import annotations

import datetime as dt
import math
import re
import tomllib
from dataclasses import dataclass
from typing import Any, Final

from fairlead.core.overrides import Key
from fairlead.formats.tree import Member, Node, line_start, next_line

GAP: Final = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_PART: Final = re.compile(r"""[ \t]*([\w-]+|"(?:[^"\\]|\\.)*"|'[^']*')[ \t]*""")
_STRINGS: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|' + r"'''.*?'{3,5}|" + r""""(?:[^"\\]|\\.)*"|'[^']*\'""", re.DOTALL
)
_HEADER: Final = re.compile(r"\[\[?")
_BARE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:.]+(?:Z|z|[-+][0-9:]+)?|[^\s,\]}#]+")


@dataclass(frozen=True, slots=True)
class Statement:
    """A header (without a node) or a key with its value; both with the section that they are in.

    Where a section is an item of an array of tables, all in it has the array's path: such an array is one
    value. `start` and `end` are those of its lines.
    """

    path: Key
    section: Key
    start: int
    end: int
    node: Node | None = None
    is_array: bool = False

    @property
    def is_header(self) -> bool:
        return self.node is None


def plain(value: Any) -> Any:
    """As JSON data: dates and times, infinities and not-a-number become texts."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def scanned(text: str) -> list[Statement]:
    return _Scanner(text).statements()


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def statements(self) -> list[Statement]:
        found: list[Statement] = []
        arrays: set[Key] = set()
        section: Key = ()
        while self._skip() < len(self._text):
            start = line_start(self._text, self._at)
            node = None
            if brackets := _HEADER.match(self._text, self._at):
                self._at = brackets.end()
                section = path = self._key()
                if brackets[0] == "[[":
                    arrays.add(section)
            else:
                path = (*section, *self._key())
                self._at += 1
                self._skip()
                node = self._value()
            self._at = next_line(self._text, self._at)
            path, within = self._whole(path, arrays), self._whole(section, arrays)
            found.append(Statement(path, within, start, self._at, node, path in arrays))
        return found

    @staticmethod
    def _whole(path: Key, arrays: set[Key]) -> Key:
        return next((path[:n] for n in range(1, len(path) + 1) if path[:n] in arrays), path)

    def _skip(self) -> int:
        self._at = _end(GAP.match(self._text, self._at))
        return self._at

    def _key(self) -> Key:
        parts: list[str] = []
        while True:
            part = _PART.match(self._text, self._at)
            assert part is not None
            parts.append(tomllib.loads(f"x={part[1]}")["x"] if part[1][0] in "\"'" else part[1])
            self._at = part.end()
            if not self._text.startswith(".", self._at):
                return tuple(parts)
            self._at += 1

    def _value(self) -> Node:
        start = self._at
        if self._text[start] == "[":
            return self._array(start)
        if self._text[start] == "{":
            return self._table(start)
        self._at = _end(_STRINGS.match(self._text, start) or _BARE.match(self._text, start))
        value = tomllib.loads(f"x={self._text[start : self._at]}")["x"]
        return Node(start, self._at, plain(value))

    def _array(self, start: int) -> Node:
        members: list[Member] = []
        while self._more("]", first=not members):
            begin = self._at
            members.append(Member(begin, None, begin, self._value()))
        return Node(start, self._at, [member.node.value for member in members], members)

    def _table(self, start: int) -> Node:
        members: list[Member] = []
        dotted = False
        while self._more("}", first=not members):
            begin = self._at
            name, *others = self._key()
            dotted = dotted or bool(others)
            self._at += 1
            self._skip()
            members.append(Member(begin, name, self._at, self._value()))
        if dotted:
            value = plain(tomllib.loads(f"x={self._text[start : self._at]}")["x"])
            return Node(start, self._at, value)
        return Node(start, self._at, {str(each.name): each.node.value for each in members}, members)

    def _more(self, closer: str, *, first: bool) -> bool:
        """Go on to the next member, or behind the closing bracket."""
        self._at += first
        self._skip()
        if self._text[self._at] == ",":
            self._at += 1
            self._skip()
        if self._text[self._at] == closer:
            self._at += 1
            return False
        return True


def _end(match: re.Match[str] | None) -> int:
    assert match is not None
    return match.end()
