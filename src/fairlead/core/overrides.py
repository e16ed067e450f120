"""Live edits by key on top of the accepted fleet spec. Pure, over JSON documents in the fleet file's words.

A document is a tree of mappings; everything else (lists, texts, numbers) is an atom. A key is the path to a
place in it. An override remembers what the accepted document had at its key when the edit was made (`was`),
so that a later change of the same key by the owner of that document can be told from the edit itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from fairlead.model.errors import SpecError
from fairlead.model.reports import Override

Key = tuple[str, ...]
Document = dict[str, Any]

_PLAIN: Final = re.compile(r"[\w-]+")
_PART: Final = re.compile(r'([\w-]+|"(?:[^"\\]|\\.)*")(?:\.(?=.)|\Z)', re.DOTALL)


class Nothing(Enum):
    """What is no JSON value."""

    REMOVED = "removed"  # an edit takes its key away
    ABSENT = "absent"  # a document has nothing at a key


REMOVED: Final = Nothing.REMOVED
ABSENT: Final = Nothing.ABSENT


@dataclass(frozen=True, slots=True)
class Edit:
    """Set one key to a JSON value, or take it away (`REMOVED`)."""

    key: Key
    value: Any


def key_text(key: Key) -> str:
    """`servers.filesystem.scaling.maxInstances`; a part with other characters stands in JSON's quotes."""
    return ".".join(part if _PLAIN.fullmatch(part) else json.dumps(part) for part in key)


def parse_key(text: str) -> Key:
    """The key that `key_text` wrote. Raises `SpecError`."""
    parts: list[str] = []
    at = 0
    while match := _PART.match(text, at):
        at = match.end()
        try:
            parts.append(json.loads(match[1]) if match[1].startswith('"') else match[1])
        except ValueError:
            break
        if at == len(text):
            return tuple(parts)
    raise SpecError(
        f"{text[:200]!r} is not a key", 'write it like servers.a.scaling.maxInstances or metadata."a.b"'
    )


def edits(overrides: Iterable[Override]) -> list[Edit]:
    return [Edit(parse_key(each.key), REMOVED if each.removed else each.value) for each in overrides]


def lookup(document: Document, key: Key) -> Any:
    """The value at `key`, or `ABSENT`."""
    value: Any = document
    for part in key:
        if not isinstance(value, dict) or part not in value:
            return ABSENT
        value = value[part]
    return value


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal; unlike Python's `==`, true is not 1."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def diff(base: Document, wanted: Document, at: Key = ()) -> list[Edit]:
    """The fewest edits by key that make `wanted` of `base`."""
    found: list[Edit] = []
    for name in base | wanted:
        key = (*at, name)
        old, new = base.get(name, ABSENT), wanted.get(name, REMOVED)
        if isinstance(old, dict) and isinstance(new, dict):
            found += diff(old, new, key)
        elif old is ABSENT or new is REMOVED or not same(old, new):
            found.append(Edit(key, new))
    return found


def apply(base: Document, changes: Iterable[Edit]) -> Document:
    """`base` with the edits, in their order; `base` itself stays as it is.

    Mappings on the way to a key are made where they lack. Taking away what is not there does nothing.
    """
    for change in changes:
        base = _with(base, change.key, change.value)
    return base


def _with(base: Document, key: Key, value: Any) -> Document:
    name, rest = key[0], key[1:]
    if rest:
        below = base.get(name)
        if not isinstance(below, dict):
            if value is REMOVED:
                return base
            below = {}
        return base | {name: _with(below, rest, value)}
    if value is REMOVED:
        return {each: item for each, item in base.items() if each != name}
    return base | {name: value}


def said_at(key: Key, *, removed: bool, base: Document, said: Document) -> Any:
    """What the owner of the accepted document has at a key; None if nothing.

    `said` is the document as written; in `base` its `defaults` are filled into each server. The removal of a
    server is about the server's own entry, not about the defaults of all.
    """
    found = lookup(said if removed and key[0] == "servers" and len(key) == 2 else base, key)
    return None if found is ABSENT else found


def rebase(
    overrides: Sequence[Override], base: Document, said: Document
) -> tuple[tuple[Override, ...], tuple[Override, ...]]:
    """Those that still stand on a new accepted document, and those that its owner has overtaken.

    An override falls when the document now has something else at its key than it had, or when the server
    or toolset that it is about is gone. For `base` and `said` see `said_at`.
    """
    added = {edit.key for edit in edits(overrides) if edit.value is not REMOVED}
    kept: list[Override] = []
    dropped: list[Override] = []
    for override in overrides:
        key = parse_key(override.key)
        stands = same(said_at(key, removed=override.removed, base=base, said=said), override.was)
        about = _about(key)
        if about is not None and about not in added and lookup(base, about) is ABSENT:
            stands = False
        (kept if stands else dropped).append(override)
    return tuple(kept), tuple(dropped)


def _about(key: Key) -> Key | None:
    """The server or toolset that a key is about, unless it adds or removes that itself."""
    if key[0] in ("servers", "toolsets") and len(key) > 2:
        return key[:2]
    return ("servers", key[2]) if key[:2] == ("loadBalancing", "weights") and len(key) == 3 else None
