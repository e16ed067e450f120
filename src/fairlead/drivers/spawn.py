"""Starting a child with three pipes, in a session of its own; and saying what is wrong when it cannot be."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from fairlead.drivers.confined import Confined, sandbox_failed
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.model.launch import ProcessLaunch

# Bytes in the pipe that answers come through. Four times the default lets a child write a large answer two
# to three times as fast (3 GB/s, not 1) and more would not help; all of a user's pipes share 64 MiB.
_STDOUT_SIZE: Final = 256 * 2**10
_LAST_WORDS: Final = 4096  # bytes
_NOT_TO_BE_RUN: Final = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ENOEXEC, errno.ELOOP}
)


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
    confined: Confined

    def abandon(self) -> str:
        """It was killed, before anybody heard of it: let go of it all. What it has said on stderr."""
        self.process.wait()
        self.exit.close()
        said = b""
        with suppress(BlockingIOError):  # it has said nothing, and a process of it still holds the pipe
            os.set_blocking(self.stderr, False)
            said = os.read(self.stderr, _LAST_WORDS)
        for end in (self.stdin, self.stdout, self.stderr):
            os.close(end)
        return said.decode(errors="replace").strip()


def find_program(launch: ProcessLaunch) -> str:
    """The path of what is to run, absolute. Raises ProblemError.

    For a sandbox, in which a program that cannot be run would end like one that fails.
    """
    _check_folder(launch)
    command = launch.argv[0]
    try:
        if "/" in command:
            path = launch.working_directory / command
        elif found := shutil.which(command, path=launch.environment.get("PATH", os.defpath)):
            path = Path(found).absolute()
        else:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        _check_program(path)
    except (OSError, ValueError) as error:
        raise explained(launch, error) from error
    return str(path)


def _check_program(path: Path) -> None:
    """Raises the OSError that running it would end with."""
    path.stat()
    if path.is_dir() or not os.access(path, os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    if not os.access(path, os.R_OK):
        return
    with path.open("rb") as content:
        head = content.readline(256)
    interpreter = head[2:].split()[:1] if head.startswith(b"#!") else []
    if not all(map(os.path.exists, interpreter)):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    if not interpreter and b"\0" not in head:  # text, which bwrap would hand to the shell
        raise OSError(errno.ENOEXEC, os.strerror(errno.ENOEXEC))


def _check_folder(launch: ProcessLaunch) -> None:
    folder = launch.working_directory
    if not (os.access(folder, os.X_OK) and folder.is_dir()):
        raise _problem(
            "bad-working-directory", f"{folder} is not a folder that can be entered: make it, or name another"
        )


def spawn(launch: ProcessLaunch, marker: tuple[str, str], confined: Confined) -> Spawned:
    """Start it, on its way into its bounds: `Confined.enter` is next.

    Takes about a millisecond. Raises ProblemError with what is missing.

    `subprocess` and not the loop's own `subprocess_exec`: it forks by `vfork`, runs no Python in the child
    (uvloop does), and gives plain pipes where uvloop gives sockets, which some programs cannot reopen.
    """
    _check_folder(launch)
    try:
        return _spawn(launch, marker, confined)
    except (OSError, ValueError) as error:
        raise explained(launch, error, program_found=bool(confined.prefix)) from error


def _spawn(launch: ProcessLaunch, marker: tuple[str, str], confined: Confined) -> Spawned:
    with ExitStack() as theirs, ExitStack() as ours:
        stdin, our_stdin = _pipe(theirs, ours)
        our_stdout, stdout = _pipe(ours, theirs)
        our_stderr, stderr = _pipe(ours, theirs)
        if sys.platform == "linux":
            with suppress(OSError):  # this user's share of pipe memory is used up
                fcntl.fcntl(stdout, fcntl.F_SETPIPE_SZ, _STDOUT_SIZE)
        process = subprocess.Popen(  # noqa: S603 - argv comes from the fleet spec; no shell
            (*confined.prefix, *launch.argv),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd=launch.working_directory,
            env=launch.environment | dict([marker]),
            start_new_session=True,
            pass_fds=confined.descriptors,
        )
        try:
            spawned = Spawned(process, ExitWatch(process.pid), our_stdin, our_stdout, our_stderr, confined)
        except OSError:  # no descriptor is left
            os.killpg(process.pid, signal.SIGKILL)  # a sandbox has an inner process, which we then inherit
            process.wait()
            with suppress(ChildProcessError):
                while True:
                    os.waitpid(-process.pid, 0)
            raise
        ours.pop_all()
        return spawned


def _pipe(reading: ExitStack, writing: ExitStack) -> tuple[int, int]:
    ends = os.pipe()
    for stack, end in zip((reading, writing), ends, strict=True):
        stack.callback(os.close, end)
    return ends


def explained(
    launch: ProcessLaunch, error: OSError | ValueError, *, program_found: bool = False
) -> ProblemError:
    """What is wrong with a launch that the system refuses. `program_found`: it is not the command itself."""
    if program_found and isinstance(error, OSError) and error.errno in _NOT_TO_BE_RUN:
        return sandbox_failed(str(error))
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
