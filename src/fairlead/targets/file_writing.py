"""Putting a file in the place of another: whoever looks, and whenever the power goes, sees one of the two.

The new content goes to a file beside, which is then given the name. That file is locked as long as it is
being written: one that is not locked was left by a process that was killed, and is swept.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fairlead.ports.gitops import ChangedMeanwhileError
from fairlead.targets.file_tree import TEMPORARY, File, Parts, Tree

FAULT_POINTS: Final = (
    "before-temp",
    "temp-made",
    "temp-written",
    "temp-synced",
    "looked-again",
    "renamed",
    "folder-synced",
    "before-remove",
    "removed",
    "removal-synced",
)
"""Steps after which the process may be killed, by a test: they are told to `At`, in this order."""

At = Callable[[str], None]

_NEW: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NAMES: Final = 16  # that are tried for a temporary file


@dataclass(frozen=True, slots=True)
class Content:
    """What a file is to hold. `private`: for no other user's eyes."""

    data: bytes = field(repr=False)
    executable: bool
    private: bool


class Place:
    """One file's place in a tree. `tag` is that of the version that may be written over, None for nothing."""

    def __init__(self, tree: Tree, parts: Parts, tag: str | None, at: At) -> None:
        self._tree = tree
        self._parts = parts
        self._tag = tag
        self._at = at

    def __repr__(self) -> str:
        return f"Place({self._path})"

    @property
    def _path(self) -> Path:
        return self._tree.root.joinpath(*self._parts)

    def look(self, tree: Tree) -> File | None:
        """What is there. Raises ChangedMeanwhileError if it is something else than it should be."""
        there = tree.read(self._parts)
        if (None if there is None else there.tag) != self._tag:
            raise ChangedMeanwhileError(f"{self._path} was changed meanwhile")
        return there

    def put(self, content: Content, before: File | None) -> None:
        """Write it. `before` is what `look` found. Raises ChangedMeanwhileError, RefusedError, OSError."""
        folder = self._tree.folder(self._parts[:-1], make=True)
        if folder is None:
            raise ChangedMeanwhileError(f"the folder of {self._path} has gone meanwhile")
        sweep(folder)
        self._at("before-temp")
        name, descriptor = _temporary(folder)
        try:
            self._at("temp-made")
            if before is not None:
                _copy_attributes(folder, self._parts[-1], descriptor)
            _fill(descriptor, content, before)
            self._at("temp-written")
            os.fsync(descriptor)
            self._at("temp-synced")
            self._look_again(folder)
            self._at("looked-again")
            os.rename(name, self._parts[-1], src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
            raise
        finally:
            os.close(descriptor)
        self._at("renamed")
        os.fsync(folder)
        self._at("folder-synced")

    def remove(self) -> None:
        """What `look` has found. Raises ChangedMeanwhileError, RefusedError, OSError."""
        folder = self._tree.folder(self._parts[:-1])
        if folder is None:
            raise ChangedMeanwhileError(f"the folder of {self._path} has gone meanwhile")
        sweep(folder)
        self._at("before-remove")
        self._look_again(folder)
        os.unlink(self._parts[-1], dir_fd=folder)
        self._at("removed")
        os.fsync(folder)
        self._at("removal-synced")

    def _look_again(self, folder: int) -> None:
        """By the whole way from the root: a folder on it may have been moved, too."""
        with Tree(self._tree.root) as again:
            self.look(again)
            if again.folder(self._parts[:-1]) is None or not again.same_folder(folder):
                raise ChangedMeanwhileError(f"the folder of {self._path} was moved meanwhile")


def sweep(folder: int) -> None:
    """Remove what processes that were killed have left in a folder."""
    for name in os.listdir(folder):
        if TEMPORARY.fullmatch(name):
            with contextlib.suppress(OSError):  # it is in nobody's way, and the next process tries again
                _sweep(name, folder)


def _sweep(name: str, folder: int) -> None:
    if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
        return
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    try:
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and status.st_nlink == 1:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # BlockingIOError: it is being written
            os.unlink(name, dir_fd=folder)
    finally:
        os.close(descriptor)


def _temporary(folder: int) -> tuple[str, int]:
    for _ in range(_NAMES):
        name = f".fairlead-{secrets.token_hex(8)}.tmp"
        descriptor = os.open(name, _NEW, 0o600, dir_fd=folder)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink:
                return name, descriptor
        except BlockingIOError:
            pass  # somebody is sweeping it, as it was not locked at once
        except BaseException:
            os.unlink(name, dir_fd=folder)
            os.close(descriptor)
            raise
        os.close(descriptor)
    raise ChangedMeanwhileError("the files that are written are swept by somebody else, again and again")


def _copy_attributes(folder: int, name: str, descriptor: int) -> None:
    """Who else may come in (an access list), and what a person or a program has noted of the file.

    Without its list, a file's mode would say something else: the group's bits are the list's bounds.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError):  # the file has gone, which is seen later; or a system without them
        before = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        try:
            for attribute in os.listxattr(before):
                if attribute.startswith("user.") or attribute == "system.posix_acl_access":
                    os.setxattr(descriptor, attribute, os.getxattr(before, attribute))
        finally:
            os.close(before)


def _fill(descriptor: int, content: Content, before: File | None) -> None:
    left = memoryview(content.data)
    while left:
        left = left[os.write(descriptor, left) :]
    mode = 0o644 if before is None else before.mode & 0o777
    mode &= ~0o111
    if content.executable:
        mode |= 0o100 | (mode & 0o444) >> 2
    if before is not None and before.group != os.fstat(descriptor).st_gid:
        try:
            os.fchown(descriptor, -1, before.group)
        except PermissionError:
            mode &= ~0o070  # what its group may do is not for another one
    os.fchmod(descriptor, mode & 0o700 | 0o600 if content.private else mode)
