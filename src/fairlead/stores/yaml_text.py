"""Plain data to YAML text, in block style.

Written by hand rather than by the library: what it leaves unquoted must be exactly what `yaml_tree` reads as
a text, and no line may be folded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from fairlead.stores.yaml_tree import plain_value

_SAFE = re.compile(r"[A-Za-z0-9/](?:[A-Za-z0-9_./@=+-]|:(?=[A-Za-z0-9/])| (?=[A-Za-z0-9/]))*")
_LONGEST_KEY = 1000  # YAML finds a key's colon within 1024 characters only


def write_yaml(data: Mapping[str, Any]) -> str:
    """Mappings, lists, texts, numbers, truths and None; a blank line between the parts of the top level."""
    return "\n".join("\n".join(_entry(key, value, "")) + "\n" for key, value in data.items())


def _entry(key: str, value: Any, indent: str) -> Iterator[str]:
    name = quoted(key)
    head = f"{indent}{name}:" if len(name) < _LONGEST_KEY else f"{indent}? {name}\n{indent}:"
    yield from _value(head, value, indent)


def _value(head: str, value: Any, indent: str) -> Iterator[str]:
    """`head` with what follows it: on the same line, or on lines that are further in."""
    if not value or not isinstance(value, Mapping | list | tuple):
        yield f"{head} {_scalar(value)}"
        return
    yield head
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _entry(key, item, indent + "  ")
    else:
        for item in value:
            first, *others = _value(f"{indent}  -", item, indent + "  ")
            if others:  # a collection starts beside its dash
                first, *others = f"{first} {others[0].lstrip()}", *others[1:]
            yield from (first, *others)


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, int | float):
        return repr(value)
    return "{}" if isinstance(value, Mapping) else "[]"


def quoted(text: str) -> str:
    """The text as a scalar: bare where that is safe, else in double quotes."""
    if _SAFE.fullmatch(text) and isinstance(plain_value(text), str):
        return text
    return '"' + "".join(_escaped(char) for char in text) + '"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    if char.isprintable():
        return char
    return f"\\U{ord(char):08x}"
