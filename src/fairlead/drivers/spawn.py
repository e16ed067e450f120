"""Starting a child with three pipes, in a session of its own; and saying what is wrong when it cannot be."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import Final

from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.model.launch import ProcessLaunch

# Bytes in the pipe that answers come through. Four times the default lets a child write a large answer two
# to three times as fast (3 GB/s, not 1) and more would not help; all of a user's pipes share 64 MiB.
_STDOUT_SIZE: Final = 256 * 2**10


class ExitWatch:
    """Something to select on that becomes readable when a child has ended, and does not reap it."""

    def __init__(self, pid: int) -> None:
        self._close: Callable[[], None]
        if sys.platform == "linux":
            self._descriptor = os.pidfd_open(pid)
            self._close = lambda: os.close(self._descriptor)
        else:
            queue = select.kqueue()
            event = select.kevent(
                pid,
                select.KQ_FILTER_PROC,
                select.KQ_EV_ADD | select.KQ_EV_ONESHOT,
                select.KQ_NOTE_EXIT,
            )
            queue.control([event], 0)
            self._descriptor = queue.fileno()
            self._close = queue.close

    def fileno(self) -> int:
        return self._descriptor

    def close(self) -> None:
        self._close()


@dataclass(frozen=True, slots=True)
class Spawned:
    """A running child and our ends of its pipes."""

    process: subprocess.Popen[bytes]
    exit: ExitWatch
    stdin: int
    stdout: int
    stderr: int


def spawn(launch: ProcessLaunch, marker: tuple[str, str]) -> Spawned:
    """Start it. Takes about a millisecond. Raises ProblemError with what is missing.

    `subprocess` and not the loop's own `subprocess_exec`: it forks by `vfork`, runs no Python in the child
    (uvloop does), and gives plain pipes where uvloop gives sockets, which some programs cannot reopen.
    """
    folder = launch.working_directory
    if not (os.access(folder, os.X_OK) and folder.is_dir()):
        raise _problem(
            "bad-working-directory", f"{folder} is not a folder that can be entered: make it, or name another"
        )
    try:
        return _spawn(launch, marker)
    except (OSError, ValueError) as error:
        raise _explained(launch, error) from error


def _spawn(launch: ProcessLaunch, marker: tuple[str, str]) -> Spawned:
    with ExitStack() as theirs, ExitStack() as ours:
        stdin, our_stdin = _pipe(theirs, ours)
        our_stdout, stdout = _pipe(ours, theirs)
        our_stderr, stderr = _pipe(ours, theirs)
        if sys.platform == "linux":
            with suppress(OSError):  # this user's share of pipe memory is used up
                fcntl.fcntl(stdout, fcntl.F_SETPIPE_SZ, _STDOUT_SIZE)
        process = subprocess.Popen(  # noqa: S603 - argv comes from the fleet spec; no shell
            launch.argv,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd=launch.working_directory,
            env=launch.environment | dict([marker]),
            start_new_session=True,
        )
        try:
            spawned = Spawned(process, ExitWatch(process.pid), our_stdin, our_stdout, our_stderr)
        except OSError:  # no descriptor is left
            process.kill()
            process.wait()
            raise
        ours.pop_all()
        return spawned


def _pipe(reading: ExitStack, writing: ExitStack) -> tuple[int, int]:
    ends = os.pipe()
    for stack, end in zip((reading, writing), ends, strict=True):
        stack.callback(os.close, end)
    return ends


def _explained(launch: ProcessLaunch, error: OSError | ValueError) -> ProblemError:
    command = launch.argv[0]
    match error:
        case FileNotFoundError() if "/" in command and (launch.working_directory / command).exists():
            return _problem(
                "not-executable", f"{command}: the interpreter that its first line names is not there"
            )
        case FileNotFoundError() | NotADirectoryError():
            return _problem("command-not-found", f"{command}: install it, or name it with its whole path")
        case PermissionError() | OSError(errno=errno.ENOEXEC):
            return _problem("not-executable", f"{command}: not a program that may be run; try `chmod +x`")
        case OSError(errno=errno.E2BIG) | ValueError():  # or a NUL byte, or `=` in a variable's name
            return _problem(
                "bad-command", f"{command}: {_text(error)}: look at its arguments and environment"
            )
        case _:  # out of descriptors, processes or memory
            problem = _problem(
                "cannot-start", f"{command}: {_text(error)}; free some, or raise the limit"
            ).problem
            return ProblemError(replace(problem, fault=Fault.GATEWAY, retry_after=5.0))


def _text(error: OSError | ValueError) -> str:
    """What the system says; neither kind quotes a value."""
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)


def _problem(code: str, detail: str) -> ProblemError:
    return ProblemError(Problem(code, "The server cannot be started", detail, 503, Fault.UPSTREAM))
