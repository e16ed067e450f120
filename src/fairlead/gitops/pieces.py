"""The files of an application's layers, as they are in a commit, with their documents."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from fairlead.core.layer_files import Layer, layers_of, relative
from fairlead.formats import documents
from fairlead.formats.place import DocumentError
from fairlead.gitops.planning import FLEET
from fairlead.model.errors import Fault, Problem, ProblemError, SpecError
from fairlead.model.gitops import Application
from fairlead.model.reconciling import Format
from fairlead.model.spec_problem import Severity, SpecProblem
from fairlead.ports.gitops import Entry, Snapshot

MOST_KEPT: Final = 64 * 2**20
"""Bytes of files whose documents are kept."""

Read = tuple[bytes, Mapping[str, Any] | DocumentError]
_BlobKey = tuple[Format, str]


@dataclass(frozen=True, slots=True)
class Piece:
    """A layer's file that has part in an object. `document` is the error where it cannot be read."""

    path: str  # from the repository's root
    format: Format
    content: bytes = field(repr=False)
    document: Mapping[str, Any] | DocumentError = field(repr=False)
    executable: bool


@dataclass(frozen=True, slots=True)
class Gathered:
    """By object, the pieces that it is made of, the lowest first. `refused` is what is taken from nobody."""

    pieces: Mapping[str, Sequence[Piece]]
    refused: tuple[SpecProblem, ...]


class Parsed:
    """Documents by blob: those that were asked for last stay."""

    def __init__(self) -> None:
        self._found: OrderedDict[_BlobKey, Read] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._found)

    async def read(self, wanted: Iterable[_BlobKey], snapshot: Snapshot) -> dict[_BlobKey, Read]:
        """Of a snapshot's blobs, each in its format. Raises ProblemError."""
        keys = list(dict.fromkeys(wanted))
        missing = [key for key in keys if key not in self._found]
        if missing:
            contents = await snapshot.read([blob for _, blob in missing])
            formats = [format_ for format_, _ in missing]
            read = await asyncio.to_thread(_read_all, formats, contents)
            for key, content, document in zip(missing, contents, read, strict=True):
                self._keep(key, (content, document))
        found = {}
        for key in keys:
            found[key] = self._found[key]
            self._found.move_to_end(key)
        self._shrink()
        return found

    def _keep(self, key: _BlobKey, read: Read) -> None:
        if key not in self._found:  # another application may have been faster
            self._bytes += len(read[0])
        self._found[key] = read

    def _shrink(self) -> None:
        while self._bytes > MOST_KEPT:
            _, (content, _) = self._found.popitem(last=False)
            self._bytes -= len(content)


def chosen_layers(application: Application) -> tuple[Layer, ...]:
    """`layers_of`, with a ProblemError."""
    try:
        return layers_of(application)
    except SpecError as error:
        detail = f"{application.name}: {error}; {error.hint}"
        raise ProblemError(
            Problem("config-invalid", "Configuration invalid", detail, 422, Fault.CLIENT)
        ) from error


async def gather(application: Application, snapshot: Snapshot, parsed: Parsed) -> Gathered:
    """Raises ProblemError where the repository cannot be read, or is refused as a whole."""
    entries: dict[str, list[Entry]] = {}
    for layer in chosen_layers(application):
        for name, entry in await _entries(application, layer, snapshot):
            entries.setdefault(name, []).append(entry)
    everything = [entry for found in entries.values() for entry in found]
    refused = tuple(_refusal(entry) for entry in everything if entry.problem)
    good = {name: [entry for entry in found if not entry.problem] for name, found in entries.items()}
    read = await parsed.read([_key(entry) for entry in everything if not entry.problem], snapshot)
    pieces = {name: [_piece(entry, read[_key(entry)]) for entry in found] for name, found in good.items()}
    return Gathered({name: found for name, found in pieces.items() if found}, refused)


async def missing_layers(application: Application, snapshot: Snapshot) -> list[str]:
    """Layers that are chosen by name, but not there."""
    above, environment = relative(application.path), f"environments/{application.environment}"
    names = [layer.name for layer in chosen_layers(application) if layer.name not in {"base", environment}]
    folders = ["/".join(part for part in (above, name) if part) for name in names]
    return [folder for folder in folders if await snapshot.tree_id(folder) is None]


async def _entries(application: Application, layer: Layer, snapshot: Snapshot) -> list[tuple[str, Entry]]:
    """What a layer has, with the objects' names."""
    place = layer.place
    if application.target.files is not None:
        if found := await snapshot.entries(place):
            return [(entry.path[len(place) + 1 :], entry) for entry in found]
        return await _in_the_way(place, snapshot)
    if await snapshot.tree_id(place) is None:
        return await _in_the_way(place.rpartition("/")[0], snapshot)
    folder = place.rpartition("/")[0]
    return [(FLEET, entry) for entry in await snapshot.entries(folder) if entry.path == place]


async def _in_the_way(folder: str, snapshot: Snapshot) -> list[tuple[str, Entry]]:
    """What is no folder, though it stands where the folder, or one above it, would be."""
    while folder and await snapshot.tree_id(folder) is None:
        folder = folder.rpartition("/")[0]
    if not folder or await snapshot.entries(folder):
        return []
    above = await snapshot.entries(folder.rpartition("/")[0])
    problem = "it is a file, where a folder is wanted; move it away"
    return [
        (folder, replace(entry, problem=entry.problem or problem)) for entry in above if entry.path == folder
    ]


def _key(entry: Entry) -> _BlobKey:
    return documents.format_of(entry.path), entry.blob


def _piece(entry: Entry, read: Read) -> Piece:
    return Piece(entry.path, documents.format_of(entry.path), *read, entry.executable)


def _refusal(entry: Entry) -> SpecProblem:
    return SpecProblem(Severity.ERROR, entry.path, 1, 1, "", entry.problem)


def _read_all(
    formats: Sequence[Format], contents: Sequence[bytes]
) -> list[Mapping[str, Any] | DocumentError]:
    return [_document(format_, content) for format_, content in zip(formats, contents, strict=True)]


def _document(format_: Format, content: bytes) -> Mapping[str, Any] | DocumentError:
    try:
        return documents.read(format_, content)
    except DocumentError as error:
        return error
