"""Patterns of places: which keys of which objects a rule or a hold is about.

A pattern is `OBJECT#KEY`, either part may be missing: `.mcp.json#mcpServers.**`, `.claude/**`,
`#permissions.allow`. For a fleet, whose one object is `fleet`, a pattern without `#` is a key such as
`servers.*.args`, unless it has a slash or starts with a dot; for files it is an object.
An object is a path: parts between slashes. A key has parts between dots; one with other characters stands in
JSON's quotes, as `core.overrides.key_text` writes it. `*` in a part stands for any characters, `?` for one,
and the part `**` for any number of parts. A pattern covers everything below the place that it names, too.

Matching is the greedy search with one point to go back to, for parts and for characters in a part: its time
grows with the product of both lengths, whatever the pattern is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fairlead.core.overrides import Key
from fairlead.model.errors import SpecError

LONGEST: Final = 1024
"""Characters of a pattern."""

_HINT: Final = "write it like servers.*.args, .mcp.json#mcpServers.**, or .claude/**"
_OBJECT: Final = re.compile(r'[^"#]*#')
_KEY_PART: Final = re.compile(r'("(?:[^"\\]|\\.)*"|[^."\s]+)(?:\.(?=.)|\Z)', re.DOTALL)

Part = tuple[str, bool]
"""Its text, and whether its stars are wildcards."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """`object` or `key` is None where the pattern does not speak of it: it is about all of them then."""

    object: tuple[Part, ...] | None
    key: tuple[Part, ...] | None

    @classmethod
    def parse(cls, text: str, *, fleet: bool) -> Pattern:
        """Raises `SpecError`."""
        if len(text) > LONGEST:
            raise SpecError(f"a pattern of {len(text)} characters", f"write at most {LONGEST} of them")
        if not text or text == "#" or "\0" in text:
            raise SpecError(f"{text!r} is not a pattern", _HINT)
        if found := _OBJECT.match(text):
            one, other = found[0][:-1], text[found.end() :]
            return cls(_parse_object(one) if one else None, _parse_key(other) if other else None)
        if fleet and "/" not in text and not text.startswith("."):
            return cls(None, _parse_key(text))
        return cls(_parse_object(text), None)

    def matches(self, object_id: str, key: Key) -> bool:
        """Whether the pattern is about this place, or about one above it."""
        if self.object is not None and not _covers(self.object, object_id.split("/")):
            return False
        return self.key is None or _covers(self.key, key)

    @property
    def specificity(self) -> tuple[int, ...]:
        """Greater is more specific: the key counts before the object, literal parts most, `**` not at all."""
        return (*_weight(self.key), *_weight(self.object))


def _parse_object(text: str) -> tuple[Part, ...]:
    parts = text.removesuffix("/").split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise SpecError(f"{text!r} is not a path below the target's root", _HINT)
    return tuple((part, True) for part in parts)


def _parse_key(text: str) -> tuple[Part, ...]:
    parts: list[Part] = []
    at = 0
    while found := _KEY_PART.match(text, at):
        at = found.end()
        try:
            parts.append((json.loads(found[1]), False) if found[1].startswith('"') else (found[1], True))
        except ValueError:
            break
        if at == len(text):
            return tuple(parts)
    raise SpecError(f"{text!r} is not a key with wildcards", _HINT)


def _weight(parts: Sequence[Part] | None) -> tuple[int, int, int]:
    """How many parts are literal, have some literal characters, are any one part."""
    kinds = [0, 0, 0]
    for text, wild in parts or ():
        if not wild or not ("*" in text or "?" in text):
            kinds[0] += 1
        elif text.strip("*?"):
            kinds[1] += 1
        elif text != "**":
            kinds[2] += 1
    return kinds[0], kinds[1], kinds[2]


def _covers(pattern: Sequence[Part], parts: Sequence[str]) -> bool:
    return _fits([*pattern, ("**", True)], parts, any_number=("**", True), one_fits=_part_fits)


def _part_fits(pattern: Part, part: str) -> bool:
    text, wild = pattern
    if not wild or not ("*" in text or "?" in text):
        return text == part
    return _fits(text, part, any_number="*", one_fits=_character_fits)


def _character_fits(pattern: str, character: str) -> bool:
    return pattern in ("?", character)


def _fits(
    pattern: Sequence[Any], items: Sequence[str], *, any_number: Any, one_fits: Callable[[Any, str], bool]
) -> bool:
    """Whether the items, from the first to the last, fit the pattern."""
    at = item = 0
    star, resume = -1, 0  # the last `any_number`, and the item after those that it stands for
    while item < len(items):
        if at < len(pattern) and pattern[at] == any_number:
            star, resume = at, item
            at += 1
        elif at < len(pattern) and one_fits(pattern[at], items[item]):
            at, item = at + 1, item + 1
        elif star >= 0:
            resume += 1
            at, item = star + 1, resume
        else:
            return False
    return all(each == any_number for each in pattern[at:])
