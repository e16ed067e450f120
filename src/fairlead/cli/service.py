"""A service as a child of `fairlead up`: its process, its log, its end.

It runs in a session of its own, so that Ctrl-C reaches only `up`, which then stops it in order. In the
foreground it holds the other end of a pipe as stdin: when `up` dies in whatever way, the pipe closes and
the service stops by itself. What it writes goes to the log file, from where `up` reads it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from types import FrameType

from fairlead.cli.output import plain, problem
from fairlead.cli.tail import Follower
from fairlead.model.errors import ProblemError
from fairlead.stores.files import PRIVATE
from fairlead.stores.state import GITOPS, ORCHESTRATOR, Run, StateFolder

POLL = 0.05  # s
EXCERPT = 20  # lines
NAMES = {ORCHESTRATOR: "the orchestrator", GITOPS: "the GitOps controller"}


class StopSignals:
    """Notes SIGINT, SIGTERM and SIGHUP while it is entered, instead of letting them end the process.

    `received` asks for an orderly stop. `insisted` is a further Ctrl-C: kill. One that follows at once does
    not count, since `timeout`, `make` and terminals send the same wish twice.
    """

    NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    ECHO = 0.5  # s

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._first: float | None = None
        self.insisted = False

    @property
    def received(self) -> bool:
        return self._first is not None

    def __enter__(self) -> StopSignals:
        self._before = {number: signal.signal(number, self._note) for number in self.NUMBERS}
        return self

    def __exit__(self, *_: object) -> None:
        if self.received:
            return  # the process is about to end: one more Ctrl-C must not spoil its last words
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None = None) -> None:
        if self._first is None:
            self._first = self._now()
        elif number == signal.SIGINT and self._now() - self._first > self.ECHO:
            self.insisted = True


class Service:
    """The running child that `state` is of. `log` yields what it wrote since it was started."""

    def __init__(self, command: Sequence[str], state: StateFolder, *, detach: bool) -> None:
        self._state = state
        descriptor = os.open(state.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, PRIVATE)
        with os.fdopen(descriptor, "ab") as log:
            position = os.fstat(descriptor).st_size
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                command,
                stdin=subprocess.DEVNULL if detach else subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.log = Follower(state.log, position=position)

    def __repr__(self) -> str:
        return f"Service({self._state.service!r}, pid={self.pid})"

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def code(self) -> int | None:
        """Its exit code, negative when a signal ended it; None while it runs."""
        return self._process.poll()

    def run(self) -> Run | None:
        """Where it answers; None as long as it does not listen. Raises `ProblemError` when it has ended."""
        if (code := self._process.poll()) is not None:
            raise self._failed(code)
        run = self._state.read_run()
        return run if run is not None and run.pid == self.pid else None

    def stop(self, signals: StopSignals, *, patience: float) -> int:
        """End it: SIGTERM; SIGKILL after `patience` (s), or as soon as the user insists.

        Returns its exit code, negative when a signal ended it.
        """
        deadline = time.monotonic() + patience
        self._process.terminate()
        while self._process.poll() is None:
            if signals.insisted or time.monotonic() > deadline:
                self._process.kill()
                self._process.wait()
                break
            time.sleep(POLL)
        return self._process.returncode

    def leave(self) -> None:
        """Let go of it: its log is closed; a detached one runs on."""
        self.log.close()
        if self._process.stdin is not None:
            self._process.stdin.close()
        if self._process.returncode is None:  # detached: not waited for, and no warning about that
            self._process.returncode = 0

    def _failed(self, code: int) -> ProblemError:
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        lines = [*self.log.new_lines(), *self.log.unfinished()][-EXCERPT:]
        text = "\n".join(str(LogLine(line)) for line in lines) or "it wrote nothing"
        return problem(
            f"{self._state.service}-ended",
            f"{NAMES[self._state.service]} {how}",
            f"{text}\nmore in {self._state.log}",
        )


class LogLine:
    """A line of a service's log, and what it means to who watches; `str()` is for people."""

    def __init__(self, text: str) -> None:
        self._text = text
        try:
            record = json.loads(text)
        except ValueError:
            record = None
        self._record: dict[str, object] | None = record if isinstance(record, dict) else None

    @property
    def is_warning(self) -> bool:
        """A warning, an error, or what no logger wrote (a traceback of the interpreter)."""
        if self._record is None:
            return bool(self._text.strip())
        return self._record.get("level") in ("warning", "error", "critical")

    @property
    def is_change(self) -> bool:
        """A server came into another state."""
        return self._record is not None and self._record.get("event") == "server state"

    def __str__(self) -> str:
        if self._record is None:
            return plain(self._text)
        if self.is_change:
            server, state, message = (self._record.get(name, "") for name in ("server", "state", "message"))
            return plain(f"{server}: {state}" + (f", {message}" if message != state else ""))
        fields = [f"{name}={value}" for name, value in self._record.items() if name not in _SHOWN_ELSEWHERE]
        head = f"{self._record.get('level', '')}: {self._record.get('event', '')}"
        return plain("  ".join([head, *fields]))


_SHOWN_ELSEWHERE = ("time", "level", "event", "logger", "request_id", "exception")
