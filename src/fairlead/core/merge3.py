"""Three versions of an object compared by owned key: what Git and what others changed since the last time.

How it works. The versions are walked together from the top. Where the live and the desired one both have a
mapping, their keys are compared one by one; everywhere else the place is compared as one value, so that a
difference stands at the highest place at which the versions part: a deletion against a change, or a change of
type, is one conflict there. Which keys count depends on who owns the object. If all of it is Git's, every
key does. Else only those that the base or the desired version says: what else is there is somebody else's.
It is neither compared nor touched, and where Git drops a mapping that others have put something into, its own
keys are taken out one by one.

A list is one value, unless a merge key is declared for it and all its items are mappings with a text of their
own there; then it is walked like a mapping whose keys are `[NAME=value]`, and its order does not count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fairlead.core.overrides import ABSENT, Document, Key, Nothing, same
from fairlead.model.reconciling import EXECUTABLE, Case, Difference

Tree = Mapping[str, Any]


def _no_list_is_keyed(_: Key) -> str | None:
    return None


def _nothing_is_ignored(_: Key) -> bool:
    return False


def compare(
    base: Tree | None,
    live: Tree | Nothing,
    desired: Tree | Nothing,
    *,
    owned_whole: bool,
    list_keys: Callable[[Key], str | None] = _no_list_is_keyed,
    ignored: Callable[[Key], bool] = _nothing_is_ignored,
    object_id: str = "",
) -> list[Difference]:
    """Where the versions of an object differ; empty where `live` is as `desired`.

    A version is its document, or `ABSENT`; `base` is None where nothing is applied. `list_keys` gives the
    merge key of the list at a key. What is `ignored` is in no difference's value either.
    """
    if base is None and desired is ABSENT:
        return []
    comparison = _Comparison(object_id, base is None, owned_whole, list_keys, ignored)
    return comparison.walk((), ABSENT if base is None else base, live, desired)


@dataclass(frozen=True, slots=True)
class _Comparison:
    object: str
    never_applied: bool
    owned_whole: bool
    list_keys: Callable[[Key], str | None]
    ignored: Callable[[Key], bool]

    def walk(self, key: Key, base: Any, live: Any, desired: Any) -> list[Difference]:
        if self.ignored(key):
            return []
        opened = self._opened(key, base, live, desired)
        if opened is None:
            return self._as_one(key, base, live, desired)
        bases, lives, desireds = opened
        names = dict.fromkeys([*desireds, *bases, *(lives if self.owned_whole else ())])
        return [
            difference
            for name in names
            for difference in self.walk(
                (*key, name), *(each.get(name, ABSENT) for each in (bases, lives, desireds))
            )
        ]

    def _as_one(self, key: Key, *versions: Any) -> list[Difference]:
        base, live, desired = (self._without_ignored(key, version) for version in versions)
        if _same(live, desired):
            return []
        if self.never_applied:
            case = Case.DEPLOY if live is ABSENT else Case.ADOPT
        elif _same(live, base):
            case = Case.DEPLOY
        else:
            case = Case.DRIFT if _same(desired, base) else Case.CONFLICT
        return [Difference(self.object, key, case, base, live, desired)]

    def _opened(self, key: Key, base: Any, live: Any, desired: Any) -> tuple[Tree, Tree, Tree] | None:
        """The versions' members, where they are to be compared one by one."""
        name = self.list_keys(key) if isinstance(live, list) else None
        if name and not all(each is ABSENT or items_by(name, each) is not None for each in (base, desired)):
            return None
        lives, bases, desireds = (_members(name, each) for each in (live, base, desired))
        if lives is None:
            return None
        if (
            desired is ABSENT
            and bases is not None
            and not self.owned_whole
            and self._foreign(key, bases, lives)
        ):
            return bases, lives, {}
        return None if desireds is None else (bases or {}, lives, desireds)

    def _foreign(self, key: Key, bases: Tree, lives: Tree) -> bool:
        """Whether something in the live version is not Git's to take away."""
        for name, live in lives.items():
            at = (*key, name)
            if name not in bases or self.ignored(at):
                return True
            opened = self._opened(at, bases[name], live, {} if isinstance(live, Mapping) else live)
            if opened is not None and self._foreign(at, opened[0], opened[1]):
                return True
        return False

    def _without_ignored(self, key: Key, value: Any) -> Any:
        name = self.list_keys(key) if isinstance(value, list) else None
        members = _members(name, value)
        if members is None or self.ignored is _nothing_is_ignored:
            return value
        kept = {
            part: self._without_ignored((*key, part), item)
            for part, item in members.items()
            if not self.ignored((*key, part))
        }
        return list(kept.values()) if name else kept


def compare_modes(
    base: bool | None,
    *,
    live: bool,
    desired: bool,
    object_id: str,
) -> list[Difference]:
    """Whether a file that is there may be executed; `base` is None where nothing is applied."""
    if live == desired:
        return []
    case = Case.ADOPT if base is None else Case.DEPLOY if live == base else Case.DRIFT
    return [Difference(object_id, EXECUTABLE, case, ABSENT if base is None else base, live, desired)]


def items_by(name: str, value: Any) -> Document | None:
    """A list's items by the part that each has in a key; None unless all have a text of their own there."""
    if not isinstance(value, list):
        return None
    texts = [item.get(name) if isinstance(item, Mapping) else None for item in value]
    if not all(isinstance(text, str) for text in texts) or len(set(texts)) < len(texts):
        return None
    return {f"[{name}={text}]": item for text, item in zip(texts, value, strict=True)}


def _members(name: str | None, value: Any) -> Tree | None:
    if name:
        return items_by(name, value)
    return value if isinstance(value, Mapping) else None


def _same(one: Any, other: Any) -> bool:
    if one is ABSENT or other is ABSENT:
        return one is other
    if type(one) is type(other) and not isinstance(one, (list, Mapping)):
        return bool(one == other)
    return same(one, other)
