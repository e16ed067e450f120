"""Changes of a text by offsets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fairlead.formats.place import DocumentError


@dataclass(frozen=True, slots=True, order=True)
class Splice:
    """`text` takes the place of what stands from `start` to `end`."""

    start: int
    end: int
    text: str


def spliced(text: str, splices: Iterable[Splice]) -> str:
    """The text with all of them, whose offsets are of the text as it was. Several at one place keep
    their order. Raises `DocumentError` where they overlap.
    """
    parts: list[str] = []
    at = 0
    for splice in sorted(splices, key=lambda each: (each.start, each.end)):
        if splice.start < at:
            raise DocumentError("two changes are in each other's way", "make them by hand")
        parts += [text[at : splice.start], splice.text]
        at = splice.end
    return "".join([*parts, text[at:]])
