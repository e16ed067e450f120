"""Control groups, in folders that look like the kernel's."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.drivers.cgroups import Cgroups, Group, Mounted, find

OURS = 4321


def everything(_: int) -> bool:
    return True


def nothing(_: int) -> bool:
    return False


class Machine:
    """A made-up /proc and /sys/fs/cgroup."""

    def __init__(self, folder: Path) -> None:
        self.proc = folder / "proc"
        self.root = folder / "cgroup"
        (self.proc / "self").mkdir(parents=True)
        self.root.mkdir()
        self._mounts: list[str] = []
        self._own: list[str] = []

    def mount(self, kind: str, own: str, controllers: str = "", *, root: str = "/") -> Path:
        """A tree, and our own group in it."""
        point = self.root / (controllers or "unified")
        number = len(self._mounts) + 30
        self._mounts.append(
            f"{number} 25 0:{number} {root} {point} rw,relatime - {kind} {kind} rw,{controllers}"
        )
        self._own.append(f"{0 if kind == 'cgroup2' else number}:{controllers}:{own}")
        inner = own.removeprefix(root) if root != "/" else own
        folder = point / inner.strip("/")
        folder.mkdir(parents=True)
        return folder

    def find(self, ours=everything) -> Cgroups:
        (self.proc / "self/mountinfo").write_text(
            "\n".join(["25 1 0:1 / / rw - ext4 /dev/a rw", *self._mounts])
        )
        (self.proc / "self/cgroup").write_text("\n".join(self._own) + "\n")
        return find("owner", ours=ours, proc=self.proc)


@pytest.fixture
def machine(tmp_path) -> Machine:
    return Machine(tmp_path)


def version_2(machine: Machine, own: str = "/fairlead.service", *, divided: str = "") -> Path:
    folder = machine.mount("cgroup2", own)
    (folder / "cgroup.controllers").write_text("cpu memory pids\n")
    (folder / "cgroup.subtree_control").write_text(divided)
    (folder / "cgroup.procs").write_text(f"{OURS}\n")
    if own != "/":
        (folder / "cgroup.type").write_text("domain\n")
    return folder


def test_version_1_has_a_tree_for_each_controller(machine):
    memory = machine.mount("cgroup", "/ours", "memory")
    pids = machine.mount("cgroup", "/", "pids")
    machine.mount("cgroup", "/", "cpu,cpuacct")
    found = machine.find()
    assert found.trees == {"memory": Mounted(memory, 1), "pids": Mounted(pids, 1)}
    group = found.make("light-1#1", memory=2**20, processes=7)
    name = "fairlead-owner-light-1#1"
    assert (memory / name / "memory.limit_in_bytes").read_text() == str(2**20)
    assert (pids / name / "pids.max").read_text() == "7"
    group.enter(77)
    assert (memory / name / "cgroup.procs").read_text() == (pids / name / "cgroup.procs").read_text() == "77"


def test_in_version_2_we_move_down_and_divide_our_group(machine):
    folder = version_2(machine)
    found = machine.find()
    assert found.trees == {"memory": Mounted(folder, 2), "pids": Mounted(folder, 2)}
    assert (folder / "fairlead-owner-itself/cgroup.procs").read_text() == str(OURS)
    assert (folder / "cgroup.subtree_control").read_text() == "+memory +pids"
    group = found.make("light-1#1", memory=2**20, processes=None)
    assert (folder / "fairlead-owner-light-1#1/memory.max").read_text() == str(2**20)
    assert set(group.folders) == {"memory"}


def test_a_group_that_is_divided_already_is_taken_as_it_is(machine):
    folder = version_2(machine, divided="cpu memory pids")
    assert set(machine.find(ours=nothing).trees) == {"memory", "pids"}
    assert not (folder / "fairlead-owner-itself").exists()


def test_the_root_of_all_holds_processes_and_groups(machine):
    folder = version_2(machine, "/")
    assert set(machine.find(ours=nothing).trees) == {"memory", "pids"}
    assert not (folder / "fairlead-owner-itself").exists()


def test_a_group_that_others_are_in_is_left_alone(machine):
    folder = version_2(machine)
    found = machine.find(ours=nothing)
    assert found.trees == {}
    assert "other processes are in it" in found.reasons["pids"]
    assert "Delegate=yes" in found.reasons["pids"]
    assert [each for each in folder.iterdir() if each.is_dir()] == []


def test_in_a_container_our_group_is_where_its_part_of_the_tree_is_mounted(machine):
    folder = machine.mount("cgroup", "/docker/abc/inner", "pids", root="/docker/abc")
    assert folder == machine.root / "pids/inner"
    assert machine.find().trees["pids"] == Mounted(folder, 1)


def test_a_group_that_we_may_not_write_to_is_not_ours(machine, monkeypatch):
    machine.mount("cgroup", "/", "memory")
    monkeypatch.setattr("fairlead.drivers.cgroups.os.access", lambda *_: False)
    assert "not ours to divide" in machine.find().reasons["memory"]


def test_a_machine_without_any(machine):
    found = machine.find()
    assert (found.trees, set(found.reasons)) == ({}, {"memory", "pids"})
    assert find("owner", ours=everything, proc=machine.proc / "missing").trees == {}
    group = found.make("x", memory=1, processes=1)
    group.enter(1)
    assert not group.memory_ran_out()
    group.remove()


def test_what_an_earlier_run_left_is_removed_if_nothing_is_in_it(machine):
    folder = machine.mount("cgroup", "/", "pids")
    (folder / "fairlead-owner-old#1").mkdir()
    (folder / "fairlead-owner-busy#1").mkdir()
    (folder / "fairlead-owner-busy#1/cgroup.procs").touch()  # as the kernel, a folder with files refuses
    (folder / "fairlead-other-old#1").mkdir()
    machine.find()
    left = sorted(each.name for each in folder.iterdir())
    assert left == ["fairlead-other-old#1", "fairlead-owner-busy#1"]


def test_nothing_stays_of_a_group_whose_limits_cannot_be_set(machine, monkeypatch):
    folder = machine.mount("cgroup", "/", "pids")
    found = machine.find()

    def refuse(*_, **__):
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(OSError, match="Invalid argument"):
        found.make("x", memory=None, processes=5)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", ["memory.events", "memory.oom_control"])
@pytest.mark.parametrize(
    ("text", "ran_out"), [("low 0\noom_kill 0\n", False), ("oom 1\noom_kill 12\n", True)]
)
def test_whether_memory_ran_out(tmp_path, name, text, ran_out):
    (tmp_path / name).write_text(text)
    assert Group({"memory": tmp_path}).memory_ran_out() is ran_out
    assert not Group({"pids": tmp_path}).memory_ran_out()


def test_a_group_is_removed_once_and_for_all(tmp_path):
    folder = tmp_path / "group"
    folder.mkdir()
    group = Group({"memory": folder, "pids": folder})
    group.remove()
    group.remove()
    assert not folder.exists()
    (tmp_path / "busy/child").mkdir(parents=True)
    Group({"pids": tmp_path / "busy"}).remove()
    assert (tmp_path / "busy").exists()
