"""What the audit keeps of a call's arguments: a digest of their bytes, or what they say without secrets.

The digest is SHA-256 over the JSON value of `arguments`, byte by byte as it went to the server: whoever has
the same bytes can tell that they were these. Redacted, texts that look like secrets (by the name that they
go by, by their shape, by how random they are) and those that are known to be secret give way to a mark; what
would be too long, or cannot be read, is shown as a digest all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final

import msgspec
from msgspec import Raw

from fairlead.core.literal_secrets import covered
from fairlead.model.audit import DIGEST

MAX_REDACTED: Final = 4096  # characters of arguments that are shown
MARK: Final = "[redacted]"


class Kept(StrEnum):
    """The setting `audit.arguments`."""

    DIGEST = "digest"
    REDACTED = "redacted"
    NONE = "none"


class _Params(msgspec.Struct):
    arguments: Raw = Raw()


_decode: Final = msgspec.json.Decoder(_Params).decode


def digests_of(many: Sequence[bytes]) -> list[bytes]:
    """Of the arguments in each of these params; empty where there are none."""
    try:
        return [sha256(found).digest() if (found := _decode(one).arguments) else b"" for one in many]
    except (msgspec.DecodeError, RecursionError):
        return [digest_of(one) for one in many]


def digest_of(params: bytes) -> bytes:
    """The same of one; empty, too, for what is no params."""
    try:
        arguments = _decode(params).arguments
    except (msgspec.DecodeError, RecursionError):
        return b""
    return sha256(arguments).digest() if arguments else b""


def redacted(params: bytes, conceal: Callable[[str], str]) -> str:
    """The arguments as JSON without secrets, or `DIGEST` where only a digest can be kept.

    `conceal` takes out of a text what is known to be secret.
    """
    try:
        arguments = _decode(params).arguments
        if not arguments:
            return ""
        if len(arguments) > MAX_REDACTED:
            return DIGEST
        value: Any = covered(msgspec.json.decode(arguments), lambda _: MARK)
        text = conceal(msgspec.json.encode(value).decode())
    except (msgspec.DecodeError, RecursionError):
        return ""
    return text if len(text) <= MAX_REDACTED else DIGEST
