"""YAML: documents of YAML 1.2's core schema, read strictly."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from fairlead.formats import yaml_tree
from fairlead.formats.place import DocumentError, decoded, error_at
from fairlead.formats.yaml_edit import edited
from fairlead.formats.yaml_marks import marked
from fairlead.formats.yaml_text import write_yaml
from fairlead.formats.yaml_tree import Node, Scalar, Sequence, compose, plain_value

_ALONE: Final = re.compile(r"\r(?!\n)")


def read(content: bytes) -> dict[str, Any]:
    tree = compose(decoded(content).body)
    if tree.findings:
        first = tree.findings[0]
        raise DocumentError(first.message, first.hint, line=first.position.line, column=first.position.column)
    if tree.root is None or (isinstance(tree.root, Scalar) and tree.root.is_null):
        return {}
    if not isinstance(tree.root, yaml_tree.Mapping):
        at = tree.root.position
        raise DocumentError(
            "a mapping is wanted at the top", "write `key: value`", line=at.line, column=at.column
        )
    data = plain(tree.root)
    assert isinstance(data, dict)
    return data


def plain(node: Node) -> Any:
    """The node as JSON data."""
    if isinstance(node, Scalar):
        return plain_value(node.text) if node.plain else node.text
    if isinstance(node, Sequence):
        return [plain(item) for item in node.items]
    return {name: plain(entry.value) for name, entry in node.entries.items()}


def rewrites(content: bytes, wanted: Mapping[str, Any]) -> Iterator[bytes]:
    """The content with what differs from `wanted` changed in place.

    A text of several lines can swallow a comment below it, so that it must stand on one line; and aliases can
    be in the way, which then are written out.
    """
    text = decoded(content)
    if alone := _ALONE.search(text.body):
        message = "a carriage return ends a line here, without a newline"
        raise error_at(text.body, alone.start(), message, "save the file with other line ends")
    root = marked(text.body)
    for lines, expand in ((True, False), (False, False), (False, True)):
        yield text.encoded(edited(text, root, wanted, lines=lines, expand=expand))


def write(document: Mapping[str, Any]) -> bytes:
    return write_yaml(document).encode()
