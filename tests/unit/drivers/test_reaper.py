"""Who is taken for a member of an instance, and who never is."""

from __future__ import annotations

import os
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.drivers import reaper as module
from fairlead.drivers.process_table import MARKER, ProcessTable, Seen
from fairlead.drivers.reaper import Reaper
from fairlead.drivers.registry import Record


def seen(pid: int, parent: int, session: int, started: float = 1.0, *, zombie: bool = False) -> Seen:
    return Seen(pid, parent, session, started, zombie, 0.5, "program")


class World:
    """A made-up machine: processes, the markers in their environments, and what was done to them."""

    def __init__(self, *processes: Seen, markers: dict[int, str] | None = None) -> None:
        self.processes = {each.pid: each for each in processes}
        self.markers = markers or {}
        self.signals: list[tuple[int, int]] = []
        self.reaped: list[int] = []
        self.read: list[int] = []

    def marker_of(self, pid: int) -> str | None:
        self.read.append(pid)
        return self.markers.get(pid)

    def install(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(module, "look", lambda: ProcessTable(self.processes.values()))
        patch.setattr(module, "marker_of", self.marker_of)
        patch.setattr(module, "resident_bytes", lambda pids: 100 * len(list(pids)))
        patch.setattr(module, "_signal", lambda identity, number: self.signals.append((identity[0], number)))
        patch.setattr(module, "_reap", self.reaped.append)


@pytest.fixture
def install(monkeypatch):
    def installed(world: World) -> World:
        world.install(monkeypatch)
        return world

    return installed


US = os.getpid()
OURS = seen(US, 1, os.getsid(0))


def record(*known: tuple[int, float]) -> Record:
    """An instance whose main process is 50."""
    return Record("me:one#1", 50, frozenset({(50, 1.0), *known}))


def test_a_tree_is_found_by_descent_session_marker_and_memory(install):
    install(
        World(
            OURS,
            seen(50, US, 50),
            seen(51, 50, 50),  # a child
            seen(52, US, 50),  # an orphan in the same session
            seen(53, US, 53),  # escaped, but marked
            seen(54, 53, 54),  # a child of that one
            seen(55, US, 55, 9.0),  # escaped with an empty environment, but seen before
            seen(60, US, 60),  # another instance
            seen(61, 60, 60),
            seen(70, US, os.getsid(0)),  # another child of ours
            markers={50: "me:one#1", 53: "me:one#1", 60: "me:two#1", 61: "you:one#1"},
        )
    )
    one = record((55, 9.0))
    Reaper("me").note(one)
    assert {pid for pid, _ in one.known} == {50, 51, 52, 53, 54, 55}


def test_a_reused_pid_is_no_member(install):
    install(World(OURS, seen(50, US, 50), seen(55, US, 55, 2.0)))
    one = record((55, 1.0))
    Reaper("me").note(one)
    assert one.known == {(50, 1.0)}


def test_killing_ends_the_living_reaps_adopted_zombies_and_leaves_the_main_process_to_its_owner(install):
    world = install(
        World(
            OURS,
            seen(50, US, 50, zombie=True),
            seen(51, 50, 50),
            seen(52, US, 50, zombie=True),
            seen(53, 51, 50, zombie=True),
        )
    )
    assert Reaper("me").kill(record()) == 1
    assert world.signals == [(51, 9)]
    assert world.reaped == [52]


def test_what_was_killed_is_reaped_though_nothing_ties_it_to_the_instance_any_more(install):
    world = install(World(OURS, seen(50, US, 50), seen(51, 50, 51), seen(52, 51, 52)))
    reaper, one = Reaper("me"), record()
    assert reaper.kill(one) == 3
    world.processes[51] = seen(51, US, 51, zombie=True)
    world.processes[52] = seen(52, US, 52, zombie=True)
    world.processes[50] = seen(50, US, 50, zombie=True)
    assert reaper.kill(one) == 0
    assert sorted(world.reaped) == [51, 52]


def test_a_sample_adds_up_the_tree(install):
    install(World(OURS, seen(50, US, 50), seen(51, 50, 50)))
    one = record()
    sample = Reaper("me").sample([one])["me:one#1"]
    assert one.known == {(50, 1.0), (51, 1.0)}
    assert sample.memory_bytes == 200
    assert sample.cpu_seconds == 1.0


def test_an_environment_is_read_once(install):
    world = install(World(OURS, seen(50, US, 50)))
    reaper = Reaper("me")
    for _ in range(3):
        reaper.sample([record()])
    assert sorted(world.read) == sorted([US, 50])
    world.processes[50] = seen(50, US, 50, 2.0)  # another process under the same pid
    reaper.sample([record()])
    assert world.read.count(50) == 2


def test_a_stray_zombie_is_reaped_at_the_second_look_and_nobody_elses_is(install):
    world = install(
        World(
            OURS,
            seen(50, US, 50, zombie=True),  # an instance: its link reaps it
            seen(60, US, 61, zombie=True),  # an orphan that came back
            seen(70, US, os.getsid(0), zombie=True),  # in our own session: somebody waits for it
            seen(80, 1, 81, zombie=True),  # not ours
        )
    )
    reaper = Reaper("me")
    reaper.sample([record()])
    assert world.reaped == []
    reaper.sample([record()])
    assert world.reaped == [60]


@pytest.fixture
def no_grace(monkeypatch):
    monkeypatch.setattr(module, "_SWEEP_GRACE", 0.05)
    monkeypatch.setattr(module, "_SWEEP_PATIENCE", 0.05)


def test_a_sweep_touches_only_what_was_noted_or_is_marked_with_the_owner(install, no_grace):
    world = install(
        World(
            OURS,
            seen(50, 1, 50),  # noted
            seen(51, 50, 50),  # its child
            seen(52, 1, 52, 9.0),  # the pid was noted, but it is another process now
            seen(53, 1, 53),  # marked only
            seen(54, 1, 54),  # another owner's
            seen(55, 1, 55),  # of an owner whose name begins alike
            seen(56, 1, 56, zombie=True),  # ended already
            markers={53: "me:two#1", 54: "you:one#1", 55: "meme:one#1", 56: "me:two#2"},
        )
    )
    left = {"me:one#1": [(50, 1.0), (52, 1.0), (99, 1.0)]}
    lines = Reaper("me").sweep(left)
    assert lines == ["one: program, pid 50", "one: program, pid 51", "two: program, pid 53"]
    assert {pid for pid, _ in world.signals} == {50, 51, 53}
    assert [number for pid, number in world.signals if pid == 50][:3] == [15, 18, 9]


def test_a_sweep_never_touches_ourselves_or_who_started_us(install, no_grace):
    world = install(
        World(
            seen(40, 1, 40),
            seen(US, 40, 40),
            seen(41, 40, 40),
            markers=dict.fromkeys((40, 41, US), "me:one#1"),
        )
    )
    assert Reaper("me").sweep({"me:one#1": [(40, 1.0), (US, 1.0)]}) == ["one: program, pid 41"]
    assert {pid for pid, _ in world.signals} == {41}


def test_nothing_to_sweep_takes_no_time(install):
    install(World(OURS))
    assert Reaper("me").sweep({"me:one#1": [(50, 1.0)]}) == []


@given(st.data())
def test_whatever_the_machine_looks_like_only_the_instances_own_are_members(data):
    """What neither descends from a member nor is in the session, marked or known, is left alone."""
    pids = data.draw(st.lists(st.integers(2, 30), unique=True, max_size=15))
    processes = [
        seen(
            pid,
            data.draw(st.sampled_from([1, *pids])),
            data.draw(st.sampled_from([pid, *pids])),
            data.draw(st.sampled_from([1.0, 2.0])),
        )
        for pid in pids
    ]
    marked = data.draw(st.lists(st.sampled_from(pids), unique=True)) if pids else []
    known = frozenset(
        data.draw(st.lists(st.tuples(st.integers(2, 30), st.sampled_from([1.0, 2.0])), max_size=4))
    )
    table = ProcessTable(processes)
    members = module._members(table, Record("me:one#1", 50, known), marked)
    for each in processes:
        belongs = (
            each.session == 50
            or each.pid in marked
            or each.identity in known
            or (each.parent in members and each.parent != 1)
        )
        assert (each.pid in members) == belongs


def test_a_signal_goes_only_to_the_process_that_was_meant():
    process = subprocess.Popen(["sleep", "600"], env={MARKER: "x:y#z", "PATH": os.environ["PATH"]})
    try:
        identity = module.identity_of(process.pid)
        assert identity is not None
        module._signal((process.pid, identity[1] + 1), module.signal.SIGKILL)
        assert process.poll() is None
        module._signal(identity, module.signal.SIGKILL)
        assert process.wait(20) == -9
        module._signal(identity, module.signal.SIGKILL)  # gone: nothing happens
        module._reap(process.pid)  # reaped already: nothing happens
    finally:
        process.kill()
        process.wait()
