"""Documents of all formats through one door: read as data, edited by key, written anew."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Final, Protocol

from fairlead.core import overrides
from fairlead.core.overrides import Edit
from fairlead.formats import json_document, markdown, plain_text, toml_document, yaml_document
from fairlead.formats.place import DocumentError
from fairlead.model.reconciling import Format


class _Module(Protocol):
    """What a format's module has. Each function raises `DocumentError`."""

    def read(self, content: bytes) -> dict[str, Any]: ...

    def rewrites(self, content: bytes, wanted: Mapping[str, Any]) -> Iterator[bytes]:
        """The content with what differs from the document that is wanted changed in place.

        The best way comes first; the next one is for when that does not read back as what is wanted.
        """
        ...

    def write(self, document: Mapping[str, Any]) -> bytes: ...


_BY_SUFFIX: Final = {
    ".json": Format.JSON,
    ".jsonc": Format.JSON,
    ".yml": Format.YAML,
    ".yaml": Format.YAML,
    ".toml": Format.TOML,
    ".md": Format.MARKDOWN,
    ".markdown": Format.MARKDOWN,
    ".mdc": Format.MARKDOWN,
}

_MODULES: Final[Mapping[Format, _Module]] = {
    Format.JSON: json_document,
    Format.YAML: yaml_document,
    Format.TOML: toml_document,
    Format.MARKDOWN: markdown,
    Format.TEXT: plain_text,
}


def format_of(path: str) -> Format:
    """By the name's ending."""
    return _BY_SUFFIX.get(PurePosixPath(path).suffix.lower(), Format.TEXT)


def read(format: Format, content: bytes) -> dict[str, Any]:  # noqa: A002 - the field's own word
    """The content as JSON data. Raises `DocumentError` with line, column and remedy."""
    return _MODULES[format].read(content)


def edit(format: Format, content: bytes, edits: Sequence[Edit]) -> bytes:  # noqa: A002
    """The content with the edits, in their order; all else stays as it is, byte for byte.

    `read(edit(content, edits)) == core.overrides.apply(read(content), edits)`, apart from Markdown's `""`.
    Raises `SpecError`.
    """
    current = read(format, content)
    wanted = _data(overrides.apply(current, edits))
    if overrides.same(current, wanted):
        return content
    return _first_good(format, _MODULES[format].rewrites(content, wanted), wanted)


def write(format: Format, document: Mapping[str, Any]) -> bytes:  # noqa: A002
    """A new file, whose document this is. Raises `SpecError`."""
    wanted = _data(document)
    return _first_good(format, [_MODULES[format].write(wanted)], wanted)


def _data(document: Mapping[str, Any]) -> dict[str, Any]:
    """Raises `DocumentError` for what is not JSON data."""
    try:
        data: dict[str, Any] = json.loads(json.dumps(document, allow_nan=False))
        json.dumps(data, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise DocumentError(f"what is to be written is no JSON data: {error}", "change the value") from None
    return data


def _first_good(format: Format, ways: Iterable[bytes], wanted: Mapping[str, Any]) -> bytes:  # noqa: A002
    """Whatever a file holds, a change that would say something else than is meant is not made."""
    why = DocumentError(
        f"the change cannot be made in this {format} file without changing something else in it",
        "make it by hand",
    )
    for content in ways:
        try:
            if format is Format.MARKDOWN or overrides.same(read(format, content), wanted):
                return content  # markdown has looked by itself
        except DocumentError as error:
            why = DocumentError(f"the change cannot be made: then, {error}", error.hint)
    raise why
