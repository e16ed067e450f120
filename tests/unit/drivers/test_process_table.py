from __future__ import annotations

import os
import subprocess
import sys
import time

import psutil
import pytest

from fairlead.drivers import process_table
from fairlead.drivers.process_table import MARKER, ProcessTable, Seen


def seen(pid: int, parent: int = 1, session: int = 0, started: float = 0.0, *, zombie: bool = False) -> Seen:
    return Seen(pid, parent, session or pid, started, zombie, 0.0, "program")


@pytest.fixture
def child():
    """A child of ours in a session of its own, with a marker, that has a child in turn."""
    process = subprocess.Popen(
        ["/bin/sh", "-c", "sleep 600 & echo $!; wait"],
        env={MARKER: "owner:one#1", "PATH": os.environ["PATH"]},
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    grandchild = int(process.stdout.readline())
    guard = time.monotonic() + 30
    while psutil.Process(grandchild).name() != "sleep":  # between its fork and its exec it is still the shell
        assert time.monotonic() < guard
        time.sleep(0.001)
    yield process.pid, grandchild
    os.killpg(process.pid, 9)
    process.wait()
    process.stdout.close()


def test_a_tree_is_the_roots_and_all_below():
    table = ProcessTable([seen(2), seen(3, 2), seen(4, 3), seen(5), seen(6, 5)])
    assert table.tree([2]) == {2, 3, 4}
    assert table.tree([3, 5]) == {3, 4, 5, 6}
    assert table.tree([]) == set()


def test_a_loop_of_parents_ends():
    table = ProcessTable([seen(2, 3), seen(3, 2)])
    assert table.tree([2]) == {2, 3}
    assert table.line_of(2) == {2, 3}


def test_a_reused_pid_is_somebody_else():
    table = ProcessTable([seen(2, started=7.0)])
    assert (2, 7.0) in table
    assert (2, 6.0) not in table
    assert (3, 7.0) not in table


def test_sessions_and_ancestors():
    table = ProcessTable([seen(1, 0), seen(2, 1, 2), seen(3, 2, 2), seen(4, 3, 4)])
    assert sorted(table.session(2)) == [2, 3]
    assert table.session(9) == []
    assert table.line_of(4) == {1, 2, 3, 4}


def test_a_look_shows_a_child_and_its_child(child):
    pid, grandchild = child
    table = process_table.look()
    assert table.by_pid[pid].parent == os.getpid()
    assert table.by_pid[grandchild].parent == pid
    assert table.by_pid[grandchild].session == pid
    assert table.by_pid[grandchild].name == "sleep"
    assert process_table.identity_of(pid) == table.by_pid[pid].identity
    assert table.tree([pid]) == {pid, grandchild}
    assert table.line_of(grandchild) >= {grandchild, pid, os.getpid()}


def test_both_sources_show_the_same(child):
    ours = {os.getpid(), *child}
    there = {each.pid: each for each in process_table.look().by_pid.values() if each.pid in ours}
    portable = {each.pid: each for each in process_table.psutil_processes() if each.pid in ours}
    assert there.keys() == portable.keys() == ours
    for pid in ours:
        assert there[pid][1:3] == portable[pid][1:3]
        assert there[pid].name == portable[pid].name
        assert there[pid].zombie is portable[pid].zombie is False
        assert abs(there[pid].cpu_seconds - portable[pid].cpu_seconds) < 1
        assert process_table.psutil_identity(pid) == portable[pid].identity
        assert process_table.marker_of(pid) == process_table.psutil_marker(pid)
        assert 0 < process_table.psutil_resident_bytes([pid]) < 10 * process_table.resident_bytes([pid])


def test_the_marker_is_read_from_the_environment(child):
    assert process_table.marker_of(child[0]) == "owner:one#1"
    assert process_table.marker_of(child[1]) == "owner:one#1"
    assert process_table.marker_of(os.getpid()) is None


def test_an_ended_child_is_a_zombie_until_it_is_reaped():
    process = subprocess.Popen([sys.executable, "-S", "-E", "-c", ""])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert process_table.look().by_pid[process.pid].zombie
    assert {each.pid: each for each in process_table.psutil_processes()}[process.pid].zombie
    process.wait()
    assert process.pid not in process_table.look().by_pid


def test_nothing_is_said_of_a_process_that_is_not_there():
    process = subprocess.Popen(["/bin/true"])
    process.wait()
    gone = process.pid
    assert process_table.identity_of(gone) is None
    assert process_table.psutil_identity(gone) is None
    assert process_table.marker_of(gone) is None
    assert process_table.psutil_marker(gone) is None
    assert process_table.resident_bytes([gone]) == 0
    assert process_table.psutil_resident_bytes([gone]) == 0


def test_what_processes_share_is_counted_once(child):
    pair = os.getpid(), child[0]
    together = process_table.resident_bytes(pair)
    assert 0 < together < sum(process_table.resident_bytes([pid]) for pid in pair)


def test_the_boot_has_a_name_that_stays():
    assert process_table.boot_id() == process_table.boot_id()
