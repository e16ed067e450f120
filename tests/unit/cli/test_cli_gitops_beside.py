import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fairlead.app.settings import Settings
from fairlead.cli.gitops_beside import LONGEST, SETTLE, STEADY, GitOpsBeside
from fairlead.cli.service import StopSignals
from fairlead.stores.state import GITOPS, StateFolder

GUARD = 30.0  # s
FAILS = [sys.executable, "-S", "-E", "-c", "import sys; print('error: no luck'); sys.exit(3)"]
ENDS = [sys.executable, "-S", "-E", "-c", ""]
STAYS = [sys.executable, "-S", "-E", "-c", "import sys; sys.stdin.read()"]
ENDS_BADLY = [
    sys.executable, "-S", "-E", "-c",
    "import signal, sys, time\n"
    "signal.signal(signal.SIGTERM, lambda *_: sys.exit(4))\n"
    "print('set', flush=True)\n"
    "while True: time.sleep(1)",
]  # fmt: skip


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


Make = Callable[..., GitOpsBeside]


@pytest.fixture
def make(state: StateFolder, clock: Clock) -> Iterator[Make]:
    """Makes the supervisor of a command; what it started is ended."""
    state.prepare()
    made: list[GitOpsBeside] = []

    def beside(command: list[str] | None, *, detach: bool = False, port: int = 0) -> GitOpsBeside:
        settings = Settings.model_validate({"state_dir": state.root, "gitops_port": port})
        made.append(GitOpsBeside(settings, command, detach=detach, now=clock))
        return made[-1]

    yield beside
    for one in made:
        if one._service is not None:
            one._service._process.kill()
            one._service._process.wait()
        one.close()


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + GUARD
    while not condition():
        assert time.monotonic() < deadline, f"not within {GUARD} s: {what}"
        time.sleep(0.01)


def end(beside: GitOpsBeside) -> None:
    """Look after it until it has noticed that its process ended."""

    def noticed() -> bool:
        beside.tick()
        return beside._service is None

    wait_until(noticed, "its end was seen")


def test_the_pauses_double_and_the_same_end_is_quoted_once(make: Make, clock: Clock, capsys):
    beside = make(FAILS)
    beside.start()
    pauses = []
    for _ in range(8):
        end(beside)
        assert beside._away is not None
        assert beside._away.until is not None
        pauses.append(beside._away.until - clock.now)
        clock.now = beside._away.until - 0.01
        beside.tick()
        assert beside._service is None  # not before its time
        clock.now = beside._away.until
        beside.tick()
        assert beside._service is not None
    assert pauses == [1, 2, 4, 8, 16, 32, LONGEST, LONGEST]
    told = capsys.readouterr().err
    assert told.count("the GitOps controller ended with code 3") == 8
    assert told.count("error: no luck") == 1
    assert "is started again in 16 s" in told


def test_after_it_ran_for_long_the_pauses_begin_anew(make: Make, clock: Clock):
    beside = make(FAILS)
    beside.start()
    end(beside)
    clock.now += 1
    beside.tick()
    clock.now += STEADY + 1
    end(beside)
    assert beside._away is not None
    assert beside._away.until == clock.now + 1


def test_one_that_ended_as_asked_stays_stopped(make: Make, clock: Clock, capsys):
    beside = make(ENDS)
    beside.start()
    end(beside)
    clock.now += 1000
    beside.tick()
    assert beside._service is None
    assert "was stopped by another command" in capsys.readouterr().err
    assert "it was stopped" in beside.report().reason


def test_detached_nobody_is_there_to_start_it_again(make: Make, clock: Clock, capsys):
    beside = make(FAILS, detach=True)
    beside.start()
    end(beside)
    clock.now += 1000
    beside.tick()
    assert beside._service is None
    assert "all else goes on without the GitOps controller" in capsys.readouterr().err
    report = beside.settle()
    assert report.run is None
    assert "ended with code 3" in report.reason


def test_before_it_is_started_nothing_happens(make: Make, clock: Clock):
    for beside in (make(STAYS), make(None)):
        clock.now += 1000
        beside.tick()
        assert beside._service is None
    beside = make(None)
    beside.start()
    assert beside.settle().reason == "left out with --no-gitops"
    assert beside.stop(StopSignals(), patience=1) is True


def test_the_one_of_another_command_is_left_alone_until_it_is_gone(make: Make, state: StateFolder, capsys):
    beside = make(STAYS)
    with state.of(GITOPS).lock():
        beside.start()
        beside.tick()
        assert beside._service is None
        assert beside.stop(StopSignals(), patience=1) is True
        assert "was started by another command and runs on" in capsys.readouterr().err
    beside.tick()
    assert beside._service is not None


def test_it_is_not_waited_for_without_end(make: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch):
    def passes(seconds: float) -> None:
        clock.now += seconds

    beside = make(STAYS)
    beside.start()
    before = clock.now
    monkeypatch.setattr("fairlead.cli.gitops_beside.time.sleep", passes)
    assert "still starting" in beside.settle().reason
    assert SETTLE <= clock.now - before < SETTLE + 1


def test_a_stop_while_it_is_just_starting_is_orderly(make: Make, capsys):
    beside = make(STAYS)  # it has no handler: SIGTERM ends it as it ends an interpreter that is loading
    beside.start()
    assert beside.stop(StopSignals(), patience=GUARD) is True
    assert capsys.readouterr().err == ""


def test_a_bad_end_is_told(make: Make, state: StateFolder, capsys):
    beside = make(ENDS_BADLY)
    beside.start()
    wait_until(lambda: "set" in state.of(GITOPS).log.read_text(), "it has its handler")
    assert beside.stop(StopSignals(), patience=GUARD) is False
    assert "ended with code 4 (see `fairlead logs --gitops`)" in capsys.readouterr().err


def test_a_program_that_is_not_there_is_told(make: Make, capsys):
    beside = make(["/nonexistent/fairlead"])
    beside.start()
    assert "cannot be started" in capsys.readouterr().err
    assert "/nonexistent/fairlead" in beside.settle().reason


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_taken_port_is_told_with_the_way_out(
    make: Make, taken: int, capsys, monkeypatch: pytest.MonkeyPatch
):
    beside = make(STAYS, port=taken)
    beside.start()
    told = capsys.readouterr().err
    assert f"port {taken} is taken, all else goes on without the GitOps controller: process " in told
    assert "--gitops-port" in told
    assert "5050" not in told
    assert f"port {taken} is taken" in beside.settle().reason
    monkeypatch.setattr("fairlead.cli.gitops_beside.TAKEN_BY_MACOS", taken)  # as 5000 is
    beside = make(STAYS, port=taken)
    beside.start()
    assert "such as `--gitops-port 5050`" in capsys.readouterr().err


def test_a_port_that_was_taken_meanwhile_is_tried_again(make: Make, clock: Clock, tmp_path: Path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    beside = make(FAILS, port=port)
    beside.start()
    end(beside)
    with socket.create_server(("127.0.0.1", port)):
        clock.now += 1
        beside.tick()
        assert beside._service is None
        assert f"port {port} is taken; the GitOps controller is started again in " in capsys.readouterr().err
    clock.now += LONGEST
    beside.tick()
    assert beside._service is not None
