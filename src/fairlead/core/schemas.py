"""How one JSON Schema differs from another, and what that means to those who rely on it.

A keyword may allow less than before (narrower), more (wider), or something else. Callers make arguments, so
there it breaks to allow less; they read results, so there it breaks to allow more. What cannot be judged
breaks. Texts in a schema (descriptions, defaults, examples) reach the model, so they are for a person to look
at, wherever they stand.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final


class Impact(StrEnum):
    """What a difference means, worst first."""

    BREAKING = "breaking"  # a caller that relied on the old contract may fail
    REVIEW = "review"  # nothing fails, but the model or the user is told something else: look at it
    SAFE = "safe"

    @property
    def rank(self) -> int:
        """0 is the worst."""
        return list(Impact).index(self)


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is different. `part` is its place: `inputSchema.properties.path.type`."""

    part: str
    impact: Impact
    what: str
    before: str | None = None  # texts as they are, all else as JSON; None where there is nothing
    after: str | None = None


class Direction(StrEnum):
    ARGUMENTS = "arguments"
    RESULTS = "results"


class _Absent:
    """In place of a keyword that is not there."""


Step = tuple[str, Any, Any, str, int]
"""A keyword with its values before and after, its place, and how deep that is."""

ABSENT: Final = _Absent()
DEEPEST: Final = 50  # levels that are looked into
_TEXTS: Final = frozenset({"title", "description", "$comment", "examples", "default"})
_HARMLESS: Final = frozenset({"$schema", "$id", "deprecated", "readOnly", "writeOnly"})
_LEAST: Final = frozenset({"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"})
_MOST: Final = frozenset({"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"})
_DEMANDS: Final = frozenset({"const", "format", "multipleOf", "pattern", "uniqueItems"})
_INNER: Final = frozenset({"items", "additionalProperties", "contains", "propertyNames"})
_CHOICES: Final = frozenset({"anyOf", "oneOf", "allOf"})
_DEFINITIONS: Final = frozenset({"$defs", "definitions"})
_STRUCTURE: Final = frozenset(
    {
        *("$ref", "$dynamicRef", "$anchor", "$dynamicAnchor", "not", "if", "then", "else", "prefixItems"),
        *("patternProperties", "dependentRequired", "dependentSchemas", "dependencies", "additionalItems"),
        *("minContains", "maxContains", "unevaluatedProperties", "unevaluatedItems"),
    }
)
LONGEST_NAME: Final = 128  # characters of what is not prose
_NO_TEXTS: Final = frozenset({"type", "format", "pattern", "required", "$ref", "$schema", "$id"})
_TYPES: Final = frozenset({"null", "boolean", "object", "array", "number", "integer", "string"})


def canonical(value: Any) -> str:
    """The same text for the same JSON, whatever the order of keys. Raises RecursionError."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are written alike; 1, 1.0 and true are three values."""
    return canonical(one) == canonical(other)


def shown(value: Any) -> str | None:
    """A value for people."""
    if value is ABSENT:
        return None
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)


def compare_schemas(before: Any, after: Any, place: str, direction: Direction) -> list[Difference]:
    """All that is different; never nothing for schemas that are not the same. Raises RecursionError."""
    return list(_Comparison(direction).schemas(before, after, place, 0))


class _Comparison:
    def __init__(self, direction: Direction) -> None:
        arguments = direction is Direction.ARGUMENTS
        self._narrower = Impact.BREAKING if arguments else Impact.SAFE
        self._wider = Impact.SAFE if arguments else Impact.BREAKING

    def schemas(self, before: Any, after: Any, place: str, depth: int) -> Iterator[Difference]:
        if same(before, after):
            return
        old, new = ({} if value is True else value for value in (before, after))
        if not isinstance(old, dict) or not isinstance(new, dict) or depth > DEEPEST:
            yield _changed(place, before, after)
            return
        told = False
        for name in sorted(old.keys() | new.keys()):
            was, is_ = old.get(name, ABSENT), new.get(name, ABSENT)
            if was is ABSENT or is_ is ABSENT or not same(was, is_):
                for difference in self._keyword((name, was, is_, f"{place}.{name}", depth)):
                    told = True
                    yield difference
        if not told:  # `true` and {}, say
            yield _rewritten(place, before, after)

    def _keyword(self, step: Step) -> Iterator[Difference]:
        """What a keyword says otherwise; never nothing."""
        name, was, is_, place, _ = step
        if name in _TEXTS:
            yield Difference(place, Impact.REVIEW, _verb(was, is_), shown(was), shown(is_))
        elif name in _HARMLESS and not _is_prose(is_):
            yield Difference(place, Impact.SAFE, _verb(was, is_), shown(was), shown(is_))
        elif name == "properties" or name in _DEFINITIONS:
            yield from self._named(step)
        elif name == "required":
            yield from self._required(step)
        elif name == "type":
            yield from self._types(step)
        elif name == "enum":
            yield from self._values(step)
        elif name in _LEAST or name in _MOST:
            yield self._bound(step)
        elif name in _DEMANDS:
            yield self._demand(step)
        elif name in _INNER:
            yield from self._inner(step)
        elif name in _CHOICES:
            yield from self._choices(step)
        elif name in _STRUCTURE:
            yield _changed(place, was, is_)
        else:  # no keyword of JSON Schema: clients may show it, or do something with it
            yield Difference(place, Impact.REVIEW, _verb(was, is_), shown(was), shown(is_))

    def _named(self, step: Step) -> Iterator[Difference]:
        """Properties, or definitions, by name."""
        name, was, is_, place, depth = step
        old, new = ({} if value is ABSENT else value for value in (was, is_))
        if not isinstance(old, dict) or not isinstance(new, dict):
            yield _changed(place, was, is_)
            return
        for each in sorted(old.keys() | new.keys()):
            where = f"{place}.{each}"
            if each not in new:  # a definition alone is nothing: what refers to it has changed, too
                gone = Impact.BREAKING if name == "properties" else Impact.SAFE
                yield Difference(where, gone, "removed", shown(old[each]))
            elif each not in old:
                yield Difference(where, Impact.SAFE, "added", after=shown(new[each]))
                if _is_prose(each):
                    yield Difference(place, Impact.REVIEW, "new text", after=each)
                yield from _new_texts(new[each], where)
            else:
                yield from self.schemas(old[each], new[each], where, depth + 1)
        if old.keys() == new.keys() and same(old, new):
            yield _rewritten(place, was, is_)  # there were none, and it says so now

    def _required(self, step: Step) -> Iterator[Difference]:
        _, was, is_, place, _ = step
        old, new = (_texts(value) for value in (was, is_))
        if old is None or new is None:
            yield _changed(place, was, is_)
            return
        for name in sorted(new - old):
            yield Difference(place, self._narrower, f"{name!r} is required now", shown(was), shown(is_))
        for name in sorted(old - new):
            yield Difference(place, self._wider, f"{name!r} is optional now", shown(was), shown(is_))
        if old == new:
            yield _rewritten(place, was, is_)

    def _types(self, step: Step) -> Iterator[Difference]:
        _, was, is_, place, _ = step
        old, new = _types(was), _types(is_)
        if old is None or new is None:
            yield _changed(place, was, is_)
        elif old == new:
            yield _rewritten(place, was, is_)
        else:
            yield self._moved(step, less=bool(old - new), more=bool(new - old))

    def _values(self, step: Step) -> Iterator[Difference]:
        """An enumeration. New values are texts as well."""
        _, was, is_, place, _ = step
        if was is ABSENT or is_ is ABSENT:
            yield self._demand(step)
        elif not isinstance(was, list) or not isinstance(is_, list):
            yield _changed(place, was, is_)
        else:
            old, new = ({canonical(value) for value in values} for values in (was, is_))
            if old == new:
                yield _rewritten(place, was, is_)
                return
            yield self._moved(step, less=bool(old - new), more=bool(new - old))
            if new - old:
                added = [value for value in is_ if canonical(value) not in old]
                yield Difference(place, Impact.REVIEW, "new values", after=shown(added))

    def _bound(self, step: Step) -> Difference:
        name, was, is_, place, _ = step
        if was is ABSENT or is_ is ABSENT:
            return self._demand(step)
        if not _is_number(was) or not _is_number(is_):
            return _changed(place, was, is_)
        if was == is_:
            return _rewritten(place, was, is_)
        less = (is_ > was) == (name in _LEAST)
        return self._moved(step, less=less, more=not less)

    def _demand(self, step: Step) -> Difference:
        """Something that values must be: without it they may be more, with another one they are others."""
        _, was, is_, _, _ = step
        return self._moved(step, less=is_ is not ABSENT, more=was is not ABSENT)

    def _inner(self, step: Step) -> Iterator[Difference]:
        """A schema below; absent is as good as one that allows everything."""
        _, was, is_, place, depth = step
        old, new = (True if value is ABSENT else value for value in (was, is_))
        if same(old, new) or (old is True and new == {}) or (old == {} and new is True):
            yield _rewritten(place, was, is_)
        elif old is False or new is False:
            yield self._moved(step, less=new is False, more=old is False)
            yield from _new_texts(new, place)
        else:
            yield from self.schemas(old, new, place, depth + 1)

    def _choices(self, step: Step) -> Iterator[Difference]:
        name, was, is_, place, depth = step
        if was is ABSENT or is_ is ABSENT:
            yield self._demand(step)
            yield from _new_texts({name: is_}, place.rpartition(".")[0])
        elif not isinstance(was, list) or not isinstance(is_, list):
            yield _changed(place, was, is_)
        elif sorted(map(canonical, was)) == sorted(map(canonical, is_)):
            yield _rewritten(place, was, is_)
        elif len(was) == len(is_):
            for number, (one, other) in enumerate(zip(was, is_, strict=True)):
                yield from self.schemas(one, other, f"{place}.{number}", depth + 1)
        else:
            old, new = ({canonical(value) for value in values} for values in (was, is_))
            less, more = bool(old - new), bool(new - old)
            if name == "allOf":
                less, more = more, less
            if old == new:
                yield _rewritten(place, was, is_)
                return
            yield self._moved(step, less=less, more=more)
            for value in is_:
                if canonical(value) not in old:
                    yield from _new_texts(value, place)

    def _moved(self, step: Step, *, less: bool, more: bool) -> Difference:
        """It allows less, more, or (both) something else."""
        _, was, is_, place, _ = step
        if less and more:
            return _changed(place, was, is_)
        impact, how = (self._narrower, "narrower") if less else (self._wider, "wider")
        return Difference(place, impact, f"{_verb(was, is_)}, {how}", shown(was), shown(is_))


def _verb(was: Any, is_: Any) -> str:
    return "added" if was is ABSENT else "removed" if is_ is ABSENT else "changed"


def _changed(place: str, was: Any, is_: Any) -> Difference:
    return Difference(place, Impact.BREAKING, _verb(was, is_), shown(was), shown(is_))


def _rewritten(place: str, was: Any, is_: Any) -> Difference:
    return Difference(place, Impact.SAFE, "means the same", shown(was), shown(is_))


def _new_texts(schema: Any, place: str) -> Iterator[Difference]:
    """What a schema that was not there before tells the model."""
    texts = list(_texts_in(schema, ""))
    if texts:
        yield Difference(place, Impact.REVIEW, "new text", after="\n".join(texts))


def _texts_in(value: Any, name: str) -> Iterator[str]:
    if isinstance(value, str):
        yield f"{name}: {value}" if name else value
    elif isinstance(value, list):
        for item in value:
            yield from _texts_in(item, name)
    elif isinstance(value, dict):
        for key in sorted(value):
            if _is_prose(key):
                yield key
            if key not in _NO_TEXTS or isinstance(value[key], dict) or _is_prose(value[key]):
                yield from _texts_in(value[key], key)


def _is_prose(value: Any) -> bool:
    """Whether what should be a name, a pattern or an address could tell a reader something else."""
    if isinstance(value, list):
        return any(map(_is_prose, value))
    return isinstance(value, str) and (len(value) > LONGEST_NAME or len(value.split()) > 1)


def _texts(value: Any) -> set[str] | None:
    """A list of texts as a set, absent as the empty one; None when it is something else."""
    if value is ABSENT:
        return set()
    return set(value) if isinstance(value, list) and _all_text(value) else None


def _types(value: Any) -> set[str] | None:
    """All types that are allowed; None when that is not to be told."""
    if value is ABSENT:
        return set(_TYPES)
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not _all_text(names) or not _TYPES.issuperset(names):
        return None
    return set(names) | ({"integer"} if "number" in names else set())


def _all_text(values: Iterable[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
