"""Files below a folder as a target: each object is a file, by its path from there.

A file is written whole or not at all (`file_writing`), never through a link or outside of the folder
(`file_tree`), and only if it is as it was when it was read. Secrets are filled in at the last moment, and
taken out of what is read (`file_secrets`): of their values, only the bytes of a `Live` know.

What was read is kept: a file that has not changed since is neither read nor parsed again.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from fairlead.formats import documents
from fairlead.formats.place import DocumentError
from fairlead.kit.watching import Watching
from fairlead.model.errors import SpecError
from fairlead.model.reconciling import Base, Desired, Live
from fairlead.ports.gitops import ChangedMeanwhileError, Health, TargetAwayError, Write
from fairlead.targets.file_secrets import Expected, Resolve, Values, names_in, values
from fairlead.targets.file_tree import (
    LARGEST,
    Closed,
    File,
    Parts,
    RefusedError,
    Tree,
    parts_of,
    refused,
    tag_of,
    told,
)
from fairlead.targets.file_watch import Sign, Watched
from fairlead.targets.file_writing import At, Content, Place, sweep

INTERVAL: Final = 5.0  # s between looks for changes that no notification told of

_T = TypeVar("_T")
_NO_SECRETS: Final = Expected(None, None)


@dataclass(frozen=True, slots=True)
class _Kept:
    """What was read of a file, and the state that it was shown in."""

    file: File
    raw: Mapping[str, Any] | DocumentError
    expected: Expected
    secrets: Values
    live: Live


class FilesTarget:
    """Implements `ports.gitops.Target` for the files of one folder.

    `root` is an absolute folder that is there. What is in a `closed` file or folder is neither read nor
    written. `watching` is for all targets of a process; without it, this one has its own. `interval` is in s.
    `at` is told of each step of a write, see `FAULT_POINTS`.
    """

    def __init__(
        self,
        root: Path,
        resolve: Resolve,
        *,
        closed: Sequence[Path] = (),
        watching: Watching | None = None,
        interval: float = INTERVAL,
        at: At = lambda _: None,
    ) -> None:
        self._root = root
        self._resolve = resolve
        self._closed = Closed(root, closed)
        self._at = at
        self._lock = threading.Lock()  # of all below, which threads change
        self._own = watching is None
        self._watching = Watching() if watching is None else watching
        self._watched = Watched(root, self._watching, interval)
        self._expected: dict[str, Expected] = {}
        self._kept: dict[str, _Kept] = {}
        self._swept: set[Parts] = set()
        self._written: dict[str, str | None] = {}
        self._reads = 0

    def __repr__(self) -> str:
        return f"FilesTarget({self._root}, {self.statistics()})"

    def statistics(self) -> dict[str, int]:
        """Files that are kept, and how often one was read and parsed."""
        return {"kept": len(self._kept), "reads": self._reads, "written": len(self._written)}

    def expect(self, objects: Mapping[str, Desired], bases: Mapping[str, Base]) -> None:
        """What Git wants, and what was applied last: the next `read` and `write` know secrets by it."""
        found: dict[str, Expected] = {}
        for name in {*objects, *bases}:
            desired = objects[name].document if name in objects else None
            base = bases[name].document if name in bases else None
            known = self._expected.get(name)
            same = known is not None and known.is_of(desired, base)
            found[name] = known if known is not None and same else Expected(desired, base)
        self._expected = found

    async def read(self, objects: Sequence[str]) -> dict[str, Live]:
        """Those that are there, and with their `problem` those that cannot be had."""
        names = {name for each in self._expected.values() for name in each.names}
        secrets = values(names, self._resolve)
        lives, signs = await self._in_thread(lambda: self._read_all(sorted(set(objects)), secrets))
        self._watched.learn(signs)
        return lives

    def normal(self, document: Mapping[str, Any]) -> dict[str, Any]:
        return dict(document)

    async def check(self, writes: Sequence[Write]) -> str:
        secrets = await self._secrets(writes)
        return await self._in_thread(lambda: self._check_all(writes, secrets))

    async def write(self, write: Write) -> str | None:
        secrets = await self._secrets([write])
        return await self._in_thread(lambda: self._write(write, secrets))

    async def health(self) -> Health:
        """What is on the disk is in force; whoever changes it meanwhile makes nothing unhealthy."""
        changed = await self._in_thread(self._changed_since)
        text = f"{len(self._written)} files are written"
        if changed:
            text = f"{text}, of which somebody has changed {', '.join(changed)} since then"
        return Health(healthy=True, done=True, message=text)

    def changes(self) -> AsyncIterator[str]:
        return self._watched.changes()

    async def close(self) -> None:
        """Whoever iterates over `changes` ends that."""
        if self._own:
            await self._watching.close()

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        """A write that has begun ends before whoever asked for it goes on, even if that is cancelled."""

        def locked() -> _T:
            with self._lock:
                return work()

        running = asyncio.ensure_future(asyncio.to_thread(locked))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait([running])
            if not running.cancelled():
                running.exception()  # nobody asks for it any more
            raise

    async def _secrets(self, writes: Sequence[Write]) -> Values:
        """Of all that the contents mention; a person's own mention may lack."""
        found = await asyncio.to_thread(_mentioned, writes)
        names = {name for write in writes for name in self._expecting(write.object).names}
        return values(found | names, self._resolve)

    def _expecting(self, name: str) -> Expected:
        return self._expected.get(name, _NO_SECRETS)

    # -- in a thread ------------------------------------------------------------------------------------

    def _read_all(self, names: Sequence[str], secrets: Values) -> tuple[dict[str, Live], dict[str, Sign]]:
        lives: dict[str, Live] = {}
        signs: dict[str, Sign] = {}
        with Tree(self._root) as tree:
            for name in sorted(names, key=lambda each: each.rpartition("/")[::2]):
                try:
                    live, signs[name] = self._read(tree, name, secrets)
                except RefusedError as error:
                    live, signs[name] = self._problem(name, str(error)), str(error)
                except OSError as error:
                    trouble = told(error, self._root / name)
                    if isinstance(trouble, TargetAwayError):
                        raise trouble from None
                    live, signs[name] = self._problem(name, str(trouble)), error.strerror
                if live is not None:
                    lives[name] = live
        self._kept = {name: self._kept[name] for name in names if name in self._kept}
        return lives, signs

    def _read(self, tree: Tree, name: str, secrets: Values) -> tuple[Live | None, Sign]:
        parts = self._parts(name)
        self._sweep(tree, parts[:-1])
        expected = self._expecting(name)
        lacking = expected.lacks(secrets) if expected else ""
        mark = tree.mark(parts)
        if mark is None:
            self._kept.pop(name, None)
            return (self._problem(name, lacking) if lacking else None), None
        if lacking:
            return self._problem(name, lacking), mark
        kept = self._kept.get(name)
        if kept is None or kept.file.mark != mark or not kept.file.settled:
            file = tree.read(parts)
            if file is None:
                return None, None
            kept = self._taken(name, file, kept, secrets)
        elif kept.expected is not expected or kept.secrets != secrets:
            kept = self._shown(name, kept.file, kept.raw, secrets)
        self._kept[name] = kept
        return kept.live, kept.file.mark

    def _taken(self, name: str, file: File, kept: _Kept | None, secrets: Values) -> _Kept:
        """Of a file that was read anew; it may be as before."""
        if kept is not None and kept.file.content == file.content:
            return self._shown(name, file, kept.raw, secrets)
        self._reads += 1
        try:
            raw: Mapping[str, Any] | DocumentError = documents.read(documents.format_of(name), file.content)
        except DocumentError as error:
            raw = error
        return self._shown(name, file, raw, secrets)

    def _shown(self, name: str, file: File, raw: Mapping[str, Any] | DocumentError, secrets: Values) -> _Kept:
        expected = self._expecting(name)
        if isinstance(raw, DocumentError):
            problem = f"{self._root / name}: {raw}; {raw.hint}"
            live = Live(name, file.tag, file.content, {}, problem, executable=file.executable)
        else:
            document = expected.shown(raw, secrets) if secrets.found or expected else raw
            live = Live(name, file.tag, file.content, document, executable=file.executable)
        return _Kept(file, raw, expected, secrets, live)

    def _parts(self, name: str) -> Parts:
        """Raises RefusedError for a path that could lead elsewhere, or to what is closed."""
        parts = parts_of(name)
        self._closed.check(parts)
        return parts

    def _problem(self, name: str, reason: str) -> Live:
        return Live(name, "", b"", {}, reason)

    def _sweep(self, tree: Tree, folder: Parts) -> None:
        if folder not in self._swept and (descriptor := tree.folder(folder)) is not None:
            sweep(descriptor)
            self._swept.add(folder)

    def _check_all(self, writes: Sequence[Write], secrets: Values) -> str:
        with Tree(self._root) as tree:
            return "\n".join(self._checked(tree, write, secrets) for write in writes)

    def _checked(self, tree: Tree, write: Write, secrets: Values) -> str:
        where = self._root / write.object
        try:
            parts = self._parts(write.object)
            there = tree.read(parts)
            if why := tree.unwritable(parts[:-1]):
                raise RefusedError(why)
            if write.content is None:
                return f"removes {where}" if there else f"{where} is not there"
            content = self._content(write, there, secrets)
        except RefusedError as error:
            raise refused(where, str(error)) from None
        except OSError as error:
            raise told(error, where) from None
        size = f"{len(content.data):,} bytes"
        if there is None:
            return f"creates {where}: {size}"
        same = there.tag == tag_of(content.data, executable=content.executable)
        return f"leaves {where} as it is" if same else f"changes {where}: {size}"

    def _write(self, write: Write, secrets: Values) -> str | None:
        where = self._root / write.object
        try:
            with Tree(self._root) as tree:
                tag = self._carried_out(tree, write, secrets)
        except RefusedError as error:
            raise refused(where, str(error)) from None
        except OSError as error:
            raise told(error, where) from None
        self._written[write.object] = tag
        return tag

    def _carried_out(self, tree: Tree, write: Write, secrets: Values) -> str | None:
        parts = self._parts(write.object)
        place = Place(tree, parts, write.tag, self._at)
        there = place.look(tree)
        if write.content is None:
            if there is not None:
                place.remove()
            return None
        content = self._content(write, there, secrets)
        tag = tag_of(content.data, executable=content.executable)
        if tag != write.tag or (there is not None and content.private and there.mode & 0o077):
            place.put(content, there)
        return tag

    def _content(self, write: Write, there: File | None, secrets: Values) -> Content:
        """Raises RefusedError, and ProblemError for a secret that lacks."""
        assert write.content is not None
        expected, format_ = self._expecting(write.object), documents.format_of(write.object)
        try:
            before = documents.read(format_, there.content) if there is not None else {}
        except DocumentError:
            before = {}  # nobody has put a placeholder into what cannot be read
        try:
            data = expected.filled(format_, write.content, before, secrets)
        except SpecError as error:
            raise RefusedError(f"what is to be written is refused: {error}; {error.hint}") from None
        if len(data) > LARGEST:
            raise RefusedError(f"what is to be written has {len(data):,} bytes, more than {LARGEST:,}")
        return Content(data, write.executable, private=bool(expected) or data != write.content)

    def _changed_since(self) -> list[str]:
        changed = []
        with Tree(self._root) as tree:
            for name, tag in sorted(self._written.items()):
                try:
                    there = tree.read(self._parts(name))
                except (RefusedError, ChangedMeanwhileError, OSError):
                    changed.append(name)
                    continue
                if (None if there is None else there.tag) != tag:
                    changed.append(name)
        return changed


def _mentioned(writes: Sequence[Write]) -> frozenset[str]:
    found: set[str] = set()
    for write in writes:
        if write.content is not None:
            try:
                found |= names_in(documents.read(documents.format_of(write.object), write.content))
            except DocumentError:
                continue  # refused when it is to be written
    return frozenset(found)
