import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from fairlead.model.errors import ProblemError
from fairlead.stores.state import Holder, StateFolder

HOLD = """
import sys, pathlib
from fairlead.stores.state import StateFolder
state = StateFolder(pathlib.Path(sys.argv[1]))
with state.lock():
    if len(sys.argv) > 2:
        state.write_run({"orchestrator": sys.argv[2]}, "1.2.3")
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    folder = StateFolder(tmp_path / "state")
    folder.prepare()
    return folder


@contextmanager
def held_elsewhere(state: StateFolder, *address: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLD, str(state.root), *address]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        if process.poll() is None:
            process.communicate("")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_prepare_makes_a_private_folder_with_its_parts(tmp_path: Path):
    state = StateFolder(tmp_path / "deep" / "state")
    assert state.prepare() == []
    for folder in (state.root, state.logs, state.server_logs, state.packages, state.workspace):
        assert mode(folder) == 0o700
    assert mode(state.root / "key") == mode(state.root / "id") == 0o600
    assert state.server_log("git") == state.root / "logs" / "servers" / "git.log"


def test_id_and_key_are_made_once(state: StateFolder):
    first = (state.id(), state.key())
    assert state.prepare() == []
    assert (state.id(), state.key()) == first
    assert re.fullmatch(r"[0-9a-f]{16}", first[0])
    assert len(first[1]) == 32


def test_two_folders_differ(tmp_path: Path, state: StateFolder):
    other = StateFolder(tmp_path / "other")
    other.prepare()
    assert other.id() != state.id()
    assert other.key() != state.key()


def test_a_world_readable_folder_is_mended_and_told(tmp_path: Path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state").chmod(0o755)
    (line,) = StateFolder(tmp_path / "state").prepare()
    assert mode(tmp_path / "state") == 0o700
    assert "0755" in line
    assert str(tmp_path / "state") in line


def test_another_users_folder_is_refused(state: StateFolder, monkeypatch: pytest.MonkeyPatch):
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(ProblemError) as caught:
        state.prepare()
    assert caught.value.problem.title == "the state folder belongs to another user"
    assert f"user id {owner}" in caught.value.problem.detail
    assert "--state-dir" in caught.value.problem.detail


@pytest.mark.parametrize("path", ["file", "file/below"])
def test_a_file_in_the_way_is_told(tmp_path: Path, path: str):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ProblemError) as caught:
        StateFolder(tmp_path / path).prepare()
    assert "cannot use the state folder" in caught.value.problem.title
    assert str(tmp_path / "file") in caught.value.problem.detail


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(ProblemError, match="cannot use the state folder"):
            StateFolder(tmp_path / "state").prepare()
    finally:
        tmp_path.chmod(0o700)


def test_a_damaged_key_is_told(state: StateFolder):
    (state.root / "key").write_bytes(b"short")
    with pytest.raises(ProblemError) as caught:
        state.key()
    assert "5 bytes instead of 32" in caught.value.problem.detail


def test_the_lock_names_its_holder_while_it_is_held(state: StateFolder):
    assert state.holder() is None
    with state.lock():
        holder = state.holder()
        assert holder is not None
        assert holder.pid == os.getpid()
    assert state.holder() is None
    with state.lock():  # and can be had again
        pass


def test_a_second_start_is_told_who_has_it_and_how_to_go_on(state: StateFolder):
    with held_elsewhere(state, "http://127.0.0.1:4711") as process:
        with pytest.raises(ProblemError) as caught, state.lock():
            pass
        problem = caught.value.problem
        assert problem.code == "already-running"
        for part in (f"process {process.pid}", "http://127.0.0.1:4711", "fairlead down", "--state-dir"):
            assert part in problem.detail
    with state.lock():
        pass


def test_a_killed_holder_frees_the_lock(state: StateFolder):
    with held_elsewhere(state, "http://127.0.0.1:4711") as process:
        assert state.read_run() is not None
        process.kill()
        process.wait()
        assert state.holder() is None
        assert state.read_run() is None
        with state.lock():
            assert state.holder() == Holder.this_process()


def test_looking_does_not_make_a_start_fail(state: StateFolder):
    with held_elsewhere(state):
        assert state.holder() is not None
        assert StateFolder(state.root).read_run() is None


def test_a_holder_that_cannot_be_seen_is_said_so(state: StateFolder):
    with held_elsewhere(state):
        state.lock_file.write_text('{"pid": 999999999, "started": 1}')  # as from another container
        with pytest.raises(ProblemError, match="cannot be seen from here"), state.lock():
            pass


def test_a_recycled_pid_or_a_zombie_is_not_alive():
    this = Holder.this_process()
    assert this.alive()
    assert not replace(this, started=this.started - 60).alive()
    process = subprocess.Popen([sys.executable, "-c", ""], stdin=subprocess.DEVNULL)
    child = Holder(process.pid, psutil.Process(process.pid).create_time())
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended, nobody has taken its code
    assert not child.alive()
    process.wait()
    assert not child.alive()


def test_run_says_where_this_process_answers(state: StateFolder):
    assert state.read_run() is None
    written = state.write_run({"orchestrator": "http://127.0.0.1:1"}, "1.2.3")
    assert state.read_run() == written
    document = json.loads(state.run_file.read_text())
    assert document["pid"] == os.getpid()
    assert document["addresses"] == {"orchestrator": "http://127.0.0.1:1"}
    assert document["version"] == "1.2.3"
    assert mode(state.run_file) == 0o600
    state.clear_run()
    state.clear_run()
    assert state.read_run() is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pid": 1}', b'{"pid": "x", "started": 0}', b"\xff"])
def test_broken_run_and_lock_files_count_as_none(state: StateFolder, content: bytes):
    state.run_file.write_bytes(content)
    state.lock_file.write_bytes(content)
    assert state.read_run() is None
    assert state.holder() is None
    with state.lock():
        assert state.holder() is not None
