"""How the GitOps controller's rows are written: digests instead of names, JSON instead of fields."""

from __future__ import annotations

import hashlib
from typing import Any, Final

import msgspec

_LONGEST: Final = 128  # as the column has it


def place(*names: str) -> str:
    """A key of fixed length for names of any length and character."""
    digest = hashlib.sha256()
    for name in names:
        raw = name.encode(errors="surrogatepass")
        digest.update(b"%d:%b" % (len(raw), raw))
    return digest.hexdigest()


def possible(name: str) -> bool:
    """Whether it can be in a column at all: what is asked for comes from outside."""
    return len(name) <= _LONGEST and name.isascii() and name.isprintable()


def text(value: Any) -> str:
    """A frozen dataclass, as JSON."""
    return msgspec.json.encode(value).decode()
