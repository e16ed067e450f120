"""JSON, with the comments and trailing commas that editors' settings have.

Most files are plain JSON, which the library reads fast. What it refuses is read again by a parser of our own:
it understands comments and trailing commas, knows where everything stands, and says what is wrong.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NoReturn

from fairlead.formats.flow import FlowEditor, Notation
from fairlead.formats.place import DocumentError, Text, decoded, error_at
from fairlead.formats.splices import spliced
from fairlead.formats.tree import Member, Node, is_deeper

MAX_DEPTH: Final = 64
MAX_BYTES: Final = 8 * 2**20  # of clients' own state, such as ~/.claude.json: Git's files are smaller

_GAP: Final = re.compile(r"(?:[ \t\r\n]+|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_TAIL: Final = re.compile(r"[ \t]*(?://[^\n]*|/\*(?:[^*\n]|\*(?!/))*\*/[ \t\r]*)?(?:\r?\n|\Z)")
_STRING: Final = re.compile(r'"[^"\\\x00-\x1f]*(?:\\[^\x00-\x1f][^"\\\x00-\x1f]*)*"')
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?(?![\w.+-])")
_WORD: Final = re.compile(r"[\w+.-]+")
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")
_INDENT: Final = re.compile(r"[{\[][ \t]*\r?\n([ \t]+)[^\s]")
_LITERALS: Final[Mapping[str, Any]] = {"true": True, "false": False, "null": None}


def read(content: bytes) -> dict[str, Any]:
    """An empty file is an empty document. Raises `DocumentError`."""
    body = decoded(content, most=MAX_BYTES).body
    if not _SURROGATE.search(body):  # the library lets halves of pairs through
        try:
            data = json.loads(
                body, object_pairs_hook=_distinct, parse_float=_finite, parse_constant=_no_number
            )
            if isinstance(data, dict) and not is_deeper(data, MAX_DEPTH):
                return data
        except (ValueError, RecursionError):
            pass  # to be told with its place below
    return _mapping(_Parser(body).root(), body)


def rewrites(content: bytes, wanted: Mapping[str, Any]) -> Iterator[bytes]:
    """The content with what differs from `wanted` changed in place."""
    text = decoded(content, most=MAX_BYTES)
    root = _Parser(text.body).root()
    if root is None:
        lead = "\n" if text.body and not text.body.endswith("\n") else ""
        added = (lead + _dumps(wanted, "  ") + "\n").replace("\n", text.newline)
        yield text.encoded(text.body + added)
        return
    editor = FlowEditor(text.body, _notation(text))
    editor.change(root, wanted, roomy="\n" in text.body.strip() or not root.members)
    yield text.encoded(spliced(text.body, editor.splices))


def write(document: Mapping[str, Any]) -> bytes:
    return (_dumps(document, "  ") + "\n").encode()


def _notation(text: Text) -> Notation:
    """How this file is written."""
    found = _INDENT.search(text.body)
    wide = not text.body.strip() or re.search(r'":\s', text.body) is not None or '":' not in text.body
    separators = (", ", ": ") if wide else (",", ":")

    def dumps(value: Any, indent: str | None) -> str:
        return _dumps(value, indent, separators)

    return Notation(_GAP, _TAIL, text.newline, found[1] if found else "  ", separators, _name, dumps)


def _name(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _dumps(value: Any, indent: str | None, separators: tuple[str, str] = (", ", ": ")) -> str:
    if indent is not None:
        separators = (",", ": ")
    return json.dumps(value, ensure_ascii=False, indent=indent, separators=separators)


def _mapping(root: Node | None, body: str) -> dict[str, Any]:
    if root is None:
        return {}
    if not isinstance(root.value, dict):
        raise error_at(body, root.start, "an object is wanted at the top", 'write {"name": value}')
    return root.value


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError
    return found


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError
    return number


def _no_number(_: str) -> NoReturn:
    raise ValueError


class _Parser:
    def __init__(self, body: str) -> None:
        self._body = body
        self._at = 0

    def root(self) -> Node | None:
        """None where there is nothing, apart from comments."""
        self._gap()
        if self._at == len(self._body):
            return None
        node = self._node(MAX_DEPTH)
        self._gap()
        if self._at < len(self._body):
            raise self._error("nothing may follow here", "remove it, or check the brackets above")
        return node

    def _gap(self) -> None:
        match = _GAP.match(self._body, self._at)
        assert match is not None
        self._at = match.end()
        if self._body.startswith("/*", self._at):
            raise self._error("a comment without its end", "close it with */")

    def _next(self) -> str:
        return self._body[self._at : self._at + 1]

    def _error(self, message: str, hint: str, at: int | None = None) -> DocumentError:
        return error_at(self._body, self._at if at is None else at, message, hint)

    def _node(self, levels: int) -> Node:
        match self._next():
            case "{" | "[" if not levels:
                raise self._error(f"nested more than {MAX_DEPTH} deep", "make it flatter")
            case "{":
                return self._object(levels)
            case "[":
                return self._array(levels)
            case '"':
                start, text = self._at, self._string()
                return Node(start, self._at, text)
            case _:
                return self._scalar()

    def _object(self, levels: int) -> Node:
        start = self._at
        members: dict[str, Member] = {}
        while self._more("}", first=not members):
            at = self._at
            if self._next() != '"':
                raise self._error("a name in double quotes is wanted here", 'write "name": value')
            name = self._string()
            if name in members:
                raise self._error(f"the key {name[:80]!r} stands here a second time", "keep one of them", at)
            self._gap()
            if self._next() != ":":
                raise self._error("a colon is wanted here", 'write "name": value')
            self._at += 1
            self._gap()
            members[name] = Member(at, name, self._at, self._node(levels - 1))
        data = {name: member.node.value for name, member in members.items()}
        return Node(start, self._at, data, list(members.values()))

    def _array(self, levels: int) -> Node:
        start = self._at
        members: list[Member] = []
        while self._more("]", first=not members):
            members.append(Member(self._at, None, self._at, self._node(levels - 1)))
        return Node(start, self._at, [member.node.value for member in members], members)

    def _more(self, closer: str, *, first: bool) -> bool:
        """Go to the next member, or behind the closing bracket."""
        if first:
            self._at += 1
        self._gap()
        if not first and self._next() == ",":
            self._at += 1
            self._gap()
        elif not first and self._next() != closer:
            raise self._error(
                f"a comma or {closer} is wanted here", f"write a comma, or close it with {closer}"
            )
        if self._next() == closer:
            self._at += 1
            return False
        return True

    def _string(self) -> str:
        match = _STRING.match(self._body, self._at)
        if match is None:
            hint = "close it with \", and write \\n for a line's end"
            raise self._error("a text that does not end on its line", hint)
        try:
            text: str = json.loads(match[0])
        except ValueError:
            hint = r"write \\ for a backslash"
            raise self._error("a text with a backslash that means nothing", hint) from None
        if any("\ud800" <= char <= "\udfff" for char in text):
            raise self._error("half of a surrogate pair is no character", "write the character itself")
        self._at = match.end()
        return text

    def _scalar(self) -> Node:
        start = self._at
        word = _WORD.match(self._body, start)
        if word and word[0] in _LITERALS:
            self._at = word.end()
            return Node(start, self._at, _LITERALS[word[0]])
        number = _NUMBER.match(self._body, start)
        if number is None:
            raise self._error("a value is wanted here", 'quote texts with "; write true, false or null')
        self._at = number.end()
        try:
            value = json.loads(number[0], parse_float=_finite)
        except ValueError:
            raise self._error("a number that is too large", "write it as a text", start) from None
        return Node(start, self._at, value)
