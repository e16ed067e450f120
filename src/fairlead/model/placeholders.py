"""Placeholders in a fleet file: `${NAME}` (or `${env:NAME}`), `${NAME:-default}`, and `$$` for a plain `$`.

An empty value counts as unset, as the shell's `:-` has it: Compose and CI systems set what they lack to "".
A `$` before anything but `{` or `$` stands for itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fairlead.model.errors import SpecError

Lookup = Callable[[str], str | None]

_TOKEN = re.compile(
    r"(?P<escape>\$\$)|\$\{(?:env:)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}|(?P<bad>\$\{)"
)


@dataclass(frozen=True, slots=True)
class MissingNames:
    """The names that have neither a value nor a default, in order of appearance, each once."""

    names: tuple[str, ...]


def check(text: str) -> str:
    """The text itself. Raises `SpecError` (which never shows the text: it may hold a secret)."""
    for token in _TOKEN.finditer(text):
        if token["bad"]:
            raise SpecError(
                f"the placeholder at character {token.start() + 1} is malformed",
                "write ${NAME} or ${NAME:-default}, and $${ for a plain ${",
            )
    if "\0" in text:
        raise SpecError("a NUL character cannot be passed on", "remove it")
    return text


def names(text: str) -> Iterator[str]:
    """The names that the text mentions, those with a default too."""
    return (token["name"] for token in _TOKEN.finditer(text) if token["name"])


def has_placeholder(text: str) -> bool:
    return any(names(text))


def resolve(text: str, lookup: Lookup) -> str | MissingNames:
    """The text with every placeholder replaced; what is put in is not looked at again."""
    missing: list[str] = []

    def value(token: re.Match[str]) -> str:
        name = token["name"]
        if name is None:
            return "$" if token["escape"] else token[0]
        found = lookup(name) or token["default"]
        if found is None:
            missing.append(name)
        return found or ""

    resolved = _TOKEN.sub(value, text)
    return MissingNames(tuple(dict.fromkeys(missing))) if missing else resolved
