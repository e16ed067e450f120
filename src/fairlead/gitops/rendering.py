"""From a commit to the objects that an application is to have: its layers, put upon each other.

How it works. What an application takes of each layer is a file (of a fleet) or a folder (of files), and Git
names both by their content. As long as these names are as before, so is the outcome, whatever else the commit
changed: nothing is read, nothing parsed. Else the files are listed and those read whose content is not
known yet; parsing, merging and looking for secrets happen in a thread.

A commit is taken or refused as a whole: an object that cannot be read is no object that is to be removed.
Everything that is wrong is told at once. Placeholders stay as they are written.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from fairlead.core.layer_files import Layer, relative
from fairlead.core.layers import merge
from fairlead.core.literal_secrets import written_out
from fairlead.core.overrides import diff, key_text
from fairlead.formats import documents
from fairlead.formats.place import DocumentError
from fairlead.formats.yaml_text import write_yaml
from fairlead.gitops.pieces import Gathered, Parsed, Piece, chosen_layers, gather, missing_layers
from fairlead.gitops.planning import FLEET
from fairlead.model.errors import Fault, Problem, ProblemError, SpecError
from fairlead.model.gitops import Application
from fairlead.model.reconciling import Desired, Format, Rendered
from fairlead.model.spec_problem import Loaded, Severity, SpecProblem
from fairlead.ports.gitops import Snapshot

_MOST_SHOWN: Final = 20  # problems in an error's text; its `problems` has all
_STRUCTURED: Final = frozenset({Format.JSON, Format.YAML, Format.TOML})

ReadFleet = Callable[[Sequence[tuple[str, bytes]]], Loaded]
"""Reads the layers of a fleet file, the lowest first, each with its name; never raises."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    """The objects are complete exactly when no problem is an error; `code` is that of the errors."""

    objects: Mapping[str, Desired]
    digest: str
    problems: tuple[SpecProblem, ...]
    code: str


@dataclass(frozen=True, slots=True)
class _Kept:
    """The last outcome of an application, and the names of what it was made of."""

    above: str | None  # the tree with all layers
    layers: tuple[Layer, ...]
    inputs: str
    outcome: _Outcome


class Renderer:
    """Renders applications. What was last rendered of each is kept."""

    def __init__(self, read_fleet: ReadFleet) -> None:
        self._read_fleet = read_fleet
        self._parsed = Parsed()
        self._kept: dict[str, _Kept] = {}
        self._renders = self._reuses = 0

    def __repr__(self) -> str:
        return f"Renderer({self.statistics()})"

    def statistics(self) -> dict[str, int]:
        """How often something was rendered, and was as before; files whose documents are kept."""
        return {"renders": self._renders, "reuses": self._reuses, "documents": len(self._parsed)}

    def forget(self, application: str) -> None:
        """It is gone."""
        self._kept.pop(application, None)

    async def inputs(self, application: Application, snapshot: Snapshot) -> str:
        """A name of all that the outcome depends on: as long as it is equal, nothing has changed.

        Raises ProblemError.
        """
        layers = chosen_layers(application)
        above = await snapshot.tree_id(relative(application.path))
        kept = self._kept.get(application.name)
        if kept is not None and kept.above == above and kept.layers == layers:
            return kept.inputs
        found = [f"{layer.place}\0{await snapshot.tree_id(layer.place)}" for layer in layers]
        kind = "fleet" if application.target.fleet else "files"
        return _sha256("\n".join([kind, *found]).encode("utf-8", "surrogateescape"))

    async def render(self, application: Application, snapshot: Snapshot) -> Rendered:
        """What Git says of the application at this commit.

        Raises ProblemError with all that is wrong: `source-refused` where the repository holds what is taken
        from nobody, else `config-invalid`.
        """
        outcome = await self._outcome(application, snapshot)
        errors = [problem for problem in outcome.problems if problem.severity is Severity.ERROR]
        if errors:
            raise _problem(outcome.code, errors)
        return Rendered(snapshot.commit.id, outcome.digest, outcome.objects, snapshot.commit.author)

    async def check(self, application: Application, snapshot: Snapshot) -> tuple[SpecProblem, ...]:
        """All that is wrong, warnings too. Raises ProblemError where nothing can be read."""
        return (await self._outcome(application, snapshot)).problems

    async def gather(self, application: Application, snapshot: Snapshot) -> Gathered:
        """The files that the objects are made of, for a change to be written back. Raises ProblemError."""
        return await gather(application, snapshot, self._parsed)

    async def _outcome(self, application: Application, snapshot: Snapshot) -> _Outcome:
        inputs = await self.inputs(application, snapshot)
        above = await snapshot.tree_id(relative(application.path))
        kept = self._kept.get(application.name)
        if kept is not None and kept.inputs == inputs:
            self._reuses += 1
            kept = replace(kept, above=above)
        else:
            self._renders += 1
            outcome = await self._render(application, snapshot)
            kept = _Kept(above, chosen_layers(application), inputs, outcome)
        self._kept[application.name] = kept
        return kept.outcome

    async def _render(self, application: Application, snapshot: Snapshot) -> _Outcome:
        gathered = await self.gather(application, snapshot)
        problems = list(gathered.refused)
        if not gathered.pieces and not problems:
            places = ", ".join(layer.place for layer in chosen_layers(application))
            message = f"{application.name}: no layer has anything; looked for {places}"
            problems.append(_error(relative(application.path) or ".", message, "mend `path` or `render`"))
        for folder in await missing_layers(application, snapshot):
            message = f"there is no such layer, though {application.name} names it"
            problems.append(SpecProblem(Severity.WARNING, folder, 1, 1, "", message, "mend `layers`"))
        work = self._fleet if application.target.fleet else _files
        objects, found = await asyncio.to_thread(work, gathered.pieces)
        code = "source-refused" if gathered.refused else "config-invalid"
        return _Outcome(objects, _digest(objects.values()), (*problems, *found), code)

    def _fleet(self, pieces: Mapping[str, Sequence[Piece]]) -> tuple[dict[str, Desired], list[SpecProblem]]:
        layers = pieces.get(FLEET, ())
        if not layers:
            return {}, []
        loaded = self._read_fleet([(piece.path, piece.content) for piece in layers])
        content = write_yaml(loaded.said).encode()
        fleet = Desired(FLEET, Format.YAML, content, loaded.said, whole=True)
        return {FLEET: fleet}, [*loaded.problems, *_secrets(layers)]


def _files(pieces: Mapping[str, Sequence[Piece]]) -> tuple[dict[str, Desired], list[SpecProblem]]:
    objects: dict[str, Desired] = {}
    problems: list[SpecProblem] = []
    for name, found in sorted(pieces.items()):
        unreadable = [
            _unreadable(piece, piece.document) for piece in found if isinstance(piece.document, DocumentError)
        ]
        problems += [*unreadable, *_secrets(found)]
        if unreadable:
            continue
        try:
            objects[name] = combined(name, found)
        except SpecError as error:
            problems.append(_error(found[-1].path, str(error), error.hint))
    return objects, [*problems, *_clashes(pieces)]


def _clashes(pieces: Mapping[str, Sequence[Piece]]) -> Iterator[SpecProblem]:
    """Where layers together want a file and a folder of the same name."""
    for name, found in sorted(pieces.items()):
        above = name
        while above := above.rpartition("/")[0]:
            if above in pieces:
                message = f"{pieces[above][-1].path} is a file where this one wants the folder {above!r}"
                yield _error(found[-1].path, message, "rename one of them")


def combined(name: str, pieces: Sequence[Piece]) -> Desired:
    """One object of readable pieces, the lowest first. Raises `SpecError`.

    Structured ones are merged, with the lowest one's comments; of others the last one counts.
    """
    parts = merging(pieces)
    last, first = parts[-1], parts[0]
    document = merge([_document(piece) for piece in parts])
    changes = diff(dict(_document(first)), document)
    content = documents.edit(first.format, first.content, changes) if changes else first.content
    return Desired(name, last.format, content, document, last.executable, whole="" in document)


def merging(pieces: Sequence[Piece]) -> Sequence[Piece]:
    """Those of readable pieces that count: all of them where they can be merged, else the last.

    Markdown is merged by its managed blocks, where all pieces have some.
    """
    structured = pieces[-1].format in _STRUCTURED
    blocks = pieces[-1].format is Format.MARKDOWN and all("" not in _document(piece) for piece in pieces)
    return pieces if structured or blocks else pieces[-1:]


def _document(piece: Piece) -> Mapping[str, Any]:
    assert not isinstance(piece.document, DocumentError)
    return piece.document


def _secrets(pieces: Sequence[Piece]) -> list[SpecProblem]:
    hint = (
        "write ${NAME} in its place, or keep it with `fairlead secrets`; and make it invalid: Git remembers"
    )
    found = []
    for piece in pieces:
        if isinstance(piece.document, DocumentError):
            continue
        for key, text in written_out(piece.document):
            before = piece.content.partition(text.encode("utf-8", "surrogatepass"))[0]
            line, column = (1, 1) if before == piece.content else _place(before)
            path = key_text(key) if key != ("",) else ""
            message = "this looks like a secret, which must not stand in Git"
            found.append(SpecProblem(Severity.ERROR, piece.path, line, column, path, message, hint))
    return found


def _place(before: bytes) -> tuple[int, int]:
    start = before.decode("utf-8", "replace")
    return start.count("\n") + 1, len(start) - start.rfind("\n")


def _unreadable(piece: Piece, error: DocumentError) -> SpecProblem:
    message = str(error).removeprefix(f"line {error.line}, column {error.column}: ")
    return SpecProblem(Severity.ERROR, piece.path, error.line, error.column, "", message, error.hint)


def _error(file: str, message: str, hint: str) -> SpecProblem:
    return SpecProblem(Severity.ERROR, file, 1, 1, "", message, hint)


def _problem(code: str, errors: Sequence[SpecProblem]) -> ProblemError:
    shown = [str(error) for error in errors]
    more = [f"and {len(shown) - _MOST_SHOWN} more"] if len(shown) > _MOST_SHOWN else []
    title = "The repository is refused" if code == "source-refused" else "Configuration invalid"
    detail = "\n".join([*shown[:_MOST_SHOWN], *more])
    return ProblemError(Problem(code, title, detail, 422, Fault.CLIENT, extra={"problems": shown}))


def _digest(objects: Iterable[Desired]) -> str:
    parts = [
        f"{each.id}\0{each.format}\0{each.executable}\0{each.whole}\0{_sha256(each.content)}"
        for each in sorted(objects, key=lambda each: each.id)
    ]
    return _sha256("\n".join(parts).encode("utf-8", "surrogateescape"))


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
