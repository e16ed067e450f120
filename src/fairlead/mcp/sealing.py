"""Sealed values: what the gateway hands to clients and takes back, readable and forgeable by nobody else.

A seal is AES-256-GCM over the payload with a random nonce, as unpadded base64url. `purpose` is authenticated
with it, so a cursor can never be presented as a session id.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from dataclasses import dataclass

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE = 12


class SealBrokenError(Exception):
    """Not a value that this key sealed for this purpose."""


class Sealer:
    """Seals and opens byte strings with a 32-byte key."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(hashlib.sha256(b"fairlead seal 1" + key).digest())

    def seal(self, purpose: str, payload: bytes) -> str:
        nonce = os.urandom(_NONCE)
        sealed = nonce + self._cipher.encrypt(nonce, payload, purpose.encode())
        return _encode(sealed)

    def open(self, purpose: str, value: str) -> bytes:
        """The payload; raises SealBrokenError."""
        try:
            sealed = base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True)
            if _encode(sealed) != value:  # another spelling of the same bytes
                raise SealBrokenError
            return self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], purpose.encode())
        except (binascii.Error, InvalidTag, ValueError):
            raise SealBrokenError from None


def _encode(sealed: bytes) -> str:
    return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()


@dataclass(frozen=True, slots=True)
class SessionClaims:
    """What a session id says of itself. `expires` is Unix time in seconds, the hard end."""

    node: str
    principal: str
    endpoint: str  # "" for the merged one, else a server's id
    expires: float
    nonce: int


_decode_claims = msgspec.json.Decoder(SessionClaims).decode


def seal_session(sealer: Sealer, claims: SessionClaims) -> str:
    """A session id: visible ASCII, as the protocol asks."""
    return sealer.seal("session", msgspec.json.encode(claims))


def open_session(sealer: Sealer, session_id: str) -> SessionClaims:
    """The claims; raises SealBrokenError."""
    try:
        return _decode_claims(sealer.open("session", session_id))
    except msgspec.DecodeError:
        raise SealBrokenError from None
