"""Secrets in files: filled in when a file is written, and taken out again when it is read.

`${secret:NAME}` and `${file:/path}` are Fairlead's, each with a default if need be (`:-`); a second `$` in
front keeps one as it stands. `${NAME}` belongs to whoever reads the file: Claude Code fills it in by itself.
What Git wants at a place, or wanted when it was last applied, says where secrets are. A value that is as it
should be is shown as its placeholder; another one at the same place may be an older secret, and is concealed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from fairlead.core.object_edits import Tree
from fairlead.core.overrides import Edit, same
from fairlead.formats import documents
from fairlead.model.errors import Problem, ProblemError, SpecError
from fairlead.model.placeholders import CONCEALED, VAULT_NAME
from fairlead.model.reconciling import Format

Resolve = Callable[[str], str]
"""The value of `secret:NAME` or `file:/path`. Raises ProblemError where it lacks. It must be quick."""

Place = tuple[str | int, ...]
Texts = Mapping[Place, str]

SHORTEST: Final = 4  # characters: shorter values occur everywhere by chance
_TOKEN: Final = re.compile(
    rf"(?<!\$)\$\{{(?P<name>secret:{VAULT_NAME}|file:/(?:[^}}:\0]|:(?!-))+)(?::-(?P<default>[^}}]*))?\}}"
)


@dataclass(frozen=True, slots=True)
class Values:
    """What secrets are now: a value each, or why there is none."""

    found: Mapping[str, str] = field(default_factory=dict, repr=False)
    lacking: Mapping[str, Problem] = field(default_factory=dict)

    def fill(self, text: str) -> str:
        """Raises ProblemError for what lacks and has no default."""
        return _TOKEN.sub(self._value, text)

    def _value(self, token: re.Match[str]) -> str:
        name, default = token["name"], token["default"]
        found = self.found.get(name) or default
        if found is not None:
            return found
        raise ProblemError(self.lacking[name])

    def filled(self, text: str) -> str | None:
        """None where something lacks."""
        try:
            return self.fill(text)
        except ProblemError:
            return None


def values(names: Iterable[str], resolve: Resolve) -> Values:
    found: dict[str, str] = {}
    lacking: dict[str, Problem] = {}
    for name in sorted(set(names)):
        try:
            found[name] = resolve(name)
        except ProblemError as error:
            lacking[name] = error.problem
    return Values(found, lacking)


def names_in(document: Any) -> frozenset[str]:
    """Secrets that a document mentions."""
    return frozenset(
        token["name"] for _, text in _texts(document) for token in _TOKEN.finditer(text) if "${" in text
    )


class Expected:
    """What Git wants of an object, and wanted: where its secrets are."""

    def __init__(self, desired: Tree | None, base: Tree | None) -> None:
        self._desired, self._base = desired, base
        self._literals: dict[Place, list[str]] = {}
        self._templates: dict[Place, list[str]] = {}
        self._lists: dict[Place, set[str]] = {}  # those with a placeholder, and the texts that stand in them
        for document in (desired, base):
            self._learn({} if document is None else document)
        self.wanted = names_in(desired)
        self.names = self.wanted | names_in(base)

    def __repr__(self) -> str:
        return f"Expected({sorted(self.names)})"

    def __bool__(self) -> bool:
        """Whether there is any secret in it."""
        return bool(self.names)

    def is_of(self, desired: Tree | None, base: Tree | None) -> bool:
        return (self._desired is desired or self._desired == desired) and self._base == base

    def lacks(self, secrets: Values) -> str:
        """Why the object cannot be written, for a person; empty if it can."""
        for _, text in _texts(self._desired):
            try:
                secrets.fill(text)
            except ProblemError as error:
                name = next(n for n, each in secrets.lacking.items() if each is error.problem)
                return f"needs {_named(name)}: {error.problem.detail}"
        return ""

    def filled(self, format_: Format, content: bytes, there: Tree, secrets: Values) -> bytes:
        """The content with the secrets in it; placeholders that a person has written are left alone.

        `there` is the document of the file as it was: what is concealed stays as it is there. Raises
        ProblemError for what lacks, and `SpecError`.
        """
        persons = {
            place: text
            for place, text in _texts(there)
            if _TOKEN.search(text) and place not in self._templates
        }
        filling = _Filling(persons, dict(_texts(there)), dict(_texts(self.shown(there, secrets))), secrets)
        edits = list(filling.edits(documents.read(format_, content), ()))
        return documents.edit(format_, content, edits) if edits else content

    def shown(self, document: Tree, secrets: Values) -> dict[str, Any]:
        """A document that was read, without any secret's value."""
        seen = _Seen(self, secrets)
        return {name: self._cover(value, (name,), seen) for name, value in document.items()}

    def _cover(self, value: Any, place: Place, seen: _Seen, literals: set[str] | None = None) -> Any:
        if literals is None and isinstance(value, list):
            literals = self._lists.get(place)
        if place in self._templates and literals is None:
            return self._at_a_secret(value, place, seen)
        match value:
            case str() if literals is not None:
                return seen.whole.get(value) or (value if value in literals else CONCEALED)
            case str():
                return seen.cover(value)
            case Mapping():
                return {
                    name: self._cover(each, (*place, name), seen, literals) for name, each in value.items()
                }
            case list():
                return [self._cover(each, (*place, i), seen, literals) for i, each in enumerate(value)]
            case _:
                return value

    def _at_a_secret(self, value: Any, place: Place, seen: _Seen) -> Any:
        for template in self._templates[place]:
            if seen.filled[template] == value:
                return template
        return value if value in self._literals.get(place, ()) else CONCEALED

    def _learn(self, document: Tree) -> None:
        for place, text in _texts(document):
            kind = self._templates if _TOKEN.search(text) else self._literals
            kind.setdefault(place, []).append(text)
        for place, items in _lists(document, ()):
            texts = [text for _, text in _texts(items)]
            if any(map(_TOKEN.search, texts)):
                literals = self._lists.setdefault(place, set())
                literals.update(text for text in texts if not _TOKEN.search(text))


class _Seen:
    """What is known by now: whole texts with secrets in them, and secrets by themselves."""

    def __init__(self, expected: Expected, secrets: Values) -> None:
        self.filled = {
            template: secrets.filled(template)
            for templates in expected._templates.values()
            for template in templates
        }
        self.whole = {text: template for template, text in self.filled.items() if text}
        self._values = sorted(
            ((value, f"${{{name}}}") for name, value in secrets.found.items() if len(value) >= SHORTEST),
            key=lambda each: -len(each[0]),
        )

    def cover(self, text: str) -> str:
        if len(text) >= SHORTEST and text in self.whole:
            return self.whole[text]
        for value, placeholder in self._values:
            if value in text:
                text = text.replace(value, placeholder)
        return text


@dataclass(frozen=True, slots=True)
class _Filling:
    """Texts of the file as it was: those with a person's placeholders, all of them, and as they are shown."""

    persons: Texts
    there: Texts
    shown: Texts
    secrets: Values

    def edits(self, value: Any, key: tuple[str, ...]) -> Iterator[Edit]:
        match value:
            case Mapping():
                for name, each in value.items():
                    yield from self.edits(each, (*key, name))
            case str() | list():
                filled = self._filled(value, key, in_list=False)
                if not same(filled, value):
                    yield Edit(key, filled)

    def _filled(self, value: Any, place: Place, *, in_list: bool) -> Any:
        match value:
            case str() if value == CONCEALED:
                return self._as_it_was(place, in_list=in_list)
            case str():
                return value if self.persons.get(place) == value else self.secrets.fill(value)
            case list():
                return [self._filled(each, (*place, i), in_list=True) for i, each in enumerate(value)]
            case Mapping():
                return {
                    name: self._filled(each, (*place, name), in_list=in_list) for name, each in value.items()
                }
            case _:
                return value

    def _as_it_was(self, place: Place, *, in_list: bool) -> str:
        """A list's items may have moved: only one that is concealed there, too, is the same."""
        if place in self.there and (not in_list or self.shown[place] == CONCEALED):
            return self.there[place]
        raise SpecError(
            "what is to be written holds a value that was concealed, as it may be a secret",
            "write ${secret:NAME} in its place in Git, and keep the value with `fairlead secrets`",
        )


def _texts(value: Any, place: Place = ()) -> Iterator[tuple[Place, str]]:
    match value:
        case str():
            yield place, value
        case Mapping():
            for name, each in value.items():
                yield from _texts(each, (*place, name))
        case list():
            for i, each in enumerate(value):
                yield from _texts(each, (*place, i))


def _lists(value: Any, place: Place) -> Iterator[tuple[Place, list[Any]]]:
    """The outermost ones."""
    match value:
        case list():
            yield place, value
        case Mapping():
            for name, each in value.items():
                yield from _lists(each, (*place, name))


def _named(name: str) -> str:
    kind, _, rest = name.partition(":")
    return f"{kind} {rest}"
