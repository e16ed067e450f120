"""Snapshots made of dicts: what `git/` reads from a mirror, without Git."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from fairlead.ports.gitops import Commit, Entry

AUTHOR = "Ada <ada@example.org>"


class FakeSnapshot:
    """`files` by path; `problems` are entries that are refused. `reads` counts blobs that were read."""

    def __init__(
        self,
        files: Mapping[str, str | bytes],
        *,
        commit: str = "c1",
        executable: Sequence[str] = (),
        problems: Mapping[str, str] | None = None,
    ) -> None:
        self._contents = {
            path: text.encode() if isinstance(text, str) else text for path, text in files.items()
        }
        self._problems = dict(problems or {})
        self._executable = set(executable)
        self._commit = Commit(commit, AUTHOR, 1.0, "a change", _sha(repr(sorted(files.items()))), {})
        self.reads: list[str] = []

    @property
    def commit(self) -> Commit:
        return self._commit

    async def tree_id(self, folder: str) -> str | None:
        if folder in self._contents:
            return _sha(self._contents[folder])
        if folder in self._problems:
            return _sha(folder)
        found = await self.entries(folder)
        return _sha(repr(found)) if found else None

    async def entry(self, path: str) -> Entry | None:
        return next((each for each in await self.entries("") if each.path == path), None)

    async def entries(self, folder: str) -> list[Entry]:
        start = "" if folder in {"", "."} else f"{folder}/"
        good = [
            Entry(path, _sha(content), len(content), path in self._executable)
            for path, content in self._contents.items()
        ]
        bad = [Entry(path, _sha(path), 0, False, problem) for path, problem in self._problems.items()]
        return sorted(
            (entry for entry in (*good, *bad) if entry.path.startswith(start)), key=lambda each: each.path
        )

    async def read(self, blobs: Sequence[str]) -> list[bytes]:
        self.reads += blobs
        by_id = {_sha(content): content for content in self._contents.values()}
        return [by_id[blob] for blob in blobs]


def _sha(content: str | bytes) -> str:
    return hashlib.sha1(content.encode() if isinstance(content, str) else content).hexdigest()
