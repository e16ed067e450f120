"""A folder of this machine as if all of it was committed: what is checked before it is.

Implements `ports.gitops.Snapshot`. As in Git's trees, symbolic links and what is neither file nor folder are
refused entry by entry, and `.git` is left out. Blobs' names are those of Git.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from fairlead.core.tree_entries import LFS, LINK, SUBMODULE, is_lfs_pointer, name_problem
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.ports.gitops import Commit, Entry

MAX_BLOB: Final = 2**20  # bytes
MAX_ENTRIES: Final = 20_000
MAX_DEPTH: Final = 32


class FolderSnapshot:
    """Read once, when it is first asked; later changes are not seen."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._entries: list[Entry] | None = None
        self._contents: dict[str, bytes] = {}

    def __repr__(self) -> str:
        return f"FolderSnapshot({self._root})"

    @property
    def commit(self) -> Commit:
        """Of nobody: nothing is committed."""
        return Commit("0" * 40, "", 0.0, "", "0" * 40, {})

    async def tree_id(self, folder: str) -> str | None:
        found = await self.entries(folder)
        if not found:
            file = next((entry for entry in await self._all() if entry.path == folder), None)
            return file.blob if file else None
        said = "".join(f"{entry.path}\0{entry.blob}\0{entry.executable}\n" for entry in found)
        return hashlib.sha1(said.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()

    async def entries(self, folder: str) -> list[Entry]:
        if folder in {"", "."}:
            return await self._all()
        return [entry for entry in await self._all() if entry.path.startswith(f"{folder}/")]

    async def read(self, blobs: Sequence[str]) -> list[bytes]:
        await self._all()
        return [self._contents[blob] for blob in blobs]

    async def _all(self) -> list[Entry]:
        if self._entries is None:
            self._entries = await asyncio.to_thread(self._look)
        return self._entries

    def _look(self) -> list[Entry]:
        entries: list[Entry] = []
        for entry in self._walk(self._root, "", 0):
            if len(entries) >= MAX_ENTRIES:
                raise _refused(f"there are more than {MAX_ENTRIES:,} files below {self._root}")
            entries.append(entry)
        return sorted(entries, key=lambda entry: entry.path)

    def _walk(self, folder: Path, above: str, depth: int) -> Iterator[Entry]:
        if depth > MAX_DEPTH:
            raise _refused(f"{above[:80]!r} is nested more than {MAX_DEPTH} folders deep; flatten it")
        with os.scandir(folder) as found:
            for item in found:
                if item.name == ".git":
                    continue
                path = f"{above}/{item.name}" if above else item.name
                problem = name_problem(os.fsencode(item.name), path)
                is_folder = item.is_dir(follow_symlinks=False)
                if not problem and is_folder and (folder / item.name / ".git").exists():
                    problem = SUBMODULE
                if problem:
                    shown = os.fsencode(path).decode(errors="backslashreplace")
                    yield Entry(shown, "0" * 40, 0, executable=False, problem=problem)
                elif is_folder:
                    yield from self._walk(folder / item.name, path, depth + 1)
                else:
                    yield self._file(folder / item.name, path)

    def _file(self, file: Path, path: str) -> Entry:
        status = file.lstat()
        problem, content = "", b""
        if stat.S_ISLNK(status.st_mode):
            problem = LINK
        elif not stat.S_ISREG(status.st_mode):
            problem = "it is neither a file nor a folder; remove it"
        elif status.st_size > MAX_BLOB:
            problem = f"it has {status.st_size:,} bytes; at most {MAX_BLOB:,} are taken"
        else:
            content = file.read_bytes()
            problem = LFS if is_lfs_pointer(content) else ""
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
        self._contents[blob] = content
        executable = bool(status.st_mode & stat.S_IXUSR)
        return Entry(path, blob, len(content), executable=executable and not problem, problem=problem)


def _refused(detail: str) -> ProblemError:
    return ProblemError(Problem("source-refused", "the folder is refused", detail, 422, Fault.CLIENT))
