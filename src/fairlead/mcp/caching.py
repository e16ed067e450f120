"""How long, and by whom, a result may be kept: `ttlMs` and `cacheScope` of the modern era."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec import Raw

LONGEST: Final = 24 * 3600.0  # s; whatever a server says


@dataclass(frozen=True, slots=True)
class CacheHint:
    """`ttl` is in seconds; `public`: whoever may ask gets the same."""

    ttl: float
    public: bool = False

    def members(self) -> bytes:
        """As members of a result, without braces."""
        scope = b"public" if self.public else b"private"
        return b'"ttlMs":%d,"cacheScope":"%b"' % (int(self.ttl * 1000), scope)


OURS: Final = CacheHint(30.0)
"""Where the server says nothing (it is a legacy one): changes are told to those who listen."""


def read_hint(members: Mapping[str, Raw]) -> CacheHint | None:
    """What a result says, by its members; None when it says nothing that can be understood."""
    try:
        return hint_of(msgspec.json.decode(members["ttlMs"]), msgspec.json.decode(members["cacheScope"]))
    except (KeyError, msgspec.DecodeError, RecursionError):
        return None


def hint_of(ttl_ms: object, scope: object) -> CacheHint | None:
    """The same, of the two members decoded."""
    if type(ttl_ms) is not int or ttl_ms < 0 or scope not in ("public", "private"):
        return None
    return CacheHint(min(ttl_ms / 1000, LONGEST), public=scope == "public")


def strictest(hints: Iterable[CacheHint]) -> CacheHint | None:
    """For something that is made of several results; None when there are none."""
    found = list(hints)
    if not found:
        return None
    return CacheHint(min(hint.ttl for hint in found), public=all(hint.public for hint in found))
