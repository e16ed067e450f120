from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fairlead.stores.state import GITOPS, StateFolder

HERE = Path(__file__).parent
GUARD = 60.0  # s


def wait_until(condition: Callable[[], Any], what: str) -> Any:
    """Poll until `condition` holds. The guard is there to end a hanging test, not to time one."""
    deadline = time.monotonic() + GUARD
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {GUARD} s: {what}"
        time.sleep(0.02)
    return value


class Command:
    """A running command with its output in files."""

    def __init__(self, argv: list[str], folder: Path, environment: dict[str, str]) -> None:
        self._out, self._err = folder / "stdout", folder / "stderr"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment, cwd=folder
            )

    @property
    def stdout(self) -> str:
        return self._out.read_text()

    @property
    def stderr(self) -> str:
        return self._err.read_text()

    def told(self, text: str) -> None:
        """Wait until it has printed this."""

        def found() -> bool:
            ended = self.process.poll() is not None
            return text in self.stdout + self.stderr or ended

        wait_until(found, text)
        assert text in self.stdout + self.stderr, f"{text!r} is missing in {self.stdout}{self.stderr}"

    def ended(self) -> int:
        return self.process.wait(GUARD)


class Commands:
    """Runs commands upon one state folder, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = StateFolder(folder / "state")
        self.gitops = self.state.of(GITOPS)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("FAIRLEAD_")}
        self.environment = {**kept, "FAIRLEAD_STATE_DIR": str(self.state.root), "TERM": "xterm"}
        self.running: list[Command] = []

    def start(self, argv: list[str]) -> Command:
        folder = self.folder / f"command-{len(self.running)}"
        folder.mkdir()
        self.running.append(Command(argv, folder, self.environment))
        return self.running[-1]

    def fairlead(self, *arguments: str) -> Command:
        return self.start([sys.executable, "-m", "fairlead.cli.main", *arguments])

    def run(self, *arguments: str) -> Command:
        command = self.fairlead(*arguments)
        command.ended()
        return command

    def stub_argv(self, manner: str, *options: str) -> list[str]:
        return [sys.executable, str(HERE / "up_with_stub.py"), str(self.state.root), manner, *options]

    def up(self, manner: str, *options: str) -> Command:
        """`fairlead up` with stubs."""
        return self.start(self.stub_argv(manner, *options))


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[Commands]:
    used = Commands(tmp_path)
    yield used
    for command in used.running:
        if command.process.poll() is None:
            command.process.kill()
            command.process.wait()
    for state in (used.gitops, used.state) if used.state.root.is_dir() else ():
        if (holder := state.holder()) is not None:
            os.kill(holder.pid, 9)
