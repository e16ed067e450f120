"""Reading a YAML file into a model, with everything that is wrong in it, each with its place and a remedy.

Text to tree (`yaml_tree`), a walk through the tree for what the model cannot see (`model_walk`), and the
model, whose complaints are put at the nodes that they are about.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from fairlead.formats.model_messages import describe, message_of, path_text
from fairlead.formats.model_walk import is_null, to_data
from fairlead.formats.yaml_tree import MAX_BYTES, Mapping, Node, Path, Position, Scalar, Sequence, compose
from fairlead.model.errors import SpecError
from fairlead.model.shapes import Shape, shape_of_model
from fairlead.model.spec_model import SpecModel
from fairlead.model.spec_problem import Severity, SpecProblem

_MOST_PROBLEMS: Final = 1000

_Model = TypeVar("_Model", bound=SpecModel)


class Reading:
    """One file on its way, or several that become one; `source` is the name that problems show."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._problems: dict[tuple[Severity, Position, str], SpecProblem] = {}

    @property
    def problems(self) -> tuple[SpecProblem, ...]:
        """By place."""
        return tuple(sorted(self._problems.values(), key=lambda each: (each.file, each.line, each.column)))

    @property
    def failed(self) -> bool:
        return any(severity is Severity.ERROR for severity, _, _ in self._problems)

    def report(self, severity: Severity, position: Position, path: Path, message: str, hint: str) -> None:
        """Once for each place and message: merged and aliased nodes come by more than once."""
        key = (severity, position, message)
        if key not in self._problems and len(self._problems) < _MOST_PROBLEMS:
            file = position.file or self._source
            self._problems[key] = SpecProblem(
                severity, file, position.line, position.column, path_text(path), message, hint
            )

    def error(self, position: Position, path: Path, message: str, hint: str) -> None:
        self.report(Severity.ERROR, position, path, message, hint)

    def tree(self, text: str | bytes, wanted: str, *, file: str = "") -> Mapping | None:
        """The file's tree, None where it has none; `wanted` says what belongs into such a file.

        With `file`, its places are shown with that name, and it may be empty.
        """
        decoded = self._decoded(text, file)
        if decoded is None:
            return None
        tree = compose(decoded, file)
        for finding in tree.findings:
            self.error(finding.position, finding.path, finding.message, finding.hint)
        if isinstance(tree.root, Mapping):
            return tree.root
        empty = tree.root is None or is_null(tree.root)
        start = tree.root.position if tree.root else Position(1, 1, file)
        if not tree.findings and not (empty and file):
            message = "the file is empty" if empty else f"a mapping is wanted here, not {describe(tree.root)}"
            self.error(start, (), message, wanted)
        return Mapping(start) if empty and file and not tree.findings else None

    def _decoded(self, text: str | bytes, file: str) -> str | None:
        content = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
        if len(content) > MAX_BYTES:
            message = f"the file has {len(content):,} bytes"
            self.error(Position(1, 1, file), (), message, f"such a file has at most {MAX_BYTES:,}")
            return None
        if isinstance(text, str):
            return text
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            before = content[: error.start].decode()
            position = Position(before.count("\n") + 1, len(before) - before.rfind("\n"), file)
            self.error(
                position, (), f"the byte {content[error.start]:#04x} is not UTF-8", "save the file as UTF-8"
            )
            return None

    def model(
        self,
        root: Mapping,
        model: type[_Model],
        place: Callable[[ErrorDetails], tuple[Node, Position, Path] | None] | None = None,
    ) -> _Model | None:
        """What the tree says, None where the model has complaints.

        `place` says where a complaint belongs, None for nowhere; without it, to the place that it names.
        """
        shape = shape_of_model(model)
        try:
            return model.model_validate(to_data(root, shape))
        except ValidationError as invalid:
            for error in invalid.errors(include_url=False):
                found = place(error) if place else place_of(root, error)
                if found is not None:
                    self._complain(error, *found, shape)
            return None

    def _complain(
        self, error: ErrorDetails, node: Node, position: Position, path: Path, shape: Shape
    ) -> None:
        self.error(position, path, *message_of(error, node, shape.below(path)))

    def check(self, root: Mapping, loc: Path, check: Callable[[], Any]) -> None:
        """What `check` raises as SpecError is an error at that place; with `[key]` at its end, at the key."""
        try:
            check()
        except SpecError as error:
            path = loc[:-1] if loc[-1] == "[key]" else loc
            self.error(find(root, loc)[1], path, str(error), error.hint)


def place_of(root: Mapping, error: ErrorDetails) -> tuple[Node, Position, Path]:
    """Where a complaint of the model belongs."""
    loc = error["loc"]
    node, position, path = find(root, loc)
    return node, position, loc if error["type"] == "missing" else path


def find(root: Mapping, loc: Path) -> tuple[Node, Position, Path]:
    """The node at a place, or the nearest one around it; where that stands; and its key path."""
    node: Node = root
    position = root.position
    for depth, key in enumerate(loc):
        if isinstance(node, Mapping) and key in node.entries:
            entry = node.entries[key]
            node = entry.value
            inline = isinstance(node, Scalar) and not node.is_null and loc[depth + 1 :] != ("[key]",)
            position = node.position if inline else entry.key.position
        elif isinstance(node, Sequence) and isinstance(key, int) and key < len(node.items):
            node = node.items[key]
            position = node.position
        else:
            return node, position, loc[:depth]
    return node, position, loc
