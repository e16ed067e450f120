"""Markdown with managed blocks: `{name: text}` of the blocks, or `{"": text}` where there is none.

A block stands between two lines of its own, comments that no reader sees:

    <!-- fairlead:begin NAME -->
    text
    <!-- fairlead:end NAME -->

The newline before the end marker is not part of the text; within the text, line ends are `\\n`, whatever the
file has. What stands outside of blocks is the person's: it is in no document as long as there is a block, and
no edit changes a byte of it. So `""` goes when the first block is added, and comes back after the last.
Markers inside of a code fence are text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fairlead.formats import plain_text
from fairlead.formats.place import DocumentError, decoded, error_at
from fairlead.formats.splices import Splice, spliced

_LINE: Final = re.compile(r"[^\n]*\n|[^\n]+")
_MARKER: Final = re.compile(r" {0,3}<!--[ \t]*fairlead:(begin|end)\b([^\n]*)")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_REST: Final = re.compile(rf"[ \t]+({_NAME.pattern})[ \t]*-->\s*")
_FENCE: Final = re.compile(r" {0,3}(`{3,}|~{3,})")


@dataclass(frozen=True, slots=True)
class _Block:
    """Offsets: of the begin marker's line, the text, the end marker's line and what follows that."""

    name: str
    start: int
    inside: int
    closing: int
    end: int


def read(content: bytes) -> dict[str, Any]:
    """Raises `DocumentError` for markers that do not belong together."""
    whole = plain_text.read(content)
    if whole[""].startswith(plain_text.BINARY):
        return whole
    text = decoded(content)
    blocks = _blocks(text.body)
    return {block.name: _inner(text.body, block) for block in blocks} if blocks else whole


def rewrites(content: bytes, wanted: Mapping[str, Any]) -> Iterator[bytes]:
    """The content with the blocks that are wanted. Raises `DocumentError`."""
    yield _rewritten(content, wanted)


def _rewritten(content: bytes, wanted: Mapping[str, Any]) -> bytes:
    current = read(content)
    if "" in current:
        return write(wanted)
    if "" in wanted:
        if len(wanted) == 1:
            return plain_text.write(wanted)
        raise DocumentError(
            "the file has managed blocks, and its whole text is to be replaced",
            "put the text between the markers of a block, or remove the markers from the file",
        )
    text = decoded(content)
    splices: list[Splice] = []
    for block in _blocks(text.body):
        if block.name not in wanted:
            splices.append(Splice(block.start, block.end, ""))
        elif wanted[block.name] != current[block.name]:
            inner = _lines(block.name, wanted[block.name], text.newline)
            splices.append(Splice(block.inside, block.closing, inner))
    changed = text.encoded(spliced(text.body, splices))
    return _checked(
        _appended(changed, {name: wanted[name] for name in wanted if name not in current}), wanted
    )


def write(document: Mapping[str, Any]) -> bytes:
    """A new file: the text, if there is one, and the blocks below it. Raises `DocumentError`."""
    text = plain_text.write({"": document.get("", "")})
    return _checked(_appended(text, _named(document)), document)


def _named(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: text for name, text in document.items() if name}


def _appended(content: bytes, blocks: Mapping[str, Any]) -> bytes:
    if not blocks:
        return content
    text = decoded(content)
    parts = [text.body]
    if text.body and not text.body.endswith(text.newline * 2):
        parts.append(text.newline * (1 if text.body.endswith("\n") else 2))
    for name, inner in blocks.items():
        begin, end = f"<!-- fairlead:begin {name} -->", f"<!-- fairlead:end {name} -->"
        parts += [begin, text.newline, _lines(name, inner, text.newline), end, text.newline]
    return text.encoded("".join(parts))


def _lines(name: str, inner: Any, newline: str) -> str:
    if not isinstance(inner, str):
        raise DocumentError(f"the block {name!r} is to hold something that is no text", "give it a text")
    return "".join(line + newline for line in inner.split("\n")) if inner else ""


def _inner(body: str, block: _Block) -> str:
    return body[block.inside : block.closing].replace("\r\n", "\n").removesuffix("\n")


def _checked(content: bytes, wanted: Mapping[str, Any]) -> bytes:
    """A text may hold what changes the meaning of all that follows, such as a marker or an open fence."""
    try:
        good = _named(read(content)) == _named(wanted)
    except DocumentError:
        good = False
    if not good:
        raise DocumentError(
            "the managed blocks could not be written so that they read back as they are",
            "look for a marker line within a text, a code fence that is not closed, "
            "carriage returns, or a block's name with other characters than A-Z a-z 0-9 _ . -",
        )
    return content


def _blocks(body: str) -> list[_Block]:
    found: dict[str, _Block] = {}
    opened: tuple[str, int, int] | None = None
    for kind, name, start, end in _markers(body):
        if kind == "begin" and opened is None:
            opened = name, start, end
        elif kind == "end" and opened is not None and opened[0] == name:
            if name in found:
                raise error_at(
                    body, opened[1], f"the block {name!r} stands here a second time", "keep one of them"
                )
            found[name] = _Block(name, opened[1], opened[2], start, end)
            opened = None
        else:
            hint = f"close it with <!-- fairlead:end {opened[0]} -->" if opened else "remove it"
            inside = f" within the block {opened[0]!r}" if opened else " outside of a block"
            raise error_at(body, start, f"the marker {kind} {name!r} stands{inside}", hint)
    if opened is not None:
        message = f"the block {opened[0]!r} has no end"
        raise error_at(body, opened[1], message, f"add the line <!-- fairlead:end {opened[0]} -->")
    return list(found.values())


def _markers(body: str) -> Iterator[tuple[str, str, int, int]]:
    """`begin` or `end`, the name, and where the line starts and ends. Fences count outside of blocks only."""
    fence = ""
    inside = False
    for line in _LINE.finditer(body):
        marker = _MARKER.match(line[0])
        if not inside and (ticks := _FENCE.match(line[0])):
            if not fence:
                fence = ticks[1]
            elif ticks[1].startswith(fence) and not line[0][ticks.end() :].strip():
                fence = ""
        if marker is None or fence:
            continue
        rest = _REST.fullmatch(marker[2] + line[0][marker.end() :])
        if rest is None:
            hint = "write <!-- fairlead:begin NAME --> with a name of letters, digits, and _ . -"
            raise error_at(body, line.start(), "a marker without a proper name", hint)
        inside = marker[1] == "begin"
        yield marker[1], rest[1], line.start(), line.end()
