"""What is shown of a document to people, and kept of it: never what looks like a secret written out. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fairlead.core.literal_secrets import covered
from fairlead.core.overrides import Key
from fairlead.model.placeholders import CONCEALED, names


def shown(value: Any, key: Key = ()) -> Any:
    """The value at `key` of a document, with what looks like a secret replaced."""
    return covered(_plain(value), lambda _: CONCEALED, key[-1] if key else "")


def has_secret(value: Any, key: Key = ()) -> bool:
    """Whether something in it looks like one, or was concealed."""
    return is_concealed(value) or bool(shown(value, key) != _plain(value))


def is_concealed(value: Any) -> bool:
    """Whether a target has concealed something of it: a value that came from a secret."""
    return any(CONCEALED in text for text in _texts(value))


def is_filled_in(value: Any) -> bool:
    """Whether something of it comes from elsewhere, or did: a placeholder, or what was concealed."""
    return any(CONCEALED in text or any(True for _ in names(text)) for text in _texts(value))


def _texts(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case Mapping():
            for each in value.values():
                yield from _texts(each)
        case list():
            for each in value:
                yield from _texts(each)


def _plain(value: Any) -> Any:
    """With mappings that `covered` knows."""
    return dict(value) if isinstance(value, Mapping) else value
