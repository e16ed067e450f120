"""Hearing of changes of files below a root: at once by notifications, else at the next look.

What is watched are the folders that the files are in, or would be in as far as there are such; never all of
a home folder. Notifications only wake: what has changed is told by the files' marks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Final

from watchfiles import Change

from fairlead.kit.watching import wakes
from fairlead.model.errors import ProblemError
from fairlead.ports.gitops import TargetAwayError
from fairlead.targets.file_tree import Mark, Parts, RefusedError, Tree, parts_of

Sign = Mark | str | None
"""A file's mark; why it cannot be had; None where there is none."""

MOST_NAMED: Final = 20  # changes at once that are told one by one


class Watched:
    """The objects whose changes are told, with the signs that they had when they were read last."""

    def __init__(self, root: Path, interval: float) -> None:
        self._root = root
        self._interval = interval
        self._signs: dict[str, Sign] = {}
        self._listening: set[asyncio.Event] = set()

    def __repr__(self) -> str:
        return f"Watched({self._root}, objects={len(self._signs)}, listening={len(self._listening)})"

    def learn(self, signs: Mapping[str, Sign]) -> None:
        """What a read has found; other objects than before are watched from now on."""
        others = signs.keys() != self._signs.keys()
        self._signs = dict(signs)
        if others:
            for stop in self._listening:
                stop.set()

    async def changes(self) -> AsyncIterator[str]:
        """First "", then an object for each change, or "" for many. Never raises."""
        yield ""
        seen = dict(self._signs)
        while True:
            stop = asyncio.Event()
            self._listening.add(stop)
            try:
                async for name in self._until(stop, seen):
                    yield name
            finally:
                self._listening.discard(stop)

    async def _until(self, stop: asyncio.Event, seen: dict[str, Sign]) -> AsyncIterator[str]:
        """As long as the same folders are to be watched. `seen` is kept up to date."""
        for name in seen.keys() | self._signs.keys():
            if name not in self._signs:
                del seen[name]
            else:
                seen.setdefault(name, self._signs[name])
        names = list(seen)
        parts = [each for name in names if (each := _parts(name)) is not None]
        heard = {self._root.name, *(part for each in parts for part in each)}
        watched: set[Path] = set()

        def folders() -> set[Path]:
            watched.update(folders_of(self._root, parts))
            return watched

        def wanted(_: Change, path: str) -> bool:
            return path.rpartition("/")[2] in heard

        signs = wakes(folders, poll=self._interval, wanted=wanted, stop=stop)
        async with aclosing(signs):
            async for _ in signs:
                now, there = await asyncio.to_thread(self._look, names, parts)
                changed = [name for name in names if now[name] != seen[name]]
                seen.update(now)
                for name in changed if len(changed) <= MOST_NAMED else [""]:
                    yield name
                if there != watched:
                    return

    def _look(self, names: Iterable[str], parts: Iterable[Parts]) -> tuple[dict[str, Sign], set[Path]]:
        return signs_of(self._root, names), folders_of(self._root, parts)


def signs_of(root: Path, names: Iterable[str]) -> dict[str, Sign]:
    """Of all of them, as they are now."""
    try:
        with Tree(root) as tree:
            return {name: _sign(tree, name) for name in names}
    except (TargetAwayError, ProblemError) as error:
        return dict.fromkeys(names, str(error))


def folders_of(root: Path, parts: Iterable[Parts]) -> set[Path]:
    """Those that the files are in; where one lacks, the nearest above. Links are not followed."""
    found: set[Path] = set()
    try:
        with Tree(root) as tree:
            for folder in sorted({each[:-1] for each in parts}):
                found.add(_nearest(tree, folder))
    except (TargetAwayError, ProblemError):
        while not root.is_dir() and root != root.parent:
            root = root.parent
        return {root}
    return found


def _nearest(tree: Tree, folder: Parts) -> Path:
    for depth in range(len(folder), 0, -1):
        try:
            if tree.folder(folder[:depth]) is not None:
                return tree.root.joinpath(*folder[:depth])
        except (RefusedError, OSError):
            continue
    return tree.root


def _sign(tree: Tree, name: str) -> Sign:
    try:
        return tree.mark(parts_of(name))
    except RefusedError as error:
        return str(error)
    except OSError as error:
        return error.strerror


def _parts(name: str) -> Parts | None:
    try:
        return parts_of(name)
    except RefusedError:
        return None
