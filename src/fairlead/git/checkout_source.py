"""The checkout that one stands in, as a source: what its HEAD has of one file. It is never written to.

`CheckoutSource` looks at it through `Checkout`, and its snapshot shows the file as the one layer `base/` of a
configuration repository, so that what renders layers renders it, too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from fairlead.git.checkout import Checkout, Sight, Version
from fairlead.git.places import locate_above
from fairlead.git.reader import Reader
from fairlead.git.snapshot import TreeSnapshot, asked, commit_at, log_of
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.model.reconciling import Reason
from fairlead.ports.gitops import Commit, Entry, Proposal

NAME: Final = "checkout"
LAYER: Final = "base"
_ODD: Final = (
    Reason.NO_REPOSITORY,
    Reason.NO_COMMIT,
    Reason.FOREIGN_OWNER,
    Reason.SOURCE_REFUSED,
    Reason.SOURCE_AWAY,
    Reason.DETACHED_HEAD,
    Reason.SHALLOW_CLONE,
    Reason.LINKED_WORKTREE,
)
"""The worst first."""


def not_committed(path: str) -> str:
    """For a person."""
    return f"{path} is not in the last commit: `git add` it, and commit it"


class CheckoutSource:
    """Implements `ports.gitops.GitSource` for the file `folder/name`. `run` keeps it fresh."""

    def __init__(
        self,
        folder: Path,
        name: str,
        on_changed: Callable[[], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._file = name
        self._checkout = Checkout(folder, [name])
        self._on_changed = on_changed
        self._clock = clock
        self._sight: Sight | None = None
        self._seen_at: float | None = None
        self._head: OneFile | None = None
        self._reader: Reader | None = None
        self._place: Path | None = None
        self._looking = asyncio.Lock()
        self._asked = asyncio.Event()

    def __repr__(self) -> str:
        head = self._head.commit.id[:12] if self._head else "none"
        return f"CheckoutSource({self._folder / self._file}, head={head}, problem={self.problem})"

    @property
    def name(self) -> str:
        return NAME

    @property
    def branch(self) -> str:
        """Empty where HEAD is on none."""
        return (self._sight.branch or "") if self._sight is not None else ""

    @property
    def head(self) -> OneFile | None:
        return self._head

    @property
    def problem(self) -> tuple[str, str] | None:
        oddities = self._sight.oddities if self._sight is not None else ()
        worst = min(oddities, key=lambda each: _ODD.index(each.reason), default=None)
        return None if worst is None else (worst.reason, worst.message)

    @property
    def age(self) -> float | None:
        return None if self._seen_at is None else self._clock() - self._seen_at

    @property
    def version(self) -> Version | None:
        """The file as HEAD has it, and as it is on disk, as last seen."""
        return self._sight.files[0] if self._sight is not None and self._sight.files else None

    async def run(self) -> None:
        """Look at each change of the branch and of the file, and when asked to, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow())
            tasks.create_task(self._answer())

    async def _follow(self) -> None:
        async for _ in self._checkout.changes():
            await self.refresh()

    async def _answer(self) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            await self.refresh()

    def wake(self) -> None:
        """Look now, whatever notifications say."""
        self._asked.set()

    async def refresh(self) -> bool:
        async with self._looking:
            before = self._sight
            self._sight = sight = await self._checkout.look()
            if sight.head is None or sight.root is None:
                self._head = None
            elif self._head is None or self._head.commit.id != sight.head.id:
                reader = await self._opened()
                self._head = None if reader is None else self._as_one_file(reader, sight.root, sight.head)
            if sight.head is not None:
                self._seen_at = self._clock()
            changed = before != sight
        if changed:
            self._on_changed()
        return changed

    async def snapshot(self, commit: str) -> OneFile:
        if self._head is not None and self._head.commit.id == commit:
            return self._head
        if self._sight is not None and self._sight.root is not None and self._reader is not None:
            found = await asked(self._reader, lambda repository: commit_at(repository, commit))
            if found is not None:
                return self._as_one_file(self._reader, self._sight.root, found)
        detail = f"commit {commit[:80]!r} is not in the checkout {self._folder}"
        raise ProblemError(Problem("unknown-commit", "no such commit", detail, 404, Fault.CLIENT))

    async def log(self, limit: int, *, path: str = "") -> list[Commit]:
        if self._head is None or self._reader is None:
            return []
        start = self._head.commit.id
        return await asked(self._reader, lambda repository: log_of(repository, start, limit, path))

    async def propose(self, proposal: Proposal) -> str:
        detail = (
            f"{self._folder} is somebody's checkout, into which nothing is pushed: commit the change there, "
            "or name the repository as a source in gitops.yml"
        )
        raise ProblemError(Problem("proposal-refused", "Not proposed", detail, 409, Fault.CLIENT))

    async def withdraw(self, branch: str) -> None:
        """There is none: `propose` makes none."""

    async def close(self) -> None:
        if self._reader is not None:
            await self._reader.close()

    async def _opened(self) -> Reader | None:
        """A reader of the repository, another one where the folder has another repository by now."""
        places = await asyncio.to_thread(locate_above, self._folder)
        if places is None:
            return None
        if self._reader is None or self._place != places.common_dir:
            if self._reader is not None:
                await self._reader.close()
            self._place = places.common_dir
            self._reader = Reader(places.common_dir, lambda: None)
        return self._reader

    def _as_one_file(self, reader: Reader, root: Path, commit: Commit) -> OneFile:
        below = self._folder.resolve().relative_to(root.resolve())
        path = (below / self._file).as_posix()
        return OneFile(TreeSnapshot(reader, commit), path, f"{LAYER}/{self._file}")


class OneFile:
    """Implements `ports.gitops.Snapshot`: a commit, of which one file is seen, at another path."""

    def __init__(self, tree: TreeSnapshot, path: str, shown: str) -> None:
        self._tree = tree
        self.path = path
        self._shown = shown

    def __repr__(self) -> str:
        return f"OneFile({self.path} of {self._tree!r})"

    @property
    def commit(self) -> Commit:
        return self._tree.commit

    async def tree_id(self, folder: str) -> str | None:
        below = folder.strip("/")
        if below in {"", ".", LAYER, self._shown}:
            return await self._tree.tree_id(self.path)
        return None

    async def entries(self, folder: str) -> list[Entry]:
        if folder.strip("/") not in {"", ".", LAYER}:
            return []
        entry = await self._tree.entry(self.path)
        return [] if entry is None else [replace(entry, path=self._shown)]

    async def read(self, blobs: Sequence[str]) -> list[bytes]:
        return await self._tree.read(blobs)
