"""Hearing of changes of files below a root: at once by notifications, else at the next look.

What is watched are the folders on the way to the files, each by itself, as far as they are there; never all
of a home folder. Notifications only wake: what has changed is told by the files' marks.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Final

from fairlead.kit.watching import Watching
from fairlead.model.errors import ProblemError
from fairlead.ports.gitops import TargetAwayError
from fairlead.targets.file_tree import Mark, Parts, RefusedError, Tree, parts_of

Sign = Mark | str | None
"""A file's mark; why it cannot be had; None where there is none."""

Folders = dict[Path, tuple[int, int]]
"""With what tells each from another of the same name."""

MOST_NAMED: Final = 20  # changes at once that are told one by one


class Watched:
    """The objects whose changes are told, with the signs that they had when they were read last."""

    def __init__(self, root: Path, watching: Watching, interval: float) -> None:
        self._root = root
        self._watching = watching
        self._interval = interval
        self._signs: dict[str, Sign] = {}
        self._listening: set[asyncio.Event] = set()
        self._turn = 0  # grows when other objects are to be watched

    def __repr__(self) -> str:
        return f"Watched({self._root}, objects={len(self._signs)}, listening={len(self._listening)})"

    def learn(self, signs: Mapping[str, Sign]) -> None:
        """What a read has found; other objects than before are watched from now on."""
        others = signs.keys() != self._signs.keys()
        self._signs = dict(signs)
        if others:
            self._turn += 1
            for heard in self._listening:
                heard.set()

    async def changes(self) -> AsyncIterator[str]:
        """First "", then an object for each change, or "" for many. Never raises."""
        yield ""
        seen = dict(self._signs)
        heard = asyncio.Event()
        self._listening.add(heard)
        try:
            while True:
                async with aclosing(self._told(heard, seen)) as told:
                    async for name in told:
                        yield name
        finally:
            self._listening.discard(heard)

    async def _told(self, heard: asyncio.Event, seen: dict[str, Sign]) -> AsyncGenerator[str]:
        """As long as the same folders are to be watched. `seen` is kept up to date."""
        turn = self._turn
        for name in seen.keys() | self._signs.keys():
            if name not in self._signs:
                del seen[name]
            else:
                seen.setdefault(name, self._signs[name])
        names = list(seen)
        parts = [each for name in names if (each := _parts(name)) is not None]
        ours = {*self._root.parts, *(part for each in parts for part in each)}
        watched = await asyncio.to_thread(folders_of, self._root, parts)

        def wanted(path: str) -> bool:
            return path.rpartition("/")[2] in ours

        signs = self._watching.wakes(watched, poll=self._interval, wanted=wanted, heard=heard)
        async with aclosing(signs):
            async for _ in signs:
                now, there = await asyncio.to_thread(self._look, names, parts)
                changed = [name for name in names if now[name] != seen[name]]
                seen.update(now)
                for name in changed if len(changed) <= MOST_NAMED else [""]:
                    yield name
                if there != watched or turn != self._turn:
                    return

    def _look(self, names: Iterable[str], parts: Iterable[Parts]) -> tuple[dict[str, Sign], Folders]:
        return signs_of(self._root, names), folders_of(self._root, parts)


def signs_of(root: Path, names: Iterable[str]) -> dict[str, Sign]:
    """Of all of them, as they are now."""
    try:
        with Tree(root) as tree:
            return {name: _sign(tree, name) for name in names}
    except (TargetAwayError, ProblemError) as error:
        return dict.fromkeys(names, str(error))


def folders_of(root: Path, parts: Iterable[Parts]) -> Folders:
    """Those on the way to the files, as far as they are there. Links are not followed."""
    found: Folders = {}
    try:
        with Tree(root) as tree:
            for folder in sorted({each[:-1] for each in parts}):
                _on_the_way(tree, folder, found)
    except (TargetAwayError, ProblemError):
        return _nearest(root)
    return found


def _nearest(root: Path) -> Folders:
    for folder in (root, *root.parents):
        try:
            if stat.S_ISDIR((status := folder.stat()).st_mode):
                return {folder: _identity(status)}
        except OSError:
            continue
    return {}


def _on_the_way(tree: Tree, folder: Parts, found: Folders) -> None:
    try:
        for depth in range(len(folder) + 1):
            descriptor = tree.folder(folder[:depth])
            if descriptor is None:
                return
            found[tree.root.joinpath(*folder[:depth])] = _identity(os.fstat(descriptor))
    except (RefusedError, OSError):
        return  # the folders above it are watched: whoever mends it there is heard


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


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
