"""A folder whose content others may have laid traps in: what is read and written stays inside of it.

Every step of a path is opened by itself, relative to the folder before it, and never through a link: between
a look and what follows from it, nobody can put a link into the way. Whatever is no plain file of our own
user, with one name, is refused with the reason.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import time
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.ports.gitops import ChangedMeanwhileError, TargetAwayError

LARGEST: Final = 8 * 2**20  # bytes of a file
LONGEST: Final = 4096  # bytes of a path
DEEPEST: Final = 64  # parts of a path
TEMPORARY: Final = re.compile(r"\.fairlead-[0-9a-f]{16}\.tmp")
"""Names of files that are being written: they are Fairlead's own, and never objects."""

_RACY: Final = 50_000_000  # ns: within a file system's tick, two versions may bear the same times
_TRIES: Final = 5  # reads of a file that somebody is writing at the time
_IGNORED: Final = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")  # by HFS+, in names
_GIT: Final = re.compile(r"(?:\.git|git~[0-9]+)[. ]*(?:[:\\].*)?", re.IGNORECASE | re.DOTALL)
_PASSING: Final = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EIO,
        errno.EROFS,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.EAGAIN,
        errno.EBUSY,
        errno.EINTR,
        errno.ESTALE,
        errno.ETIMEDOUT,
        errno.ENOLCK,
    }
)
_REMEDIES: Final = {
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "make room, or raise the user's quota",
    errno.EROFS: "mount the file system so that it can be written",
    errno.EIO: "look at the disk: the system's log tells more",
    errno.EACCES: "let the user that Fairlead runs as read and write there",
    errno.EPERM: "let the user that Fairlead runs as write there (is the file immutable?)",
    errno.ENAMETOOLONG: "give it a shorter name in Git",
}
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

Parts = tuple[str, ...]
Mark = tuple[int, ...]
"""Of a file's state, without its content: as long as it is equal, nobody has changed the file."""


class RefusedError(Exception):
    """Nothing is read or written there. The message says why, and how to mend it."""


class File(NamedTuple):
    """What a file holds. `settled`: the mark tells it from every later version."""

    content: bytes
    mark: Mark
    settled: bool
    mode: int  # permissions
    group: int

    @property
    def executable(self) -> bool:
        return bool(self.mode & stat.S_IXUSR)

    @property
    def tag(self) -> str:
        return tag_of(self.content, executable=self.executable)


def tag_of(content: bytes, *, executable: bool) -> str:
    digest = hashlib.sha256(content).hexdigest()
    return f"{digest}-x" if executable else digest


@lru_cache(maxsize=2**16)
def parts_of(name: str) -> Parts:
    """The steps of an object's path. Raises RefusedError for one that could lead elsewhere."""
    try:
        size = len(os.fsencode(name))
    except UnicodeEncodeError:
        raise RefusedError("the path is no text that a file system knows; rename it in Git") from None
    if "\0" in name:
        raise RefusedError("a path cannot hold a NUL character; rename it in Git")
    if size > LONGEST:
        raise RefusedError(f"the path has {size:,} bytes, more than {LONGEST:,}; shorten it")
    if name.startswith("/"):
        raise RefusedError("the path is absolute; give it from the target's root")
    parts = tuple(name.split("/"))
    if len(parts) > DEEPEST:
        raise RefusedError(f"it is {len(parts)} folders deep, more than {DEEPEST}; flatten it")
    for part in parts:
        if part in {"", ".", ".."}:
            raise RefusedError(f"the path has a part {part!r}; write it without")
        if _GIT.fullmatch(_IGNORED.sub("", part)):
            raise RefusedError(f"{part!r} is Git's own on some file system; leave it out")
        if TEMPORARY.fullmatch(part):
            raise RefusedError(f"{part!r} is a name that Fairlead uses while it writes; rename it in Git")
    return parts


class Closed:
    """Files and folders that are no target's, though they lie below its root: no link is followed below the
    root, so a path tells. Spellings that some file system takes for the same count as the same.
    """

    def __init__(self, root: Path, closed: Sequence[Path]) -> None:
        top = Path(os.path.realpath(root))
        real = [Path(os.path.realpath(each)) for each in closed]
        self._below = [
            _folded(each.relative_to(top).parts) for each in real if each != top and each.is_relative_to(top)
        ]

    def __repr__(self) -> str:
        return f"Closed({['/'.join(each) for each in self._below]})"

    def check(self, parts: Parts) -> None:
        """Raises RefusedError."""
        if self._below and any(_folded(parts[: len(each)]) == each for each in self._below):
            raise RefusedError(
                "it is where Fairlead keeps its own state and secrets, which no repository reads or writes; "
                "leave it out"
            )


class Tree:
    """The folder, opened for one pass over it; of the folders below, those on the way to the last one.

    Not for several threads. Raises TargetAwayError or ProblemError where the root cannot be used. Other
    OSErrors pass: see `told`.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._me = os.geteuid()
        self._opened = [self._open_root()]
        self._names: list[str] = []

    def __repr__(self) -> str:
        return f"Tree({self.root}, open={'/'.join(self._names)!r})"

    def __enter__(self) -> Tree:
        return self

    def __exit__(self, *_: object) -> None:
        while self._opened:
            os.close(self._opened.pop())

    def folder(self, parts: Parts, *, make: bool = False) -> int | None:
        """The folder's descriptor, which holds until another folder is asked for; None if it is not there.

        Raises RefusedError.
        """
        same = 0
        while same < min(len(parts), len(self._names)) and parts[same] == self._names[same]:
            same += 1
        while len(self._names) > same:
            self._names.pop()
            os.close(self._opened.pop())
        for part in parts[same:]:
            above = self._opened[-1]
            if make and self._missing(part, above):
                self._make(part, above)
            descriptor = self._open_folder(part, above)
            if descriptor is None:
                return None
            self._opened.append(descriptor)
            self._names.append(part)
        return self._opened[-1]

    def mark(self, parts: Parts) -> Mark | None:
        """None if there is no such file. Raises RefusedError."""
        folder = self.folder(parts[:-1])
        if folder is None:
            return None
        try:
            status = os.stat(parts[-1], dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return None
        self._check(status)
        return _mark(status)

    def read(self, parts: Parts) -> File | None:
        """None if there is no such file. Raises RefusedError."""
        for _ in range(_TRIES):
            looked = time.time_ns()
            before = self.mark(parts)
            if before is None:
                return None
            try:
                descriptor = os.open(parts[-1], _FILE, dir_fd=self._opened[-1])
            except FileNotFoundError:
                continue
            with os.fdopen(descriptor, "rb") as file:
                self._check(os.fstat(descriptor))
                content = file.read(LARGEST + 1)
                status = os.fstat(descriptor)
            self._check(status)
            if _mark(status) == before and len(content) == status.st_size:
                settled = looked - max(status.st_mtime_ns, status.st_ctime_ns) > _RACY
                return File(content, before, settled, stat.S_IMODE(status.st_mode), status.st_gid)
        raise ChangedMeanwhileError(f"{self.root / '/'.join(parts)} is being written by somebody else")

    def unwritable(self, folder: Parts) -> str:
        """Why no file can be made in a folder, or in the nearest above that is there; empty if one can.

        Raises RefusedError.
        """
        while self.folder(folder) is None:
            folder = folder[:-1]
        if os.access(".", os.W_OK | os.X_OK, dir_fd=self._opened[-1]):
            return ""
        return f"{self.root.joinpath(*folder)} cannot be written to; {_REMEDIES[errno.EACCES]}"

    def same_folder(self, other: int) -> bool:
        """Whether the folder that was asked for last is the one of a descriptor."""
        one, two = os.fstat(self._opened[-1]), os.fstat(other)
        return (one.st_dev, one.st_ino) == (two.st_dev, two.st_ino)

    def _open_root(self) -> int:
        try:
            descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            raise TargetAwayError(
                f"there is no folder {self.root}: make it, or mend the target's `root`"
            ) from None
        except OSError as error:
            raise told(error, self.root) from None
        status = os.fstat(descriptor)
        problem = ""
        if status.st_uid != self._me:
            problem = (
                f"it belongs to the user {status.st_uid}, and Fairlead runs as {self._me}: "
                "run Fairlead as that user, or mend the target's `root`"
            )
        elif status.st_mode & stat.S_IWOTH:
            problem = (
                "every user of this machine can write to it: `chmod o-w` it, or mend the target's `root`"
            )
        if problem:
            os.close(descriptor)
            raise refused(self.root, problem)
        return descriptor

    def _missing(self, name: str, above: int) -> bool:
        try:
            os.stat(name, dir_fd=above, follow_symlinks=False)
        except FileNotFoundError:
            return True
        return False

    def _make(self, name: str, above: int) -> None:
        try:
            os.mkdir(name, 0o755, dir_fd=above)
        except FileExistsError:
            return  # somebody was faster
        os.fsync(above)

    def _open_folder(self, name: str, above: int) -> int | None:
        try:
            descriptor = os.open(name, _FOLDER, dir_fd=above)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno in {errno.ENOTDIR, errno.ELOOP}:
                raise RefusedError(_in_the_way(name, above)) from None
            raise
        owner = os.fstat(descriptor).st_uid
        if owner != self._me:
            os.close(descriptor)
            raise RefusedError(f"the folder {name!r} above it belongs to {self._foreign(owner)}")
        return descriptor

    def _check(self, status: os.stat_result) -> None:
        mode = status.st_mode
        if stat.S_ISLNK(mode):
            raise RefusedError("it is a symbolic link; put the file itself in its place")
        if stat.S_ISDIR(mode):
            raise RefusedError("it is a folder, where a file is wanted; move it away")
        if not stat.S_ISREG(mode):
            raise RefusedError(
                "it is neither a file nor a folder, but a device, a pipe or a socket; remove it"
            )
        if status.st_uid != self._me:
            raise RefusedError(f"it belongs to {self._foreign(status.st_uid)}")
        if status.st_nlink > 1:
            raise RefusedError(
                f"it has {status.st_nlink} names (hard links), and what is written to one would not be in "
                "the others; put a copy in its place"
            )
        if status.st_size > LARGEST:
            raise RefusedError(
                f"it has {status.st_size:,} bytes, more than {LARGEST:,}; make it smaller, or leave it out "
                "of what is managed"
            )

    def _foreign(self, owner: int) -> str:
        return f"the user {owner}, and Fairlead runs as {self._me}; `chown` it, or leave it out"


def refused(where: Path, reason: str) -> ProblemError:
    return ProblemError(Problem("file-refused", "A file is refused", f"{where}: {reason}", 422, Fault.CLIENT))


def told(error: OSError, where: Path) -> TargetAwayError | ProblemError | ChangedMeanwhileError:
    """What a failure means, for a person."""
    remedy = _REMEDIES.get(error.errno or 0)
    text = f"{error.strerror or error}" + (f"; {remedy}" if remedy else "")
    if error.errno in _PASSING:
        return TargetAwayError(f"{where}: {text}")
    if isinstance(error, FileNotFoundError):
        return ChangedMeanwhileError(f"{where}: it, or the folder that it is in, has gone meanwhile")
    return refused(where, text)


def _folded(parts: Sequence[str]) -> Parts:
    return tuple(_IGNORED.sub("", unicodedata.normalize("NFC", part)).casefold() for part in parts)


def _mark(status: os.stat_result) -> Mark:
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_mode,
    )


def _in_the_way(name: str, above: int) -> str:
    try:
        link = stat.S_ISLNK(os.stat(name, dir_fd=above, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        link = False
    what = "a symbolic link" if link else "no folder"
    return f"{name!r}, above it, is {what}; put a folder in its place"
