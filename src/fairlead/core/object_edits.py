"""Edits of a whole object: as `core.overrides` has them, and of the object itself, and of a list's items.

An empty key is the object; `[NAME=value]` in a key is that item of a list, see `core.merge3`. Edits of
`EXECUTABLE` concern no document.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from fairlead.core.overrides import ABSENT, REMOVED, Edit, Key, Nothing, parse_key, same
from fairlead.model.reconciling import EXECUTABLE, Difference

Tree = Mapping[str, Any]

_ITEM: Final = re.compile(r"\[([^=]+)=(.*)\]", re.DOTALL)


def edit(key: Key, value: Any) -> Edit:
    """To make what is at `key` the value, or nothing if it is `ABSENT`."""
    return Edit(key, REMOVED if value is ABSENT else value)


def merged(document: Tree | Nothing, edits: Iterable[Edit]) -> Tree | Nothing:
    """The document, or `ABSENT`, with the edits in their order. It stays as it is itself."""
    for change in edits:
        if change.key == EXECUTABLE:
            continue
        if not change.key:
            document = ABSENT if change.value is REMOVED else change.value
        elif document is not ABSENT or change.value is not REMOVED:
            document = _with({} if document is ABSENT else document, change.key, change.value)
    return document


def plain(document: Tree | Nothing, edits: Iterable[Edit]) -> list[Edit]:
    """The same edits of this document, those of lists' items as edits of the whole lists."""
    found: dict[Key, Edit] = {}
    for change in edits:
        if change.key == EXECUTABLE:
            continue
        key = _down_to_a_list(document, change.key)
        document = merged(document, [change])
        found[key] = change if key == change.key else Edit(key, _value_at(document, key))
    return list(found.values())


def mode_of(edits: Iterable[Edit]) -> bool | None:
    """Whether the file is to be executable; None where no edit says."""
    return next((bool(change.value) for change in edits if change.key == EXECUTABLE), None)


def next_base(
    base: Tree | None, desired: Tree | Nothing, left: Iterable[Difference]
) -> Tree | Nothing | None:
    """What counts as applied after a sync that made all differences go away but those that are `left`.

    These keep the base that they have. `ABSENT`, if the object is Git's no more: forget its base. None, if
    nothing is applied yet.
    """
    kept = list(left)
    if any(not difference.key for difference in kept):
        return base
    return merged(desired, [edit(difference.key, difference.base) for difference in kept])


def kept_edits(
    keys: Iterable[str], document: Tree, live: Tree, desired: Tree | Nothing = ABSENT
) -> tuple[str, ...]:
    """Those live edits, by dotted key, that a document has as they are live, and that Git does not say.

    `desired` is `ABSENT` where it does not matter what Git says.
    """
    found = []
    for text in keys:
        key = parse_key(text)
        is_gits = desired is not ABSENT and equal(at(document, key), at(desired, key))
        if equal(at(document, key), at(live, key)) and not is_gits:
            found.append(text)
    return tuple(found)


def at(document: Any, key: Sequence[str]) -> Any:
    """The value at a key, or `ABSENT`."""
    for part in key:
        if not isinstance(document, Mapping) or part not in document:
            return ABSENT
        document = document[part]
    return document


def equal(one: Any, other: Any) -> bool:
    """Of JSON values, or `ABSENT`."""
    if isinstance(one, Nothing) or isinstance(other, Nothing):
        return one is other
    return same(one, other)


def _down_to_a_list(document: Any, key: Key) -> Key:
    for at, part in enumerate(key):
        if isinstance(document, list):
            return key[:at]
        document = document.get(part) if isinstance(document, Mapping) else None
    return key


def _value_at(document: Any, key: Key) -> Any:
    for part in key:
        document = document[part]
    return document


def _with(value: Any, key: Key, new: Any) -> Any:
    """The value, with something else at a place in it; mappings on the way to it are made where they lack."""
    part, rest = key[0], key[1:]
    if isinstance(value, list) and (item := _ITEM.fullmatch(part)):
        return _with_item(value, item[1], item[2], rest, new)
    if not isinstance(value, Mapping):
        return value if new is REMOVED else _with({}, key, new)
    if rest and (part in value or new is not REMOVED):
        return {**value, part: _with(value.get(part), rest, new)}
    if new is REMOVED:
        return {name: item for name, item in value.items() if name != part}
    return {**value, part: new}


def _with_item(items: list[Any], name: str, text: str, rest: Key, new: Any) -> list[Any]:
    """The list with one item changed, taken out, or put at its end."""
    found = [isinstance(item, Mapping) and item.get(name) == text for item in items]
    if new is REMOVED and not rest:
        return [item for item, is_it in zip(items, found, strict=True) if not is_it]
    if not any(found):
        return items if new is REMOVED else [*items, _with({name: text}, rest, new) if rest else new]
    return [
        item if not is_it else _with(item, rest, new) if rest else new
        for item, is_it in zip(items, found, strict=True)
    ]
