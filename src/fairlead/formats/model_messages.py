"""A model's complaints in the words of the file it is read from: what is wrong, and what would be right."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from itertools import islice

from pydantic_core import ErrorDetails

from fairlead.formats.yaml_tree import Mapping, Node, Path, Scalar
from fairlead.model.errors import SpecError
from fairlead.model.shapes import Shape

_MAPPING = ("a mapping", "write lines of `key: value` below it")
_WANTED = {
    "bool_type": ("true or false", "write true or false, without quotes"),
    "int_type": ("a whole number", "write digits, without quotes"),
    "int_from_float": ("a whole number", "write digits, without a point"),
    "float_type": ("a number", "write digits, without quotes"),
    "string_type": ("a text", 'write one, "" for an empty one'),
    "tuple_type": ("a list", "write lines of `- item` below it, or [item, item]"),
    "dict_type": _MAPPING,
    "model_type": _MAPPING,
}
_MOST_NAMES = 10
_BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}


def message_of(error: ErrorDetails, node: Node, shape: Shape) -> tuple[str, str]:
    """`node` is what stands at the error's place, or around it. No text that may hold a secret appears."""
    context = error.get("ctx", {})
    if isinstance(cause := context.get("error"), SpecError):
        return str(cause), cause.hint
    if error["type"] in _WANTED:
        wanted, hint = _WANTED[error["type"]]
        if shape.unit:
            wanted, hint = shape.unit.kind, shape.unit.hint
        shown = repr(node.text[:40]) if isinstance(node, Scalar) and shape.kind == "value" else describe(node)
        return f"{wanted} is wanted here, not {shown}", hint
    if choices := re.findall("'([^']*)'", str(context.get("expected", ""))):
        return _choice(node, choices)
    for bound, words in _BOUNDS.items():
        if bound in context:
            limit = shape.unit.format(context[bound]) if shape.unit else f"{context[bound]:,.10g}"
            return "out of bounds", f"write {words} {limit}"
    if error["type"] == "missing":
        return "is missing", f"add `{error['loc'][-1]}:`"
    if error["type"] == "string_pattern_mismatch":
        return "has a character that cannot stand here, or is too long", f"it must match {context['pattern']}"
    return error["msg"], "see the schema"


def some(names: Collection[str]) -> str:
    """The first ten, and how many more there are."""
    more = [f"and {len(names) - _MOST_NAMES} more"] if len(names) > _MOST_NAMES else []
    return ", ".join([*islice(names, _MOST_NAMES), *more]) or "none"


def describe(node: Node | None) -> str:
    if isinstance(node, Scalar):
        return "nothing" if node.is_null else "a text"
    return "a mapping" if isinstance(node, Mapping) else "a list"


def _choice(node: Node, choices: list[str]) -> tuple[str, str]:
    found = node.text[:40] if isinstance(node, Scalar) else ""
    meant = difflib.get_close_matches(found.lower(), choices, n=1)
    said = repr(found) if found else describe(node)
    return f"{said} is not known here", f"write {meant[0] if meant else ' or '.join(choices)}"


def path_text(path: Path) -> str:
    """`servers.context7.args[1]`; a key with other characters stands in quotes."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = part if re.fullmatch(r"[\w-]{1,80}", part) else repr(part[:80])
            text += f".{name}" if text else name
    return text
