"""What must be true of a SQLite database's file before it is opened, and while it is."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import Final

from fairlead.model.errors import ProblemError
from fairlead.stores.files import PRIVATE, state_problem

NONE: Final = "no-database"  # a problem's code


def check_file(path: Path, *, create: bool) -> None:
    """Make the file, so that it and what SQLite puts beside it are private from the first moment.

    One that is there is not opened: closing it would end the locks that SQLite has on it in this process.
    """
    try:
        if create:
            with contextlib.suppress(FileExistsError):
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE))
        if not stat.S_ISREG(path.lstat().st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        if not os.access(path, os.R_OK | os.W_OK):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        if error.errno == errno.ENOENT and not create:
            raise no_database(str(path)) from None
        raise state_problem(
            "database",
            f"cannot use the database ({error.strerror})",
            f"{path}: make it and its folder yours to read and write, or give another --state-dir",
        ) from None


def inode(path: Path) -> int:
    """0 where there is no such file."""
    try:
        return path.stat().st_ino
    except OSError:
        return 0


def no_database(place: str) -> ProblemError:
    return state_problem(NONE, "there is no database yet", f"{place}: it is made when the service starts")
