"""Which files of the repository a change of objects is in, so that Git can be asked to take it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fairlead.core.layer_files import LayerFile, spread
from fairlead.core.layers import merge
from fairlead.core.object_edits import merged, mode_of, plain
from fairlead.core.overrides import ABSENT, Edit, Key
from fairlead.formats import documents
from fairlead.formats.place import DocumentError
from fairlead.gitops.pieces import Gathered, Piece, chosen_layers
from fairlead.gitops.planning import FLEET
from fairlead.gitops.rendering import merging
from fairlead.model.errors import Fault, Problem, ProblemError, SpecError
from fairlead.model.gitops import Application


@dataclass(frozen=True, slots=True)
class FileChanges:
    """By path from the repository's root: the new contents (None: gone), and the edits that make them.

    They are what `ports.gitops.Proposal` takes under the same names.
    """

    files: Mapping[str, bytes | None]
    merge: Mapping[str, Sequence[tuple[Key, Any]]]
    modes: Mapping[str, bool] = field(default_factory=dict)
    """Whether a file is to be executable; one that is not named is as it was."""


def written_back(
    application: Application, gathered: Gathered, edits: Mapping[str, Sequence[Edit]]
) -> FileChanges:
    """The changes that make the application's objects come out as `edits` (by object) say.

    A key goes to the layer that it is from, a new object to the highest layer; what is removed goes from all
    layers. Raises ProblemError for what cannot be written so.
    """
    files: dict[str, bytes | None] = {}
    found: dict[str, Sequence[tuple[Key, Any]]] = {}
    modes: dict[str, bool] = {}
    for name, changes in edits.items():
        pieces = gathered.pieces.get(name, ())
        try:
            parts = merging(pieces) if pieces else ()
            current = merge([_document(piece) for piece in parts]) if parts else ABSENT
            wanted = merged(current, plain(current, changes))
            if wanted is ABSENT or not isinstance(wanted, Mapping):
                files |= dict.fromkeys([piece.path for piece in pieces])
            elif not parts:
                path = _new_path(application, name)
                files[path] = documents.write(documents.format_of(path), wanted)
            else:
                by_path = {piece.path: piece for piece in parts}
                layers = [LayerFile(piece.path, _document(piece)) for piece in parts]
                for path, own in spread(layers, dict(wanted)).items():
                    files[path] = documents.edit(by_path[path].format, by_path[path].content, own)
                    found[path] = [(edit.key, edit.value) for edit in own]
                if (executable := mode_of(changes)) is not None:
                    files.setdefault(parts[-1].path, parts[-1].content)
                    modes[parts[-1].path] = executable
        except SpecError as error:
            detail = f"{name}: {error}" + (f"; {error.hint}" if error.hint else "")
            problem = Problem("proposal-refused", "Not proposable", detail, 422, Fault.CLIENT)
            raise ProblemError(problem) from error
    return FileChanges(files, found, modes)


def _new_path(application: Application, name: str) -> str:
    place = chosen_layers(application)[-1].place
    return place if name == FLEET and application.target.fleet else f"{place}/{name}"


def _document(piece: Piece) -> Mapping[str, Any]:
    if isinstance(piece.document, DocumentError):
        raise piece.document
    return piece.document
