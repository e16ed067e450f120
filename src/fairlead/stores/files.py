"""Files that belong to one user: read without following links, written whole or not at all.

A write goes to a temporary file beside the target, is synced, and is then renamed (`write`) or linked
(`create_once`) into place, so that a reader or a crash sees the old content or the new, never a part.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fairlead.model.errors import Fault, Problem, ProblemError

PRIVATE = 0o600


def state_problem(code: str, title: str, detail: str) -> ProblemError:
    """A fault of this machine or its owner, not of a caller. `detail` says where and how to mend it."""
    return ProblemError(Problem(code=code, title=title, detail=detail, status=500, fault=Fault.GATEWAY))


def read(path: Path) -> bytes | None:
    """The content, or None where there is no such file.

    Raises `ProblemError` when the file is a link, no regular file, another user's, or not readable. A file
    that others may read is made private first: what stands in this folder is nobody else's business.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unusable(path, error) from error
    try:
        _check(path, descriptor)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read()
    except OSError as error:
        raise _unusable(path, error) from error
    finally:
        os.close(descriptor)


def _check(path: Path, descriptor: int) -> None:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise state_problem("state-file", "not a regular file", f"{path}: move it away and start again")
    if status.st_uid != os.geteuid():
        raise state_problem(
            "state-file",
            "the file belongs to another user",
            f"{path} belongs to user id {status.st_uid}: make it yours, or give another --state-dir",
        )
    if status.st_mode & 0o077:
        os.fchmod(descriptor, PRIVATE)


def write(path: Path, content: bytes) -> None:
    """Replace the file by `content`, mode 0600, synced to the disk together with its folder.

    Raises `ProblemError`; when it was the folder that could not be synced, the new content stands there.
    """
    with _prepared(path, content) as temporary:
        temporary.replace(path)
        sync_folder(path.parent)


def create_once(path: Path, content: bytes) -> bytes:
    """Write `content` unless the file exists; return what then stands in it. Safe between processes."""
    if (found := read(path)) is not None:
        return found
    with _prepared(path, content) as temporary:
        try:
            os.link(temporary, path)
        except FileExistsError:  # another process was first: its content holds
            return read(path) or b""
        sync_folder(path.parent)
    return content


def remove(path: Path) -> None:
    path.unlink(missing_ok=True)


@contextmanager
def opened_lock(path: Path) -> Iterator[int]:
    """A descriptor of the lock file, made when missing, for `flock`; closing it gives the lock back."""
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags, PRIVATE)
    except OSError as error:
        raise _unusable(path, error) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _prepared(path: Path, content: bytes) -> Iterator[Path]:
    """A synced temporary file beside `path`; what is left of it afterwards is removed."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(temporary, flags, PRIVATE)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(descriptor)
            yield temporary
        finally:
            with suppress(FileNotFoundError):
                temporary.unlink()
    except OSError as error:
        raise _unusable(path, error) from error


def sync_folder(folder: Path) -> None:
    """What was named in it, or renamed, stays so after a crash of the machine."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unusable(path: Path, error: OSError) -> ProblemError:
    if error.errno == errno.ELOOP:
        return state_problem(
            "state-file", "a symbolic link where a file must be", f"{path}: remove the link and start again"
        )
    why = os.strerror(error.errno) if error.errno else str(error)
    return state_problem(
        "state-file",
        f"cannot use a file of the state folder ({why})",
        f"{path}: make it yours to read and write, or give another folder with --state-dir",
    )
