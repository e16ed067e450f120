"""What this machine has for sandboxes: tried out, not guessed from versions."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Final

from fairlead.drivers.cgroups import Cgroups, find
from fairlead.drivers.process_table import look
from fairlead.drivers.sandbox import ROOT, Access, Bubblewrap, Layout, Place, bwrap_arguments

_PATIENCE: Final = 10.0  # s, for a trial
_SEALED: Final = ("/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs")
_TRIAL_MEMORY: Final = 2**20  # bytes
COUNTS_APART: Final = (5, 14)  # Linux: RLIMIT_NPROC counts in each user namespace by itself


@dataclass(frozen=True, slots=True)
class SandboxHost:
    """`bubblewrap` is None where it cannot be used; `problem` says why, and how to mend it."""

    bubblewrap: Bubblewrap | None = None
    problem: str = ""
    cgroups: Cgroups = field(default_factory=lambda: Cgroups(""))
    counts_apart: bool = False


def examine(owner: str) -> SandboxHost:
    """Try it out; takes about 10 ms, and runs programs. `owner` is the state folder's id."""
    if sys.platform != "linux":
        return SandboxHost(problem=f"bubblewrap is for Linux, this is {platform.system()}")
    ourselves = os.getpid()
    cgroups = find(owner, ours=lambda pid: pid in look().tree([ourselves]))
    bubblewrap, problem = _bubblewrap()
    return SandboxHost(bubblewrap, problem, cgroups, _kernel() >= COUNTS_APART and not _is_root())


def examine_again(host: SandboxHost) -> SandboxHost:
    """Whether bubblewrap has come or gone meanwhile; control groups are in use, and stay."""
    if sys.platform != "linux":
        return host
    bubblewrap, problem = _bubblewrap()
    return replace(host, bubblewrap=bubblewrap, problem=problem)


def _bubblewrap() -> tuple[Bubblewrap | None, str]:
    program = shutil.which("bwrap")
    if program is None:
        return None, "there is no `bwrap`: install the package `bubblewrap`"
    sealed = tuple(part for part in _SEALED if Path(part).exists()) if _is_root() else ()
    problem = ""
    for network in (True, False):
        for sized in (True, False):
            bubblewrap = Bubblewrap(program, _is_root(), network, sized, sealed)
            said = _trial(bubblewrap)
            if not said:
                return bubblewrap, ""
            problem = problem or said
    return None, f"bubblewrap does not work here ({problem}): allow user namespaces, or run on another system"


def _trial(bubblewrap: Bubblewrap) -> str:
    """Run nothing in a sandbox; what went wrong, or an empty text."""
    places = (
        Place(PurePosixPath("/tmp"), Access.PRIVATE),  # noqa: S108
        Place(PurePosixPath("/etc"), Access.HIDDEN),
    )
    layout = Layout(places, ROOT, network=False, memory=_TRIAL_MEMORY)
    argv = [
        bubblewrap.program,
        *bwrap_arguments(layout, bubblewrap),
        *("--as-pid-1", "--"),  # else its process 1 outlives it for a moment, and becomes ours
        shutil.which("true") or "/bin/true",
    ]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_PATIENCE, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{error}"
    said = done.stderr.strip().removeprefix("bwrap: ")
    return "" if done.returncode == 0 else said or f"it exits with code {done.returncode}"


def _is_root() -> bool:
    return os.geteuid() == 0


def _kernel() -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", platform.release())
    return (int(found[1]), int(found[2])) if found else (0, 0)
