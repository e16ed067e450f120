import contextlib
import sys
import time

import psutil
import pytest
from bench.processes import Programs, StartError

# It starts a child in a session of its own, which no signal to the group reaches, and then ignores TERM.
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print("ready", flush=True)
time.sleep(600)
"""


def wait_for_child(program):
    deadline = time.monotonic() + 30
    while not (children := program.process.children()):
        assert time.monotonic() < deadline, program.last_words()
        time.sleep(0.01)
    return children[0]


def test_leaving_ends_every_program_and_what_it_started(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.processes.STOP_SECONDS", 0.2)
    with contextlib.suppress(KeyboardInterrupt), Programs(tmp_path) as programs:
        stubborn = programs.start("stubborn", [sys.executable, "-c", STUBBORN])
        plain = programs.start("plain", [sys.executable, "-c", "import time; time.sleep(600)"])
        child = wait_for_child(stubborn)
        raise KeyboardInterrupt
    gone, alive = psutil.wait_procs([stubborn.process, plain.process, child], timeout=30)
    assert (len(gone), alive) == (3, [])


def test_a_program_that_ended_by_itself_is_told_with_its_last_words(tmp_path):
    with Programs(tmp_path) as programs:
        program = programs.start("broken", [sys.executable, "-c", "raise SystemExit('no such port')"])
        program._popen.wait(30)
        with pytest.raises(StartError, match="ended with 1: no such port"):
            program.check()


def test_a_program_that_is_not_there_is_told(tmp_path):
    with Programs(tmp_path) as programs, pytest.raises(StartError, match="no-such-program"):
        programs.start("missing", ["no-such-program"])
