"""The walk through a fleet file's tree, side by side with the shape of the model.

It finds what the model alone cannot see: keys that are unknown (with the nearest known one), not in force,
or without effect beside others, and numbers without their unit. And it makes the plain data that the model
reads.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable

from fairlead.model import placeholders
from fairlead.model.not_in_force import NOT_IN_FORCE
from fairlead.model.shapes import Shape
from fairlead.model.spec_problem import Severity
from fairlead.stores.yaml_tree import Entry, Mapping, Node, Path, Position, Scalar, Sequence, plain_value

Report = Callable[[Severity, Position, Path, str, str], None]
"""Takes what the message is, where it stands, the key path, what is wrong and what would be right."""

# Words that other tools have for the same thing.
_FOREIGN = {
    "env": "write `environment`",
    "cwd": "write `workingDirectory`",
    "mcpServers": "write `servers`",
    "disabled": "write `enabled: false`",
    "weight": "weights stand under `loadBalancing.weights`",
}
_WITHOUT_EFFECT = {
    "url": ("args", "entry", "environment", "workingDirectory"),
    "command": ("entry", "headers", "transport"),
    "package": ("headers", "transport"),
}
_SECRET = re.compile("KEY|TOKEN|SECRET|PASSW", re.IGNORECASE)


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


def _meant(name: str, shape: Shape) -> str:
    if name in _FOREIGN:
        return _FOREIGN[name]
    if meant := nearest(name, shape.fields):
        return f"did you mean {meant!r}?"
    for below, part in shape.fields.items():
        if meant := nearest(name, part.fields):
            return f"did you mean {meant!r}, below {below!r}?"
    return f"known here: {', '.join(shape.fields)}"


class Walk:
    """Reports what it finds; `place` is a key path with `*` for names, as `NOT_IN_FORCE` writes it."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._guesses = 100  # they take time: beyond these, somebody gave us another kind of file

    def node(self, node: Node, shape: Shape, path: Path = (), place: str = "") -> None:
        match node, shape.kind:
            case Mapping(), "model" | "map":
                if place == "servers.*":
                    self._without_effect(node, path)
                for name, entry in node.entries.items():
                    self._entry(entry, shape, (*path, name), place)
            case Sequence(), "list":
                for index, item in enumerate(node.items):
                    self._not_in_force(item.position, item, (*path, index), f"{place}[]")
                    self.node(item, shape.at(index), (*path, index), f"{place}[]")
            case Scalar(), "unit":
                self._bare_number(node, shape, path)
            case Scalar(), _ if place == "servers.*.args[]":
                self._secret_argument(node, path)

    def _entry(self, entry: Entry, shape: Shape, path: Path, place: str) -> None:
        name = entry.key.text
        if shape.kind == "model" and name not in shape.fields:
            self._guesses -= 1
            hint = _meant(name, shape) if self._guesses >= 0 else "see the schema"
            self._report(Severity.ERROR, entry.key.position, path, "unknown key", hint)
            return
        below = f"{place}.{'*' if shape.kind == 'map' else name}".removeprefix(".")
        below = "servers.*" if below == "defaults" else below
        self._not_in_force(entry.key.position, entry.value, path, below)
        self.node(entry.value, shape.at(name), path, below)

    def _not_in_force(self, position: Position, value: Node, path: Path, place: str) -> None:
        known = NOT_IN_FORCE.get(place)
        if known and known.concerns(value.text if isinstance(value, Scalar) else None):
            self._report(Severity.WARNING, position, path, "not in force", known.why)

    def _without_effect(self, server: Mapping, path: Path) -> None:
        given = {name for name, entry in server.entries.items() if not _is_null(entry.value)}
        for source in given & _WITHOUT_EFFECT.keys():
            for name in given & set(_WITHOUT_EFFECT[source]):
                position = server.entries[name].key.position
                message = f"has no effect on a server that is a {source}"
                self._report(Severity.WARNING, position, (*path, name), message, "remove it")

    def _bare_number(self, node: Scalar, shape: Shape, path: Path) -> None:
        unit = shape.unit
        if unit and unit.is_bare(node.text):
            message = f"{node.text} has no unit and is taken as {unit.bare_name}"
            hint = f"write {unit.format(unit.parse(node.text))}"
            self._report(Severity.WARNING, node.position, path, message, hint)

    def _secret_argument(self, node: Scalar, path: Path) -> None:
        for name in filter(_SECRET.search, placeholders.names(node.text)):
            message = f"{name} would be seen by every user of the machine in the list of processes"
            self._report(Severity.WARNING, node.position, path, message, "hand it over in `environment`")


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
        if name in shape.fields and not _is_null(entry.value)
    }


def merged(base: Node | None, over: Node) -> Node:
    """`over` upon `base`: mappings merge deeply, everything else replaces, null keeps what was there."""
    if base is None:
        return over
    if _is_null(over):
        return base
    if not (isinstance(base, Mapping) and isinstance(over, Mapping)):
        return over
    entries = dict(base.entries)
    for name, entry in over.entries.items():
        below = entries.get(name)
        entries[name] = Entry(entry.key, merged(below.value if below else None, entry.value))
    return Mapping(over.position, entries)


def _is_null(node: Node) -> bool:
    return isinstance(node, Scalar) and node.is_null
