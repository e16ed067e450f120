"""The programs of a run: started in sessions of their own, and all of them ended, whatever happens."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from pathlib import Path
from types import TracebackType

import psutil

STOP_SECONDS = 10.0


class StartError(Exception):
    """Something cannot be started or has ended by itself; the text says why, and how to mend it."""


class Program:
    """One program; what it prints goes to `log`."""

    def __init__(self, argv: list[str], log: Path, env: dict[str, str] | None = None) -> None:
        self._log = log
        with log.open("wb") as output:
            self._popen = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=env,
                start_new_session=True,
            )
        self.process = psutil.Process(self._popen.pid)

    def check(self) -> None:
        """Raise StartError with the end of its log when it has ended."""
        if (code := self._popen.poll()) is not None:
            msg = f"it ended with {code}: {self.last_words()}"
            raise StartError(msg)

    def output(self) -> str:
        """All that it has printed so far."""
        return self._log.read_text(errors="replace")

    def last_words(self) -> str:
        return " / ".join(self.output().strip().splitlines()[-3:]) or "no output"

    def end(self) -> None:
        """TERM, wait, KILL; then whatever it left behind."""
        family = self._descendants()
        if self._popen.poll() is None:
            self._popen.terminate()
        try:
            self._popen.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            family += self._descendants()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._popen.pid, signal.SIGKILL)
            self._popen.wait()
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def _descendants(self) -> list[psutil.Process]:
        try:
            return self.process.children(recursive=True)
        except psutil.NoSuchProcess:
            return []


class Programs:
    """The programs that run now. Leaving the block ends them, the newest first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._running: list[Program] = []

    def __enter__(self) -> Programs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        held = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not cut this short
        while self._running:
            self._running.pop().end()
        signal.signal(signal.SIGINT, held)

    def start(self, name: str, argv: list[str], env: dict[str, str] | None = None) -> Program:
        try:
            program = Program(argv, self.folder / f"{name}.log", env)
        except OSError as error:
            raise StartError(str(error)) from error
        self._running.append(program)
        return program

    def end(self, program: Program) -> None:
        self._running.remove(program)
        program.end()


def cpu_seconds(processes: list[psutil.Process]) -> float:
    """User and system time that these processes themselves have used."""
    total = 0.0
    for process in processes:
        times = process.cpu_times()
        total += times.user + times.system
    return total


def free_port() -> int:
    """A port that nobody listens on now, for programs that cannot take 0."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
