"""Plain data to YAML text, in block style.

Written by hand rather than by the library: what it leaves unquoted must be exactly what `yaml_tree` reads as
a text, and no line may be folded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fairlead.formats.yaml_tree import plain_value

_SAFE = re.compile(r"[A-Za-z0-9/](?:[A-Za-z0-9_./@=+-]|:(?=[A-Za-z0-9/])| (?=[A-Za-z0-9/]))*")
_LONGEST_KEY = 1000  # YAML finds a key's colon within 1024 characters only
_ESCAPES: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


@dataclass(frozen=True, slots=True)
class Style:
    """How far a mapping's and a list's entries are further in than their key."""

    mapping: str = "  "
    list: str = "  "
    lines: bool = True  # a text of several lines may stand on several lines


PLAIN: Final = Style()


def write_yaml(data: Mapping[str, Any]) -> str:
    """Mappings, lists, texts, numbers, truths and None; a blank line between the parts of the top level."""
    return "\n".join("\n".join(entry_lines(key, value, "")) + "\n" for key, value in data.items())


def entry_lines(key: str, value: Any, indent: str, style: Style = PLAIN) -> Iterator[str]:
    """The lines of one member of a mapping."""
    name = quoted(key)
    head = f"{indent}{name}:" if len(name) < _LONGEST_KEY else f"{indent}? {name}\n{indent}:"
    yield from _value(head, value, indent, style)


def item_lines(value: Any, indent: str, style: Style = PLAIN) -> Iterator[str]:
    """The lines of one item of a list. A collection starts beside its dash."""
    dash = f"{indent}-"
    first, *others = _value(dash, value, indent, PLAIN, style)
    if first == dash:
        first, *others = f"{first} {others[0].lstrip()}", *others[1:]
    yield from (first, *others)


def _value(head: str, value: Any, indent: str, own: Style, below: Style | None = None) -> Iterator[str]:
    """`head` with what follows it: on the same line, or on lines that are further in."""
    below = below or own
    if isinstance(value, Mapping) and value:
        yield head
        for key, item in value.items():
            yield from entry_lines(key, item, indent + own.mapping, below)
    elif isinstance(value, list | tuple) and value:
        yield head
        for item in value:
            yield from item_lines(item, indent + own.list, below)
    elif isinstance(value, str) and below.lines and _fits_lines(value):
        yield f"{head} |" + ("" if value.endswith("\n") else "-")
        for line in value.removesuffix("\n").split("\n"):
            yield indent + "  " + line if line else ""
    else:
        yield f"{head} {inline(value)}"


def inline(value: Any, *, bare: bool = True) -> str:
    """On one line, between brackets where it is no scalar. Texts in quotes, unless `bare` ones will do."""
    if isinstance(value, str):
        return quoted(value) if bare else in_quotes(value)
    if isinstance(value, Mapping):
        pairs = (f"{inline(name)}: {inline(item, bare=False)}" for name, item in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(inline(item, bare=False) for item in value) + "]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return repr(value)


def quoted(text: str) -> str:
    """The text as a scalar: bare where that is safe, else in double quotes."""
    if _SAFE.fullmatch(text) and isinstance(plain_value(text), str):
        return text
    return in_quotes(text)


def in_quotes(text: str) -> str:
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(char: str) -> str:
    return _ESCAPES.get(char) or (char if char.isprintable() else f"\\U{ord(char):08x}")


def _fits_lines(text: str) -> bool:
    """Whether it can be written line by line, and is nicer to read so."""
    lines = text.removesuffix("\n").split("\n")
    return (
        len(lines) > 1
        and all(line.isprintable() and (not line or not line.isspace()) for line in lines)
        and bool(lines[-1])
        and not lines[0].startswith(" ")
        and bool(lines[0])
    )
