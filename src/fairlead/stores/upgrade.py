"""An original fleet file, rewritten in today's form.

The text is edited where it must be, and is otherwise left alone to the last blank: numbers get their unit,
and a server's `id`, which says nothing any more, becomes a comment. What is not in force stays; loading
warns of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from fairlead.formats.yaml_tree import Mapping, Node, Scalar, Sequence, compose
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.model.fleet import FleetFile
from fairlead.model.shapes import Shape, shape_of_model
from fairlead.stores.fleet_file import load


@dataclass(frozen=True, slots=True, order=True)
class _Edit:
    start: int
    end: int
    text: str


def upgrade(text: str, source: str = "the file") -> str:
    """The same fleet in today's form. Raises `ProblemError` with every error when the file does not load."""
    errors = load(text, source).errors
    if errors:
        detail = "\n".join(map(str, errors))
        raise ProblemError(Problem("fleet-file", "the fleet file has errors", detail, 422, Fault.CLIENT))
    root = compose(text).root
    assert root is not None, "it has just been loaded"
    # A set, since a node that is aliased or merged comes by more than once.
    for edit in sorted({*_units(text, root, shape_of_model(FleetFile)), *_ids(text, root)}, reverse=True):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text


def _units(text: str, node: Node, shape: Shape) -> Iterator[_Edit]:
    match node:
        case Mapping():
            for name, entry in node.entries.items():
                yield from _units(text, entry.value, shape.at(name))
        case Sequence():
            for index, item in enumerate(node.items):
                yield from _units(text, item, shape.at(index))
        case Scalar() if shape.unit and shape.unit.is_bare(node.text):
            start = text.rfind(node.text, node.start, node.end)  # behind an anchor, between quotes
            if start >= 0:
                fresh = shape.unit.format(shape.unit.parse(node.text))
                yield _Edit(start, start + len(node.text), fresh)


def _ids(text: str, root: Node) -> Iterator[_Edit]:
    assert isinstance(root, Mapping)
    servers = root.entries["servers"].value
    assert isinstance(servers, Mapping)
    for server in servers.entries.values():
        if isinstance(server.value, Mapping) and (entry := server.value.entries.get("id")):
            line_start = text.rfind("\n", 0, entry.key.start) + 1
            line = text[line_start : entry.value.end] if isinstance(entry.value, Scalar) else ""
            if re.fullmatch(r" *id *:[^\n&]*", line):  # alone on its line, and no anchor that others need
                yield _Edit(entry.key.start, entry.key.start, "# ")
