"""Where an application's layers lie in its repository, and which of their files a change belongs to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fairlead.core.layers import merge
from fairlead.core.overrides import ABSENT, REMOVED, Document, Edit, Key, diff, lookup
from fairlead.model.errors import SpecError
from fairlead.model.gitops import Application


@dataclass(frozen=True, slots=True)
class Layer:
    """`name` is how people call it (`environments/staging`), `place` what is taken of it, from the root."""

    name: str
    place: str


@dataclass(frozen=True, slots=True)
class LayerFile:
    """A file of a layer that has part in an object. `path` is from the repository's root."""

    path: str
    document: Mapping[str, Any]


def layers_of(application: Application) -> tuple[Layer, ...]:
    """The lowest first. Raises `SpecError` for a path that leads out of the repository."""
    chosen = application.layers
    names = [
        "base",
        f"environments/{application.environment}",
        *(f"teams/{name}" for name in [chosen.team] if name),
        *(f"projects/{name}" for name in [chosen.project] if name),
        *(f"users/{name}" for name in [chosen.user] if name),
    ]
    above, below = relative(application.path), relative(application.render)
    if not below:
        raise SpecError("nothing is taken from the layers", "name a file, or a folder such as `files`")
    return tuple(Layer(name, "/".join(part for part in (above, name, below) if part)) for name in names)


def relative(path: str) -> str:
    """A path from a repository's root, in its simplest form; empty for the root. Raises `SpecError`."""
    parts = [part for part in path.split("/") if part not in {"", "."}]
    if path.startswith("/") or ".." in parts or ".git" in parts or "\\" in path or "\0" in path:
        raise SpecError(
            f"{path[:80]!r} does not stay in the repository", "write a path from its root, such as apps/mcp"
        )
    return "/".join(parts)


def spread(files: Sequence[LayerFile], wanted: Document) -> dict[str, list[Edit]]:
    """By file, the edits after which the layers together make what is wanted, which has no nulls.

    A value goes to the layer that it is from, a new one to the highest that has something around its key.
    What is to go is taken out of all of them: a layer's null would only leave it to those below. `files` are
    the lowest first, and not empty.
    """
    found: dict[str, list[Edit]] = {}
    for edit in diff(merge([file.document for file in files]), wanted):
        home = None if edit.value is REMOVED else _home(files, edit.key)
        if home is None or isinstance(edit.value, dict):
            for file in files:
                if file is not home and lookup(dict(file.document), edit.key) is not ABSENT:
                    found.setdefault(file.path, []).append(Edit(edit.key, REMOVED))
        if home is not None:
            found.setdefault(home.path, []).append(edit)
    return found


def _home(files: Sequence[LayerFile], key: Key) -> LayerFile:
    home, most = files[-1], 0
    for file in reversed(files):
        depth, hides = _reach(file.document, key)
        if depth == len(key):
            return file
        if hides:
            break
        if depth > most:
            home, most = file, depth
    return home


def _reach(document: Mapping[str, Any], key: Key) -> tuple[int, bool]:
    """How many parts of the key a layer knows, and whether it hides what those below say there."""
    value: Any = document
    for depth, part in enumerate(key):
        if not isinstance(value, Mapping):
            return depth, True
        value = value.get(part)
        if value is None:
            return depth, False
    return len(key), False
