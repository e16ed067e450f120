"""API keys: how a value is made, and what of it is kept.

What is kept is a digest that nobody can make without the service's key: of a stolen database no key can be
tried offline, and a row that somebody writes into it lets nobody in. It is made of the value's SHA-256, since
that is all that is known of the tokens of earlier versions.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Final

PREFIX: Final = "flk_"


class KeyDigests:
    """By the service's key, from which its own is derived."""

    def __init__(self, key: bytes) -> None:
        self._key = hmac.digest(key, b"fairlead api keys 1", "sha256")

    def __repr__(self) -> str:
        return "KeyDigests()"

    def of(self, value: bytes) -> bytes:
        """What a key's value is known by."""
        return self.of_sha256(hashlib.sha256(value).digest())

    def of_sha256(self, digest: bytes) -> bytes:
        return hmac.digest(self._key, digest, "sha256")


def new_value() -> str:
    """A key's value: 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def new_id() -> str:
    """A key's public name, which says nothing of its value."""
    return secrets.token_hex(6)


def master_key(setting: str | None, own: bytes) -> bytes:
    """The service's key: from the setting, or the state folder's own."""
    if setting is None:
        return own
    return hashlib.sha256(b"fairlead key 1\0" + setting.encode()).digest()


def installation(key: bytes) -> str:
    """A name for all processes that have this key, and for no others; says nothing else of it."""
    return hmac.digest(key, b"fairlead installation 1", "sha256").hex()[:12]


def key_check(key: bytes) -> str:
    """What a database remembers of the key that its digests are made with; says nothing else of it."""
    return hmac.digest(key, b"fairlead key check 1", "sha256").hex()[:32]
