"""The checkout that one stands in: looked at, never written to.

libgit2 reads it without a lock and without refreshing its index, as `git status` would. What is odd about a
checkout (no repository, no commit yet, a detached HEAD, a shallow clone, a linked worktree, somebody else's
folder) is a condition with a reason, and hinders nothing but what it must.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pygit2

from fairlead.git.places import Places, locate_above
from fairlead.git.snapshot import blob_at, commit_of
from fairlead.git.watching import changes
from fairlead.model.errors import ProblemError
from fairlead.model.reconciling import Reason
from fairlead.ports.gitops import Commit

_MOST_READ: Final = 2**20  # bytes of one file
_PREFIX: Final = "ref: refs/heads/"


@dataclass(frozen=True, slots=True)
class Oddity:
    """`message` is for a person, and says how to mend it where it needs mending."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Version:
    """A file, as HEAD has it and as it is on disk; None where it is not there."""

    path: str  # from the folder that was asked for
    committed: bytes | None = field(repr=False)
    present: bytes | None = field(repr=False)

    @property
    def uncommitted(self) -> bool:
        """Line ends do not count: git may write other ones than it keeps."""
        return _plain(self.committed) != _plain(self.present)


@dataclass(frozen=True, slots=True)
class Sight:
    """What one look saw. `branch` is None without a repository, or with a detached HEAD."""

    root: Path | None  # the worktree's top
    branch: str | None
    head: Commit | None
    oddities: tuple[Oddity, ...]
    files: tuple[Version, ...]

    @property
    def uncommitted(self) -> tuple[str, ...]:
        return tuple(version.path for version in self.files if self.head and version.uncommitted)


class Checkout:
    """Observes some files of the repository that `folder` is in."""

    def __init__(self, folder: Path, paths: Sequence[str]) -> None:
        self._folder = folder.resolve()
        self._paths = tuple(paths)

    def __repr__(self) -> str:
        return f"Checkout({self._folder}, {', '.join(self._paths)})"

    async def look(self) -> Sight:
        return await asyncio.to_thread(self._look)

    async def changes(self, *, poll: float = 2.0) -> AsyncIterator[None]:
        """Once at the start, and for each commit, switch of the branch, or edit of one of the files."""
        async for _ in changes(self._mark, self._watched, poll=poll):
            yield

    def _mark(self) -> object:
        places = locate_above(self._folder)
        branch = None if places is None else _branch(places)
        files = tuple(_stamp(self._folder / path) for path in self._paths)
        return (None if places is None else (places, branch, places.mark(branch)), files)

    def _watched(self) -> set[Path]:
        places = locate_above(self._folder)
        git = {self._folder} if places is None else places.folders(_branch(places))
        return git | {parent for path in self._paths if (parent := (self._folder / path).parent).is_dir()}

    def _look(self) -> Sight:
        present = {path: _read(self._folder / path) for path in self._paths}
        bare = tuple(Version(path, None, content) for path, content in present.items())
        try:
            places = locate_above(self._folder)
        except OSError as error:
            return _blind(None, Reason.SOURCE_AWAY, f"the repository cannot be read: {error}", bare)
        if places is None or places.worktree is None:
            message = "this folder is in no Git checkout; `git init` and a first commit make it one"
            return _blind(None, Reason.NO_REPOSITORY, message, bare)
        try:
            return self._seen(places, places.worktree, present)
        except (pygit2.GitError, KeyError, OSError, ValueError) as error:
            reason, message = _refusal(str(error), places.worktree)
            return _blind(places.worktree, reason, message, bare)
        except ProblemError as error:
            return _blind(places.worktree, Reason.SOURCE_REFUSED, error.problem.detail, bare)

    def _seen(self, places: Places, root: Path, present: dict[str, bytes | None]) -> Sight:
        repository = pygit2.Repository(str(root))
        try:
            branch, oddities = _branch(places), list(_oddities(repository, places))
            if repository.head_is_unborn:
                message = f"the branch {branch!r} has no commit yet; make the first one"
                oddities.append(Oddity(Reason.NO_COMMIT, message))
                files = tuple(Version(path, None, content) for path, content in present.items())
                return Sight(root, branch, None, tuple(oddities), files)
            commit = repository.head.peel(pygit2.Commit)
            below = self._folder.relative_to(root.resolve())
            tree = str(commit.tree_id)
            files = tuple(
                Version(path, blob_at(repository, tree, (below / path).as_posix()), content)
                for path, content in present.items()
            )
            return Sight(root, branch, commit_of(commit), tuple(oddities), files)
        finally:
            repository.free()


def _oddities(repository: pygit2.Repository, places: Places) -> list[Oddity]:
    found = []
    if repository.head_is_detached:
        message = "HEAD is on no branch; `git switch BRANCH` puts it on one"
        found.append(Oddity(Reason.DETACHED_HEAD, message))
    if repository.is_shallow:
        message = (
            "this is a shallow clone, whose earlier history is not there; `git fetch --unshallow` gets it"
        )
        found.append(Oddity(Reason.SHALLOW_CLONE, message))
    if places.git_dir != places.common_dir:
        message = "this is a linked worktree; its branch counts, and not the main worktree's"
        found.append(Oddity(Reason.LINKED_WORKTREE, message))
    return found


def _blind(root: Path | None, reason: Reason, message: str, files: tuple[Version, ...]) -> Sight:
    return Sight(root, None, None, (Oddity(reason, message),), files)


def _refusal(error: str, root: Path) -> tuple[Reason, str]:
    if "not owned by current user" in error:
        return Reason.FOREIGN_OWNER, (
            f"{root} belongs to somebody else, and Git does not trust it; "
            f"`git config --global --add safe.directory {root}` does"
        )
    if "unknown object format" in error or "unsupported extension name extensions.refstorage" in error:
        return Reason.SOURCE_REFUSED, (
            f"its format cannot be read: {error}; only SHA-1 objects, with refs in files, can"
        )
    return Reason.SOURCE_AWAY, f"the repository cannot be read: {error}; `git fsck` tells more"


def _branch(places: Places) -> str | None:
    try:
        head = (places.git_dir / "HEAD").read_text(errors="replace").strip()
    except OSError:
        return None
    return head.removeprefix(_PREFIX) if head.startswith(_PREFIX) else None


def _read(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_READ + 1)
    except OSError:
        return None


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_ino, status.st_size)


def _plain(content: bytes | None) -> bytes | None:
    return None if content is None else content.replace(b"\r\n", b"\n")
