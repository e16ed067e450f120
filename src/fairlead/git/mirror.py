"""A bare mirror of one branch: fetched by git, read by libgit2, mended by itself.

Two refs: `fetched`, where the remote's branch is, and `verified`, the commit that is in force; the second
survives restarts, so that it stays in force while the Git host is away. Objects are never pruned: an earlier
commit can be returned to even after the branch's history was rewritten.

One process works in a mirror (`.mutex` beside it), and in that process one task at a time, so whatever lock
file is there was left by a git that was killed. A damaged mirror is put in doubt by whoever could not read
something; then it is checked, and if need be cloned again beside the old one, which stays until the new one
is whole.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

import pygit2

from fairlead.git.command import Access, Git
from fairlead.git.failures import CorruptError, GitFailedError, LockedError, TimedOutError
from fairlead.git.reader import Reader, UnreadableError
from fairlead.git.remote import Remote
from fairlead.model.reconciling import Reason

FETCHED: Final = "refs/fairlead/fetched"
VERIFIED: Final = "refs/fairlead/verified"
_FSCK_PATIENCE: Final = 600.0  # s
_MOST_PATIENCE: Final = 3600.0  # s, with a fetch: no more than twice that
_LEFT_BEHIND: Final = ("*.lock", "tmp_*", "tmp-*", "incoming-*")


class Mirror:
    """The mirror in `folder`. Calls of `fetch`, `accept` and `mend` must not overlap."""

    def __init__(self, folder: Path, git: Git) -> None:
        self.folder = folder
        self.reader = Reader(folder, self._put_in_doubt)
        self.doubted = asyncio.Event()
        self._git = git
        self._mutex: int | None = None
        self._too_slow = 0  # fetches in a row that were not over in time

    def __repr__(self) -> str:
        return f"Mirror({self.folder.name}{', doubted' if self.doubted.is_set() else ''})"

    def _put_in_doubt(self) -> None:
        self.doubted.set()

    async def open(self) -> str | None:
        """Make it usable; the verified commit, if there is one. Raises GitFailedError."""
        if self._mutex is None:
            self._mutex = await asyncio.to_thread(_locked, self.folder)
            await asyncio.to_thread(_swept, self.folder)
        if not await asyncio.to_thread((self.folder / "HEAD").exists):
            await self._initialise(self.folder)
        return await self.at(VERIFIED)

    async def _initialise(self, folder: Path) -> None:
        try:
            await asyncio.to_thread(_emptied, folder)
        except OSError as error:
            message = f"the mirror cannot be made: {error.strerror} ({error.filename})"
            raise GitFailedError(Reason.FAULT, message, temporary=True) from error
        await self._git.run("init", "--quiet", "--bare", "--template=", folder=folder)

    async def at(self, reference: str) -> str | None:
        """The commit of a ref; None where there is none that can be read."""
        try:
            return await self.reader.ask(lambda repository: _commit_at(repository, reference))
        except UnreadableError:
            return None

    async def fetch(self, remote: Remote, branch: str, access: Access) -> str:
        """The commit that the remote's branch is at, with all that belongs to it. Raises GitFailedError."""
        try:
            return await self._fetch(remote, branch, access)
        except LockedError:
            await asyncio.to_thread(_sweep, self.folder)
            return await self._fetch(remote, branch, access)
        except CorruptError:
            self.doubted.set()
            raise
        except GitFailedError:
            await asyncio.to_thread(_sweep, self.folder)  # half a pack fills the disk, too
            raise

    async def _fetch(self, remote: Remote, branch: str, access: Access) -> str:
        await self._fetch_into(self.folder, remote, branch, access)
        if await asyncio.to_thread((self.folder / "shallow").exists):
            await self.reader.reopen()  # libgit2 reads where history ends when it opens a repository
        commit = await self.at(FETCHED)
        if commit is None:
            raise CorruptError("what was fetched cannot be read")
        return commit

    async def _fetch_into(self, folder: Path, remote: Remote, branch: str, access: Access) -> None:
        """What took too long gets twice the time when it is tried again: a fetch begins anew each time, and a
        large repository over a slow line would else never come.
        """
        patience = self._git.patience * 2**self._too_slow
        try:
            await self._git.run(
                *("fetch", "--quiet", "--force", "--no-tags", "--no-write-fetch-head", "--update-shallow"),
                *("--no-auto-maintenance", "--", remote.url, f"+refs/heads/{branch}:{FETCHED}"),
                folder=folder,
                access=access,
                patience=patience,
            )
        except TimedOutError:
            if patience < _MOST_PATIENCE:
                self._too_slow += 1
            raise
        self._too_slow = 0

    async def accept(self, commit: str) -> None:
        """From now on it is the verified one."""
        try:
            await self._git.run("update-ref", VERIFIED, commit, folder=self.folder)
        except LockedError:
            await asyncio.to_thread(_sweep, self.folder)
            await self._git.run("update-ref", VERIFIED, commit, folder=self.folder)

    async def rewritten(self, old: str, new: str) -> bool:
        """Whether `old` is no ancestor of `new`. A shallow history cannot tell: then it is not."""
        try:
            return await self.reader.ask(lambda repository: _rewritten(repository, old, new))
        except UnreadableError as error:
            raise CorruptError(str(error)) from error

    async def tidy(self) -> None:
        """Pack loose objects once there are many."""
        await self._git.run("gc", "--auto", "--quiet", folder=self.folder)

    async def mend(self, remote: Remote, branch: str, access: Access) -> None:
        """Check it; when it is damaged, clone it anew, and keep the old one until that is done."""
        if not await self._damaged():
            self.doubted.clear()
            return
        verified = await self.at(VERIFIED)
        fresh = self.folder.with_suffix(".new")
        await self._initialise(fresh)
        await self._fetch_into(fresh, remote, branch, access)
        if verified is not None:
            await self._git.run("update-ref", VERIFIED, verified, folder=fresh, codes=(0, 1, 128))
        await self.reader.reopen()
        await asyncio.to_thread(_replaced, self.folder, fresh)
        await self.reader.reopen()
        self.doubted.clear()

    async def _damaged(self) -> bool:
        try:
            await self._git.run(
                *("fsck", "--full", "--no-dangling", "--no-progress", "--no-reflogs"),
                folder=self.folder,
                patience=_FSCK_PATIENCE,
            )
        except GitFailedError as error:
            if isinstance(error, LockedError):
                raise
            return True
        return await self.at(FETCHED) is None and await self.at(VERIFIED) is None

    async def close(self) -> None:
        await self.reader.close()
        if self._mutex is not None:
            with suppress(OSError):
                os.utime(self._mutex)
            os.close(self._mutex)
            self._mutex = None


def _commit_at(repository: pygit2.Repository, reference: str) -> str | None:
    try:
        found = repository.references.get(reference)
    except ValueError:
        return None
    return None if found is None else str(found.peel(pygit2.Commit).id)


def _rewritten(repository: pygit2.Repository, old: str, new: str) -> bool:
    if old == new or repository.descendant_of(new, old):
        return False
    return not repository.is_shallow


def _locked(folder: Path) -> int:
    mutex = folder.with_suffix(".mutex")
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(mutex, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        message = f"the mirror cannot be opened: {error.strerror} ({error.filename})"
        raise GitFailedError(Reason.FAULT, message, temporary=True) from error
    with suppress(OSError):  # a full disk
        os.utime(descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        message = f"another process works in {folder.name}; end it, or give this one its own state folder"
        raise GitFailedError(Reason.FAULT, message, temporary=True) from error
    return descriptor


def last_used(mirror: Path) -> float:
    """When a mirror, named without its ending, was opened or closed last: Unix time, s; 0 for never."""
    try:
        return mirror.with_name(f"{mirror.name}.mutex").stat().st_mtime
    except OSError:
        return 0.0


def _swept(folder: Path) -> None:
    """What a run that was killed left: half of a new clone, locks, half of a pack."""
    old, new = folder.with_suffix(".old"), folder.with_suffix(".new")
    if not folder.exists() and old.exists():
        old.rename(folder)
    for left in (old, new):
        shutil.rmtree(left, ignore_errors=True)
    _sweep(folder)


def _sweep(folder: Path) -> None:
    for pattern in _LEFT_BEHIND:
        for left in folder.rglob(pattern):
            with suppress(OSError):
                shutil.rmtree(left) if left.is_dir() else left.unlink()


def _emptied(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)


def _replaced(folder: Path, fresh: Path) -> None:
    old = folder.with_suffix(".old")
    shutil.rmtree(old, ignore_errors=True)
    with suppress(FileNotFoundError):
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
