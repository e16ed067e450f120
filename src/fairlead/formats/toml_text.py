"""JSON data to TOML text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from fairlead.core.overrides import Key
from fairlead.formats.place import DocumentError

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")


def name(text: str) -> str:
    return text if _BARE.fullmatch(text) else _string(text)


def dotted(path: Key) -> str:
    return ".".join(map(name, path))


def inline(value: Any) -> str:
    """On one line. Raises `DocumentError` for null, which TOML does not have."""
    match value:
        case None:
            raise DocumentError("TOML has no null", "take the key away instead")
        case bool():
            return "true" if value else "false"
        case str():
            return _string(value)
        case Mapping():
            pairs = ", ".join(f"{name(key)} = {inline(item)}" for key, item in value.items())
            return f"{{ {pairs} }}" if pairs else "{}"
        case list():
            return "[" + ", ".join(map(inline, value)) + "]"
    return repr(value)


def pair(path: Key, value: Any) -> str:
    """The line, or lines, of a key with its value."""
    return f"{dotted(path)} = {_lines(value) if isinstance(value, str) else inline(value)}"


def section(path: Key, table: Mapping[str, Any], *, item: bool = False) -> Iterator[str]:
    """The lines of a table, and of those below it, with an empty one before each. `item`: of an array."""
    own, below = parted(table)
    if path and (own or item or not below):
        yield from ("", f"[[{dotted(path)}]]" if item else f"[{dotted(path)}]")
    yield from (pair((key,), value) for key, value in own.items())
    for key, value in below.items():
        if isinstance(value, Mapping):
            yield from section((*path, key), value)
        else:
            for each in value:
                yield from section((*path, key), each, item=True)


def parted(table: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is written as a key with a value, and what as a section of its own."""
    below = {
        key: value
        for key, value in table.items()
        if (isinstance(value, Mapping) and value) or is_tables(value)
    }
    return {key: value for key, value in table.items() if key not in below}, below


def is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, Mapping) for item in value)


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _lines(text: str) -> str:
    """Over several lines, where that is nicer to read."""
    lines = text.split("\n")
    fits = len(lines) > 1 and all(line.isprintable() for line in lines)
    if not fits or '"""' in text or "\\" in text or text.endswith('"'):
        return _string(text)
    return '"""\n' + text + '"""'
