"""Text without anything that people cannot see.

Zero-width and tag characters, variation selectors and the like can carry a message to a model past whoever
reads the text. Written out as JSON's escapes they are seen, and JSON that has them means the same.
"""

from __future__ import annotations

import re
from typing import Final

_BLANK: Final = re.compile(
    "[\ufe00-\ufe0f\U000e0100-\U000e01ef\u180b-\u180d\u180f"  # selectors
    "\u115f\u1160\u3164\uffa0\u17b4\u17b5\u034f\u2800\U0001d159\U00016fe4]"  # fillers and joiners
)
"""Nothing to see, though "printable" to Python."""


def visible(text: str, *, keep: str = "") -> str:
    """The text with what cannot be seen as `\\uXXXX`; the characters in `keep` stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if char in keep or _is_seen(char) else _escaped(char) for char in text)


def _is_seen(char: str) -> bool:
    return char.isprintable() and not _BLANK.match(char)


def _escaped(char: str) -> str:
    """As JSON has it: two surrogates for what lies beyond 16 bits."""
    units = char.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[place : place + 4]}" for place in range(0, len(units), 4))
