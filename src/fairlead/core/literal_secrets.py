"""Whether a text that is given for a fleet spec looks like a secret that should not stand there.

A fleet file is read by many and kept in Git, so a secret belongs into the environment, with `${NAME}` in the
file. This only guesses: by the name that a value goes by, by the shapes that well-known services give their
keys, and by how random a text looks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from fairlead.core.overrides import Key
from fairlead.model.placeholders import has_placeholder

_NAME = re.compile(r"key|token|secret|passw|credential|authorization|cookie", re.IGNORECASE)
_NAME_OF_A_PLACE = re.compile(r"(?:file|path|dir|url|name|id)$", re.IGNORECASE)
_SHAPE = re.compile(
    r"(?:^|[ =])(?:sk-|gh[opsu]_|github_pat_|glpat-|xox[abprs]-|AKIA|AIza|npm_|hf_|eyJ)[A-Za-z0-9_-]{8}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY"
    r"|://[^/\s:@]*:[^/\s@]+@"  # a URL with a password
)
_HARMLESS = re.compile(r"true|false|yes|no|on|off|none|[0-9]{0,6}", re.IGNORECASE)
_QUERY = re.compile(r"([?&])([^?&=#]+)=([^&#]*)")
_OPTION = re.compile(r"--?([A-Za-z][\w.-]*)")
_PAIR = re.compile(r"(-{0,2}([A-Za-z][\w.-]*)(?:=|: ?))(?!//)(.+)", re.DOTALL)
_RANDOM = re.compile(r"(?!/)(?=.*[0-9])(?=.*[a-z])(?=.*[A-Z])[A-Za-z0-9+/_=-]{24,}|[0-9a-f]{32,}")
_CERTAIN = re.compile(
    r"(?<![A-Za-z0-9])(?:gh[opsu]_[A-Za-z0-9]{36}|github_pat_\w{40}|glpat-[\w-]{20}|xox[abprs]-[\w-]{20}"
    r"|AKIA[0-9A-Z]{16}|AIza[\w-]{35}|npm_[A-Za-z0-9]{36}|sk-ant-[\w-]{20}|sk-[A-Za-z0-9]{40})"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY"
)
_HANDED_OVER = {"environment", "env", "headers", "http_headers", "args", "url", "serverUrl", "httpHeaders"}
"""Where a document has what is given to servers."""


def looks_secret(name: str, value: str) -> bool:
    """Whether `value`, the value of the variable or header `name`, looks like a secret written out."""
    if has_placeholder(value) or _HARMLESS.fullmatch(value):
        return False
    if _SHAPE.search(value):
        return True
    if _NAME_OF_A_PLACE.search(name):
        return False
    return bool(_NAME.search(name) or _RANDOM.fullmatch(value))


def variable_for(name: str) -> str:
    """The environment variable that could hold the value of the variable, header or option `name`."""
    return re.sub(r"[^A-Za-z0-9_]|^(?=[0-9])", "_", name).upper()


def covered(value: Any, cover: Callable[[str], str], name: str = "") -> Any:
    """JSON data with each text, or part of one, that looks like a secret replaced by `cover(its name)`."""
    match value:
        case str():
            bare = _with_query(value, lambda _: "")
            return cover(name) if looks_secret(name, bare) else _with_query(value, cover)
        case dict():
            return {key: covered(item, cover, key) for key, item in value.items()}
        case list():
            return [
                _item(item, before, cover, name) for item, before in zip(value, ["", *value], strict=False)
            ]
        case _:
            return value


def _with_query(url: str, cover: Callable[[str], str]) -> str:
    """The text with what looks like a secret in a URL's query replaced."""

    def parameter(found: re.Match[str]) -> str:
        return f"{found[1]}{found[2]}={cover(found[2])}" if looks_secret(found[2], found[3]) else found[0]

    return _QUERY.sub(parameter, url)


def _item(item: Any, before: Any, cover: Callable[[str], str], name: str) -> Any:
    """An item of the list `name`, such as an argument: `--name=value`, `Name: value`, what follows --name."""
    if not isinstance(item, str):
        return covered(item, cover, name)
    if (pair := _PAIR.fullmatch(item)) and looks_secret(pair[2], pair[3]):
        return pair[1] + cover(pair[2])
    if _OPTION.fullmatch(item):
        return item
    option = _OPTION.fullmatch(before) if isinstance(before, str) else None
    return covered(item, cover, option[1] if option else name)


def written_out(document: Any, key: Key = ()) -> Iterator[tuple[Key, str]]:
    """Texts of a document that look like secrets, and where they are; items of lists by their number.

    What is handed over to servers is judged by its name, too. Elsewhere, and in texts that people read, only
    what has the very shape of a well-known service's key counts: a document is refused for it.
    """
    match document:
        case str() if found := _CERTAIN.search(document):
            yield key, found[0]
        case dict():
            for name, item in document.items():
                if name in _HANDED_OVER:
                    yield from _differing(item, covered(item, lambda _: "", name), (*key, name))
                else:
                    yield from written_out(item, (*key, name))
        case list():
            for number, item in enumerate(document):
                yield from written_out(item, (*key, str(number)))


def _differing(value: Any, bare: Any, key: Key) -> Iterator[tuple[Key, str]]:
    match value:
        case str() if value != bare:
            yield key, value
        case dict():
            for name, item in value.items():
                yield from _differing(item, bare[name], (*key, name))
        case list():
            for number, item in enumerate(value):
                yield from _differing(item, bare[number], (*key, str(number)))
