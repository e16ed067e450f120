"""Control groups (Linux): memory and processes of a whole tree, bounded by the kernel.

A group is made below our own, never elsewhere: what bounds us bounds the instances, too. We may when we are
root or were given our group (systemd: `Delegate=yes`). In version 2 a group with groups below it holds no
processes, so we first move ourselves one down, if nobody else is in our group. In version 1 each controller
has a tree of its own.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

CONTROLLERS: Final = ("memory", "pids")
Controller = Literal["memory", "pids"]
_REMOVALS: Final = (0.0, 0.005, 0.02, 0.1, 0.2)  # s, before each attempt; a zombie counts until it is reaped


@dataclass(frozen=True, slots=True)
class Mounted:
    """Our own group in one tree. `version` is 1 or 2."""

    folder: Path
    version: int


@dataclass(frozen=True, slots=True)
class Group:
    """The group of one instance: a folder for each controller (version 2: the same one)."""

    folders: Mapping[Controller, Path]

    def enter(self, pid: int) -> None:
        """Move a process into it; what it starts from now on is in it, too. Raises OSError."""
        for folder in dict.fromkeys(self.folders.values()):
            (folder / "cgroup.procs").write_text(str(pid))

    def memory_ran_out(self) -> bool:
        """Whether the kernel has ended a process of it for want of memory."""
        if (folder := self.folders.get("memory")) is None:
            return False
        for name in ("memory.events", "memory.oom_control"):
            with suppress(FileNotFoundError):
                return re.search(r"^oom_kill [1-9]", (folder / name).read_text(), re.MULTILINE) is not None
        return False

    def remove(self) -> None:
        """Its processes have ended. What cannot be removed now is, at the next start."""
        for folder in dict.fromkeys(self.folders.values()):
            for pause in _REMOVALS:
                time.sleep(pause)
                try:
                    folder.rmdir()
                except FileNotFoundError:
                    break
                except OSError:
                    continue
                break


@dataclass(frozen=True, slots=True)
class Cgroups:
    """Where groups can be made, by controller; `reasons` says why not for the others."""

    owner: str
    trees: Mapping[Controller, Mounted] = field(default_factory=dict)
    reasons: Mapping[Controller, str] = field(default_factory=dict)

    def make(self, name: str, *, memory: int | None, processes: int | None) -> Group:
        """A group with these bounds (bytes; processes and threads), where there is a controller for them.

        Raises OSError.
        """
        limits: dict[Controller, int | None] = {"memory": memory, "pids": processes}
        folders: dict[Controller, Path] = {}
        try:
            for controller, tree in self.trees.items():
                if (limit := limits[controller]) is None:
                    continue
                folder = tree.folder / f"{_prefix(self.owner)}{name}"
                folder.mkdir(exist_ok=True)
                folders[controller] = folder
                _set(folder, controller, tree.version, limit)
        except OSError:
            Group(folders).remove()
            raise
        return Group(folders)


def find(owner: str, *, ours: Callable[[int], bool], proc: Path = Path("/proc")) -> Cgroups:
    """Look where groups can be made, make it possible, and remove those that an earlier run left.

    `ours` says whether a process is this one or descends from it.
    """
    try:
        trees = _trees((proc / "self/mountinfo").read_text(), (proc / "self/cgroup").read_text())
    except OSError:
        trees = {}
    usable: dict[Controller, Mounted] = {}
    reasons: dict[Controller, str] = {}
    for controller in CONTROLLERS:
        tree = trees.get(controller)
        if tree is None:
            reasons[controller] = f"this machine has no cgroup controller `{controller}` for us"
        elif why := _unusable(owner, tree, ours):
            reasons[controller] = why
        else:
            usable[controller] = tree
            _remove_left(owner, tree.folder)
    return Cgroups(owner, usable, reasons)


def _trees(mountinfo: str, membership: str) -> dict[Controller, Mounted]:
    """Our own group in the tree of each controller. Version 2 first: a controller is in one tree only."""
    own = {
        controllers: path
        for _, controllers, path in (line.split(":", 2) for line in membership.splitlines() if line)
    }
    trees: dict[Controller, Mounted] = {}
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        root, point = before.split()[3:5]
        kind, _, options = after.split(None, 2)
        if kind == "cgroup2" and "" in own:
            folder = _below(Path(point), root, own[""])
            for controller in _words(folder / "cgroup.controllers") & set(CONTROLLERS):
                trees[controller] = Mounted(folder, 2)  # type: ignore[index] # one of CONTROLLERS
        elif kind == "cgroup":
            for controllers, path in own.items():
                for each in set(controllers.split(",")) & set(options.split(",")) & set(CONTROLLERS):
                    trees.setdefault(each, Mounted(_below(Path(point), root, path), 1))  # type: ignore[arg-type]
    return trees


def _below(point: Path, root: str, path: str) -> Path:
    """A group's folder; in a container only the part of the tree below `root` may be mounted."""
    inner = path.removeprefix(root) if root != "/" else path
    return point / inner.strip("/")


def _unusable(owner: str, tree: Mounted, ours: Callable[[int], bool]) -> str:
    """Why no groups can be made there; empty if they can."""
    advice = "start Fairlead as a systemd service with Delegate=yes, or as root"
    if not os.access(tree.folder, os.W_OK):
        return f"our cgroup {tree.folder} is not ours to divide: {advice}"
    if tree.version == 1:
        return ""
    wanted = _words(tree.folder / "cgroup.controllers") & set(CONTROLLERS)
    missing = wanted - _words(tree.folder / "cgroup.subtree_control")
    try:
        if missing and (tree.folder / "cgroup.type").exists():  # the root of all may hold processes
            _move_down(owner, tree.folder, ours)
        if missing:
            (tree.folder / "cgroup.subtree_control").write_text(
                " ".join(f"+{each}" for each in sorted(missing))
            )
    except OSError as error:
        return f"our cgroup {tree.folder} cannot be divided ({error.strerror}): {advice}"
    return ""


def _move_down(owner: str, folder: Path, ours: Callable[[int], bool]) -> None:
    processes = {int(pid) for pid in _words(folder / "cgroup.procs")}
    if not all(map(ours, processes)):
        raise OSError(0, "other processes are in it, too")
    inner = folder / f"{_prefix(owner)}itself"
    inner.mkdir(exist_ok=True)
    for pid in processes:
        (inner / "cgroup.procs").write_text(str(pid))


def _set(folder: Path, controller: Controller, version: int, limit: int) -> None:
    if controller == "pids":
        (folder / "pids.max").write_text(str(limit))
    elif version == 1:
        (folder / "memory.limit_in_bytes").write_text(str(limit))
        with suppress(OSError):  # the kernel may not count swap
            (folder / "memory.memsw.limit_in_bytes").write_text(str(limit))
    else:
        (folder / "memory.max").write_text(str(limit))
        _set_optional(folder, {"memory.swap.max": "0", "memory.oom.group": "1"})


def _set_optional(folder: Path, values: Mapping[str, str]) -> None:
    for name, value in values.items():
        if (folder / name).exists():  # a file that is missing would be made in a plain folder, as in tests
            with suppress(OSError):
                (folder / name).write_text(value)


def _remove_left(owner: str, folder: Path) -> None:
    for left in _groups(owner, folder):
        with suppress(OSError):  # busy: it is in use, or its processes are being swept
            left.rmdir()


def _groups(owner: str, folder: Path) -> Iterable[Path]:
    return folder.glob(f"{_prefix(owner)}*")


def _prefix(owner: str) -> str:
    return f"fairlead-{owner}-"


def _words(file: Path) -> set[str]:
    try:
        return set(file.read_text().split())
    except OSError:
        return set()
