"""YAML text to a tree that knows where everything stands.

ruamel's parser yields events; they are composed here, in a loop of our own, because the library's composers
recurse (a deep file ends in RecursionError), stop at the first duplicate key, and expand aliases without
bound. Scalars keep the text that was written: what `010` or `yes` means depends on the key that it stands
at, and is decided later. Aliases and merge keys are followed here; a node that is used twice is the same
object.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml import events as ev
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.reader import ReaderError

MAX_BYTES = 2**20
MAX_DEPTH = 32
MAX_NODES = 200_000  # aliases expanded

_LONG_TAG = re.compile(r"(?:^|(?<=[\s,\[{]))!\S{4096}")  # the library takes ever longer for it

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Position:
    """Counted from 1, in characters. `file` says where, if a tree is made of several files."""

    line: int
    column: int
    file: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """An error in the YAML itself."""

    position: Position
    path: Path
    message: str
    hint: str = ""


@dataclass(slots=True, eq=False)
class Scalar:
    position: Position
    text: str
    plain: bool  # neither quoted nor a block
    start: int = 0  # offsets in the text
    end: int = 0
    height: int = 1
    size: int = 1

    @property
    def is_null(self) -> bool:
        return self.plain and self.text in {"", "~", "null", "Null", "NULL"}


@dataclass(slots=True, eq=False)
class Sequence:
    position: Position
    items: list[Node] = field(default_factory=list)
    height: int = 1
    size: int = 1


@dataclass(slots=True, eq=False)
class Mapping:
    position: Position
    entries: dict[str, Entry] = field(default_factory=dict)
    height: int = 1
    size: int = 1


Node = Scalar | Sequence | Mapping


@dataclass(slots=True, eq=False)
class Entry:
    key: Scalar
    value: Node


@dataclass(frozen=True, slots=True)
class Tree:
    """`root` is None exactly when the file could not be read to its end."""

    root: Node | None
    findings: list[Finding]


def compose(text: str, file: str = "") -> Tree:
    """Never raises: what is wrong is among the findings."""
    composer = _Composer(file)
    if long := _LONG_TAG.search(text):
        before = text[: long.start()]
        position = Position(before.count("\n") + 1, len(before) - before.rfind("\n"))
        return Tree(None, [Finding(position, (), "a tag without end", "quote what starts with !")])
    try:
        for event in YAML(typ="base", pure=True).parse(text):
            composer.take(event)
    except _Refused:
        return Tree(None, composer.findings)
    except ReaderError as error:
        composer.findings.append(_unreadable(text, error, file))
        return Tree(None, composer.findings)
    except MarkedYAMLError as error:
        composer.findings.append(_syntax(error, composer.path(), file))
        return Tree(None, composer.findings)
    except (YAMLError, ValueError, LookupError, TypeError, AttributeError, AssertionError) as error:
        # ruamel's scanner itself trips over some texts, such as an escape beyond U+10FFFF.
        message = f"not readable as YAML ({type(error).__name__})"
        composer.findings.append(
            Finding(composer.last, composer.path(), message, "look at what follows here")
        )
        return Tree(None, composer.findings)
    return Tree(composer.root, composer.findings)


def tree_of(value: Any, lines: Iterator[int] | None = None) -> Node:
    """JSON data as the tree that it would be read as. Each node has a line of its own."""
    lines = lines or count(1)
    position = Position(next(lines), 1)
    if isinstance(value, dict):
        entries = {
            name: Entry(Scalar(Position(next(lines), 1), name, plain=False), tree_of(item, lines))
            for name, item in value.items()
        }
        return Mapping(position, entries)
    if isinstance(value, list | tuple):
        return Sequence(position, [tree_of(item, lines) for item in value])
    if isinstance(value, str):
        return Scalar(position, value, plain=False)
    return Scalar(position, json.dumps(value), plain=True)


def plain_value(text: str) -> bool | int | float | str | None:
    """What an unquoted scalar is by YAML 1.2's core schema; infinities and not-a-number stay texts."""
    if text in {"", "~", "null", "Null", "NULL"}:
        return None
    if text in {"true", "True", "TRUE", "false", "False", "FALSE"}:
        return text[0] in "tT"
    if re.fullmatch(r"[-+]?[0-9]{1,300}", text):
        return int(text)
    if re.fullmatch(r"0x[0-9a-fA-F]{1,200}|0o[0-7]{1,200}", text):
        return int(text, 0)
    if re.fullmatch(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,3})?", text):
        return float(text) if math.isfinite(float(text)) else text
    return text


class _Refused(Exception):  # noqa: N818 - control flow: the finding is recorded already
    """Reading stops here."""


_NO_KEY = Scalar(Position(1, 1), "", plain=False)  # stands for a key that has been refused


@dataclass(slots=True)
class _Frame:
    """A collection whose end has not come yet."""

    node: Sequence | Mapping
    anchor: str | None
    key: Scalar | None = None  # of a mapping: the key that waits for its value
    merges: list[Node] = field(default_factory=list)


class _Composer:
    def __init__(self, file: str) -> None:
        self.root: Node | None = None
        self.findings: list[Finding] = []
        self.last = Position(1, 1, file)
        self._file = file
        self._stack: list[_Frame] = []
        self._anchors: dict[str, Node | None] = {}  # None: its end has not come yet
        self._documents = 0

    def path(self) -> Path:
        """Where reading stands."""
        parts: list[str | int] = []
        for frame in self._stack:
            if isinstance(frame.node, Sequence):
                parts.append(len(frame.node.items))
            elif frame.key is not None:
                parts.append(frame.key.text[:80])
        return tuple(parts)

    def take(self, event: Any) -> None:
        self.last = _position(event.start_mark, self._file)
        match event:
            case ev.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    self._refuse("a second document starts here", "keep one, without a second `---`")
            case ev.ScalarEvent():
                self._attach(self._scalar(event), event.anchor)
            case ev.AliasEvent():
                self._attach(self._aliased(event.anchor), None)
            case ev.SequenceStartEvent() | ev.MappingStartEvent():
                self._open(event)
            case ev.SequenceEndEvent() | ev.MappingEndEvent():
                self._close()

    def _find(self, message: str, hint: str, position: Position | None = None) -> None:
        self.findings.append(Finding(position or self.last, self.path(), message, hint))

    def _refuse(self, message: str, hint: str) -> None:
        self._find(message, hint)
        raise _Refused

    def _scalar(self, event: ev.ScalarEvent) -> Scalar:
        text: str = event.value
        if event.tag not in {None, "!", "tag:yaml.org,2002:str"}:
            self._unknown_tag(event.tag)
        if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
            self._find("half of a surrogate pair is no character", "write the character itself")
            text = text.encode("utf-8", "replace").decode()
        plain = event.tag is None and event.style in {None, ""}
        return Scalar(self.last, text, plain, event.start_mark.index, event.end_mark.index)

    def _unknown_tag(self, tag: str) -> None:
        self._find(f"the tag {tag[:80]} is not understood", "remove it")

    def _aliased(self, name: str) -> Node:
        if name not in self._anchors:
            self._refuse(f"there is no anchor &{name[:80]} above", "write the anchor before its first use")
        node = self._anchors[name]
        if node is None:
            self._refuse(f"&{name[:80]} holds itself", "remove the alias")
        assert node is not None
        return node

    def _open(self, event: ev.CollectionStartEvent) -> None:
        if event.tag not in {None, "!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}:
            self._unknown_tag(event.tag)
        if len(self._stack) >= MAX_DEPTH:
            self._too_deep()
        kind = Sequence if isinstance(event, ev.SequenceStartEvent) else Mapping
        if event.anchor:
            self._anchors[event.anchor] = None
        self._stack.append(_Frame(kind(self.last), event.anchor))

    def _close(self) -> None:
        frame = self._stack.pop()
        if isinstance(frame.node, Mapping):
            for merged in frame.merges:
                self._merge(frame.node, merged)
        self._attach(frame.node, frame.anchor)

    def _merge(self, into: Mapping, source: Node) -> None:
        """`<<`: keys that are written out win over merged ones, earlier sources over later ones."""
        for each in source.items if isinstance(source, Sequence) else [source]:
            if isinstance(each, Mapping):
                for name, entry in each.entries.items():
                    into.entries.setdefault(name, entry)
            else:
                self._find("<< merges mappings only", "give it an alias of a mapping", each.position)

    def _attach(self, node: Node, anchor: str | None) -> None:
        """Put a finished node into what is open."""
        if anchor:
            self._anchors[anchor] = node
        if not self._stack:
            self.root = node
            return
        frame = self._stack[-1]
        if len(self._stack) + node.height > MAX_DEPTH:
            self._too_deep()
        frame.node.height = max(frame.node.height, node.height + 1)
        frame.node.size += node.size
        if frame.node.size > MAX_NODES:
            self._refuse(f"more than {MAX_NODES:,} values, aliases expanded", "use fewer aliases")
        if isinstance(frame.node, Sequence):
            frame.node.items.append(node)
        elif frame.key is None:
            frame.key = self._key(node)
        else:
            self._enter(frame, frame.key, node)
            frame.key = None

    def _key(self, node: Node) -> Scalar:
        if isinstance(node, Scalar) and not node.is_null:
            return node
        self._find("a key must be a text", "write `name: value`", node.position)
        return _NO_KEY

    def _enter(self, frame: _Frame, key: Scalar, value: Node) -> None:
        assert isinstance(frame.node, Mapping)
        if key is _NO_KEY:
            return
        if key.text == "<<" and key.plain:
            frame.merges.append(value)
        elif (first := frame.node.entries.get(key.text)) is not None:
            self._find(
                f"the key {key.text[:80]!r} stands here a second time",
                f"keep this one or the one on line {first.key.position.line}",
                key.position,
            )
        else:
            frame.node.entries[key.text] = Entry(key, value)

    def _too_deep(self) -> None:
        self._refuse(f"nested more than {MAX_DEPTH} deep", "no part of a fleet file needs that")


def _position(mark: Any, file: str) -> Position:
    return Position(mark.line + 1, mark.column + 1, file)


def _unreadable(text: str, error: ReaderError, file: str) -> Finding:
    before = text[: error.position]
    position = Position(before.count("\n") + 1, len(before) - before.rfind("\n"), file)
    return Finding(
        position, (), f"the character U+{ord(text[error.position]):04X} cannot stand in YAML", "remove it"
    )


_HINTS = (
    ("'\\t'", "indent with spaces, not with tabs"),
    ("mapping values are not allowed", "quote a value that holds ': ', and check the indentation"),
    ("could not find expected ':'", "write `key: value`"),
    ("<document start>", "check the indentation: keys of one level start in one column"),
    ("expected <block end>", "check the indentation: keys of one level start in one column"),
    ("that cannot start any token", "quote the value"),
    ("quoted scalar", "close the quote"),
    ("flow", "close the bracket, and put commas between its items"),
)


def _syntax(error: MarkedYAMLError, path: Path, file: str) -> Finding:
    mark = error.problem_mark or error.context_mark
    said = f"{error.context or ''} {error.problem or ''}"
    hint = next((hint for part, hint in _HINTS if part in said), "look at what stands before it")
    position = _position(mark, file) if mark is not None else Position(1, 1, file)
    return Finding(position, path, f"not YAML: {error.problem or error.context}", hint)
