"""The walk through a file's tree, side by side with the shape of the model that it is read into.

It finds what the model alone cannot see: keys that are unknown (with the nearest known one), and numbers
without their unit. And it makes the plain data that the model reads.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from collections.abc import Mapping as ByName
from typing import Final

from fairlead.formats.yaml_tree import Entry, Mapping, Node, Path, Position, Scalar, Sequence, plain_value
from fairlead.model.shapes import Shape
from fairlead.model.spec_problem import Severity

Report = Callable[[Severity, Position, Path, str, str], None]
"""Takes what the message is, where it stands, the key path, what is wrong and what would be right."""

_MOST_GUESSES: Final = 100  # they take time: beyond these, somebody gave us another kind of file


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant; case and separators do not count."""
    return nearest_folded(word, {folded(each): each for each in known})


def nearest_folded(word: str, known: dict[str, str]) -> str | None:
    """The same for many words, of which the known ones are `folded` once."""
    found = difflib.get_close_matches(folded(word[:64]), known, n=1, cutoff=0.7)
    return known[found[0]] if found else None


def folded(word: str) -> str:
    """What of it counts."""
    return re.sub("[_-]", "", word).lower()


class Walk:
    """Reports what it finds; `place` is a key path with `*` for a name and `[]` for an item.

    `foreign` are words that other tools have for the same thing, with what to write. What a kind of file
    knows beyond its model is found by a subclass: `mapping`, `value` and `scalar` are called at each of them.
    """

    def __init__(self, report: Report, foreign: ByName[str, str]) -> None:
        self.report = report
        self._foreign = foreign
        self._guesses = _MOST_GUESSES

    def mapping(self, node: Mapping, path: Path, place: str) -> None:
        """A mapping is entered."""

    def value(self, position: Position, node: Node, path: Path, place: str) -> None:
        """Something has a value: a known key, or an item of a list."""

    def scalar(self, node: Scalar, path: Path, place: str) -> None:
        """A scalar is reached that has no unit."""

    def below(self, place: str) -> str:
        """The place that counts as the same."""
        return place

    def node(self, node: Node, shape: Shape, path: Path = (), place: str = "") -> None:
        match node, shape.kind:
            case Mapping(), "model" | "map":
                self.mapping(node, path, place)
                for name, entry in node.entries.items():
                    self._entry(entry, shape, (*path, name), place)
            case Sequence(), "list":
                for index, item in enumerate(node.items):
                    self.value(item.position, item, (*path, index), f"{place}[]")
                    self.node(item, shape.at(index), (*path, index), f"{place}[]")
            case Scalar(), "unit":
                self._bare_number(node, shape, path)
            case Scalar(), _:
                self.scalar(node, path, place)

    def _entry(self, entry: Entry, shape: Shape, path: Path, place: str) -> None:
        name = entry.key.text
        if shape.kind == "model" and name not in shape.fields:
            self._guesses -= 1
            hint = self._meant(name, shape) if self._guesses >= 0 else "see the schema"
            self.report(Severity.ERROR, entry.key.position, path, "unknown key", hint)
            return
        below = self.below(f"{place}.{'*' if shape.kind == 'map' else name}".removeprefix("."))
        self.value(entry.key.position, entry.value, path, below)
        self.node(entry.value, shape.at(name), path, below)

    def _meant(self, name: str, shape: Shape) -> str:
        if name in self._foreign:
            return self._foreign[name]
        if meant := nearest(name, shape.fields):
            return f"did you mean {meant!r}?"
        for below, part in shape.fields.items():
            if meant := nearest(name, part.fields):
                return f"did you mean {meant!r}, below {below!r}?"
        return f"known here: {', '.join(shape.fields)}"

    def _bare_number(self, node: Scalar, shape: Shape, path: Path) -> None:
        unit = shape.unit
        if unit and unit.is_bare(node.text):
            message = f"{node.text} has no unit and is taken as {unit.bare_name}"
            hint = f"write {unit.format(unit.parse(node.text))}"
            self.report(Severity.WARNING, node.position, path, message, hint)


def to_data(node: Node, shape: Shape) -> object:
    """Plain data for the model. A null says nothing and is left out of models; so are unknown keys."""
    if isinstance(node, Scalar):
        if node.is_null:
            return None
        return node.text if shape.kind in {"text", "unit"} or not node.plain else plain_value(node.text)
    if isinstance(node, Sequence):
        return [to_data(item, shape.at(index)) for index, item in enumerate(node.items)]
    if shape.kind != "model":
        return {name: to_data(entry.value, shape.at(name)) for name, entry in node.entries.items()}
    return {
        name: to_data(entry.value, shape.at(name))
        for name, entry in node.entries.items()
        if name in shape.fields and not is_null(entry.value)
    }


def merged(base: Node | None, over: Node) -> Node:
    """`over` upon `base`: mappings merge deeply, everything else replaces, null keeps what was there."""
    if base is None:
        return over
    if is_null(over):
        return base
    if not (isinstance(base, Mapping) and isinstance(over, Mapping)):
        return over
    entries = dict(base.entries)
    for name, entry in over.entries.items():
        below = entries.get(name)
        entries[name] = Entry(entry.key, merged(below.value if below else None, entry.value))
    return Mapping(over.position, entries)


def without_nulls(node: Node) -> Node:
    """The tree without the keys that are null, as layers have it: they leave it to those below."""
    if not isinstance(node, Mapping):
        return node
    entries = {
        name: Entry(entry.key, without_nulls(entry.value))
        for name, entry in node.entries.items()
        if not is_null(entry.value)
    }
    return Mapping(node.position, entries)


def is_null(node: Node) -> bool:
    return isinstance(node, Scalar) and node.is_null
