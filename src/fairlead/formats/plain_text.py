"""Text of no known structure, and whatever else a file may hold: one key, `""`, has all of it.

Bytes that are not UTF-8, or hold a NUL (which not every store can keep), stand there in base64 after a
prefix; so does a text that begins with that prefix. So every file comes back byte for byte.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Any, Final

from fairlead.formats.place import DocumentError, check_size

BINARY: Final = "data:application/octet-stream;base64,"


def read(content: bytes) -> dict[str, Any]:
    """Raises `DocumentError` for what is too long."""
    check_size(content)
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = ""
    if (content and not text) or "\0" in text or text.startswith(BINARY):
        text = BINARY + base64.b64encode(content).decode()
    return {"": text}


def write(document: Mapping[str, Any]) -> bytes:
    """Raises `DocumentError`."""
    text = document.get("")
    if not isinstance(text, str) or document.keys() - {""}:
        raise DocumentError("a text has one part: the whole text, under the empty key", 'give {"": text}')
    try:
        if text.startswith(BINARY):
            return base64.b64decode(text.removeprefix(BINARY), validate=True)
        return text.encode()
    except (binascii.Error, ValueError) as error:  # of these is UnicodeEncodeError: half a surrogate pair
        raise DocumentError(f"the text cannot be written: {error}", "give valid text or base64") from None


def rewrites(_: bytes, wanted: Mapping[str, Any]) -> Iterator[bytes]:
    yield write(wanted)
