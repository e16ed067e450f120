"""The GitOps controller as a process of its own: started, stopped, killed, refused."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fairlead.stores.state import GITOPS, Run, StateFolder
from support.repositories import Repository
from support.stack import fleet

GUARD = 60.0  # s
STOPS = 20.0  # s; the time after which git itself would give up is far longer


class Controllers:
    """Of one state folder, whose fleet file is in a repository with an application of files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = StateFolder(folder / "state", GITOPS)
        self.home = folder / "home"
        self.home.mkdir()
        self.repository = Repository(folder / "repository")
        document = {
            "version": "1", "name": "files", "path": "x", "render": "files", "policy": "remote",
            "target": {"files": {"root": str(self.home)}},
        }  # fmt: skip
        self.repository.commit(
            {
                "applications/files.yml": json.dumps(document),
                "x/base/files/note": "one\n",
                "fleet.yml": fleet({}),
                "gitops.yml": json.dumps(
                    {"version": "1", "sources": {"own": {"url": str(self.repository.path)}}}
                ),
            }
        )
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, *words: str, port: int = 0, **more: Any) -> subprocess.Popen[bytes]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FAIRLEAD_")}
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "fairlead.cli.main", "gitops", *words),
                    *("--gitops-port", str(port), "--state-dir", str(self.state.root)),
                    *("--config", str(self.repository.path / "fleet.yml")),
                ],
                env=environment, cwd=self.folder, stdout=log, stderr=log,
                **{"stdin": subprocess.DEVNULL, **more},
            )  # fmt: skip
        self.processes.append(process)
        return process

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def runs(self, process: subprocess.Popen[bytes]) -> Run:
        deadline = time.monotonic() + GUARD
        while (run := self.state.read_run()) is None or run.pid != process.pid:
            assert process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.02)
        return run

    def converges(self, text: str) -> None:
        """The folder has what Git says."""
        deadline, note = time.monotonic() + GUARD, self.home / "note"
        while not note.exists() or note.read_text() != text:
            assert time.monotonic() < deadline, self.log
            time.sleep(0.02)

    def ended(self, process: subprocess.Popen[bytes]) -> int:
        return process.wait(GUARD)


@pytest.fixture
def controllers(tmp_path: Path) -> Iterator[Controllers]:
    made = Controllers(tmp_path)
    yield made
    for process in made.processes:
        if process.poll() is None:
            process.kill()
            process.wait()


@pytest.mark.parametrize("words", [(), ("run",)])
def test_it_runs_until_it_is_told_to_stop(controllers: Controllers, words: tuple[str, ...]):
    process = controllers.start(*words)
    run = controllers.runs(process)
    assert run.addresses[GITOPS].startswith("http://127.0.0.1:")
    controllers.converges("one\n")
    process.send_signal(signal.SIGTERM)
    assert controllers.ended(process) == 0
    assert controllers.state.read_run() is None
    assert controllers.state.holder() is None
    assert "Traceback" not in controllers.log


def test_it_stops_with_its_parent(controllers: Controllers):
    process = controllers.start("--stop-with-stdin", stdin=subprocess.PIPE)
    controllers.runs(process)
    assert process.stdin is not None
    process.stdin.close()
    assert controllers.ended(process) == 0


def test_a_host_that_does_not_answer_keeps_nothing_from_stopping(controllers: Controllers):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        silent.settimeout(GUARD)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/config.git"
        sources = {"silent": {"url": url}, "own": {"url": str(controllers.repository.path)}}
        document = json.dumps({"version": "1", "sources": sources})
        (controllers.repository.path / "gitops.yml").write_text(document)
        process = controllers.start()
        controllers.runs(process)
        asking, _ = silent.accept()  # git has begun to fetch, and waits
        controllers.converges("one\n")
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert controllers.ended(process) == 0
        assert time.monotonic() - began < STOPS
        asking.close()
    assert "Traceback" not in controllers.log


def test_one_that_was_killed_leaves_nothing_wrong(controllers: Controllers):
    first = controllers.start()
    controllers.runs(first)
    controllers.converges("one\n")
    controllers.repository.commit({"x/base/files/note": "two\n"})
    first.kill()
    first.wait()
    assert controllers.state.read_run() is None
    second = controllers.start()
    controllers.runs(second)
    controllers.converges("two\n")
    second.send_signal(signal.SIGINT)
    assert controllers.ended(second) == 0


def test_a_second_one_is_refused(controllers: Controllers):
    first = controllers.start()
    run = controllers.runs(first)
    second = controllers.start()
    assert controllers.ended(second) == 1
    assert f"held by process {first.pid}, which answers at {run.addresses[GITOPS]}" in controllers.log
    assert first.poll() is None


def test_a_taken_port_is_one_clear_message(controllers: Controllers):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen(1)
        port = other.getsockname()[1]
        assert controllers.ended(controllers.start(port=port)) == 1
    assert f"port {port} is taken" in controllers.log
    assert "--gitops-port" in controllers.log
    assert "Traceback" not in controllers.log
