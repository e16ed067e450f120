"""TOML: read by the library, edited by statements (`toml_scan`, `toml_edit`).

Dates, times, infinities and not-a-number are texts in the document, since JSON has none of them.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from fairlead.formats.place import DocumentError, decoded, error_at
from fairlead.formats.toml_edit import TomlEditor
from fairlead.formats.toml_scan import plain, scanned
from fairlead.formats.toml_text import section
from fairlead.formats.tree import is_deeper

MAX_DEPTH: Final = 64
_PLACE: Final = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)")
_PART: Final = r"""(?:[\w-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
_LONG_KEY: Final = re.compile(
    rf"^[ \t]*(?:\[\[?[ \t]*)?{_PART}(?:[ \t]*\.[ \t]*{_PART}){{{MAX_DEPTH}}}", re.MULTILINE
)
"""The library takes ever longer for those, again for each key below."""


def read(content: bytes) -> dict[str, Any]:
    """Raises `DocumentError`."""
    body = decoded(content).body
    if long := _LONG_KEY.search(body):
        raise error_at(body, long.start(), f"a key of more than {MAX_DEPTH} parts", "make it flatter")
    try:
        data: dict[str, Any] = plain(tomllib.loads(body))
    except tomllib.TOMLDecodeError as error:
        raise _invalid(body, str(error)) from None
    except ValueError:
        raise DocumentError("there is a number that is too large", "write it as a text") from None
    except RecursionError:
        raise _too_deep() from None
    if is_deeper(data, MAX_DEPTH):
        raise _too_deep()
    return data


def rewrites(content: bytes, wanted: Mapping[str, Any]) -> Iterator[bytes]:
    """The content with what differs from `wanted` changed in place."""
    text = decoded(content)
    open_end = bool(text.body) and not text.body.endswith("\n")
    body = text.body + text.newline * open_end
    editor = TomlEditor(body, text.newline, scanned(body))
    editor.table((), read(content), wanted)
    changed = editor.changed()
    yield text.encoded(changed.removesuffix(text.newline) if open_end else changed)


def write(document: Mapping[str, Any]) -> bytes:
    return "".join(f"{line}\n" for line in section((), document)).removeprefix("\n").encode()


def _too_deep() -> DocumentError:
    return DocumentError(f"nested more than {MAX_DEPTH} deep", "make it flatter")


def _invalid(body: str, message: str) -> DocumentError:
    place = _PLACE.search(message)
    said = message[: place.start()] if place else message
    hint = "look at the keys, the quotes and the brackets there"
    if place and place[1]:
        return DocumentError(f"not TOML: {said}", hint, line=int(place[1]), column=int(place[2]))
    return error_at(body, len(body), f"not TOML: {said}", hint)
