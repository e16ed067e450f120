"""What is shown of a document to people, and kept of it: never what looks like a secret written out. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fairlead.core.literal_secrets import covered
from fairlead.core.overrides import Key

CONCEALED: Final = "(concealed)"


def shown(value: Any, key: Key = ()) -> Any:
    """The value at `key` of a document, with what looks like a secret replaced."""
    return covered(_plain(value), lambda _: CONCEALED, key[-1] if key else "")


def has_secret(value: Any, key: Key = ()) -> bool:
    return bool(shown(value, key) != _plain(value))


def _plain(value: Any) -> Any:
    """With mappings that `covered` knows."""
    return dict(value) if isinstance(value, Mapping) else value
