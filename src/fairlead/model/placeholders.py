"""Placeholders in a fleet file, filled in when a server is started. `$$` stands for a plain `$`.

    ${NAME}, ${env:NAME}     a variable of the environment
    ${file:/run/secrets/x}   what a file holds, without its last line break
    ${secret:NAME}           a secret of the encrypted file (`fairlead secrets`)

Each may have a default: `${NAME:-default}`. A name is handed to the lookup as it stands here, with `file:` or
`secret:` in front and without `env:`.

An empty value counts as unset, as the shell's `:-` has it: Compose and CI systems set what they lack to "".
A `$` before anything but `{` or `$` stands for itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from fairlead.model.errors import SpecError

Lookup = Callable[[str], str | None]

IN_FILE: Final = "file:"
IN_VAULT: Final = "secret:"
VAULT_NAME: Final = "[A-Za-z_][A-Za-z0-9_.-]{0,127}"
CONCEALED: Final = "(concealed)"  # what is shown of a value that stands where a secret is wanted

_TOKEN = re.compile(
    r"(?P<escape>\$\$)"
    r"|\$\{(?:(?:env:)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    rf"|(?P<kept>file:/(?:[^}}:\0]|:(?!-))+|secret:{VAULT_NAME}))(?::-(?P<default>[^}}]*))?\}}"
    r"|(?P<bad>\$\{)"
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
                "write ${NAME} or ${NAME:-default}, ${file:/path}, ${secret:NAME}, and $${ for a plain ${",
            )
    if "\0" in text:
        raise SpecError("a NUL character cannot be passed on", "remove it")
    return text


def names(text: str) -> Iterator[str]:
    """The names that the text mentions, those with a default too."""
    return (name for token in _TOKEN.finditer(text) if (name := token["name"] or token["kept"]))


def check_shown(text: str) -> str:
    """`check` for what others can see, as the arguments of a process: secrets are refused there."""
    for name in names(check(text)):
        if name.startswith((IN_FILE, IN_VAULT)):
            raise SpecError(
                f"${{{name}}} would be seen by every user of the machine in the list of processes",
                "hand it over in `environment`",
            )
    return text


def has_placeholder(text: str) -> bool:
    return any(names(text))


def resolve(text: str, lookup: Lookup) -> str | MissingNames:
    """The text with every placeholder replaced; what is put in is not looked at again."""
    missing: list[str] = []

    def value(token: re.Match[str]) -> str:
        name = token["name"] or token["kept"]
        if name is None:
            return "$" if token["escape"] else token[0]
        found = lookup(name) or token["default"]
        if found is None:
            missing.append(name)
        return found or ""

    resolved = _TOKEN.sub(value, text)
    return MissingNames(tuple(dict.fromkeys(missing))) if missing else resolved
