"""Confining one instance: its sandbox, its control group, its resource limits, and what of it cannot be had.

`Confiner.prepare` decides before anything is started, `Confined.enter` finishes when the process is there and
`Confined.remove` when nothing of it is left.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from fairlead.drivers.cgroups import Group
from fairlead.drivers.sandbox import bwrap_arguments
from fairlead.drivers.sandbox_entry import Entry, server_below
from fairlead.drivers.sandbox_host import SandboxHost, examine, examine_again
from fairlead.drivers.sandbox_places import survey
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.model.launch import ProcessLaunch, Sandbox
from fairlead.ports import Confinement

_LOOK_AGAIN: Final = 10.0  # s: what the machine lacks may have been installed meanwhile
_OVERHEAD: Final = 4 * 2**30
"""Bytes that RLIMIT_DATA leaves a process beyond its limit. It counts what may be written, used or not: an
idle node has 0.6 GiB of that, 1.1 with a worker. What is used is watched, too; this stops the fastest."""


class Confined:
    """One instance's bounds. Without any, all of this does nothing."""

    def __init__(
        self,
        confinement: Confinement | None = None,
        *,
        entry: Entry | None = None,
        group: Group | None = None,
        limits: Sequence[tuple[int, int]] = (),
    ) -> None:
        """`limits` are resource limits and their values."""
        self.confinement = confinement
        self.prefix = () if entry is None else entry.prefix
        """What runs the server: bwrap, with its options."""
        self.descriptors = () if entry is None else entry.descriptors
        """What bwrap inherits, and the server does not."""
        self._entry = entry
        self.server: int | None = None
        """The server's own pid, where it is not the one that was started."""
        self.frame: frozenset[int] = frozenset()
        """The processes that hold the sandbox: whatever ends them ends the server at once."""
        self._group = group
        self._limits = limits

    def enter(self, pid: int) -> bool:
        """Set the limits of what was started as `pid`, then let it go on. False: bwrap gave up.

        Blocks for as long as bwrap takes, some milliseconds. Raises OSError when a limit cannot be set.
        """
        if self._entry is None:
            self._limit(pid)
            return True
        try:
            self._entry.started()
            first = self._entry.first()
            if first is None:
                return False
            self._limit(first)
            self._entry.let_go()
        finally:
            self._entry.close()
        self.server = server_below(first)
        self.frame = frozenset({pid, first})
        return True

    def memory_ran_out(self) -> bool:
        """Whether the kernel has ended a process that wanted more memory than there is for it."""
        return self._group is not None and self._group.memory_ran_out()

    def remove(self) -> None:
        """Nothing of the instance is left."""
        if self._entry is not None:
            self._entry.close()
        if self._group is not None:
            self._group.remove()

    def _limit(self, pid: int) -> None:
        with suppress(ProcessLookupError):  # it has ended already
            if self._group is not None:
                self._group.enter(pid)
            if sys.platform == "linux":
                for number, value in self._limits:
                    resource.prlimit(pid, number, (value, value))


class Confiner:
    """Confines the instances of one driver. What the machine can do is found out with the first."""

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._host: SandboxHost | None = None
        self._look_again = 0.0
        self._looking = asyncio.Lock()

    async def prepare(self, launch: ProcessLaunch, marker: str, program: str) -> Confined:
        """`program` is the absolute path of what is to run.

        Raises ProblemError `sandbox-unavailable`, and OSError for what the system refuses.
        """
        sandbox = launch.sandbox
        if sandbox is None:
            return Confined()
        host = await self._examined()
        confinement = confinement_of(launch, sandbox, host)
        if sandbox.required and confinement.missing:
            raise _unavailable("; ".join(confinement.missing))
        group = host.cgroups.make(
            marker.rpartition(":")[2], memory=launch.memory_limit, processes=launch.process_limit
        )
        entry = None
        try:
            if host.bubblewrap is not None:
                layout = survey(launch, sandbox, program)
                entry = Entry(host.bubblewrap.program, bwrap_arguments(layout, host.bubblewrap))
        except OSError:
            group.remove()
            raise
        return Confined(confinement, entry=entry, group=group, limits=_limits(launch, host))

    async def _examined(self) -> SandboxHost:
        async with self._looking:
            if self._host is None:
                self._host = await asyncio.to_thread(examine, self._owner)
            elif self._may_have_changed(self._host):
                self._host = await asyncio.to_thread(examine_again, self._host)
            else:
                return self._host
            self._look_again = time.monotonic() + _LOOK_AGAIN
            return self._host

    def _may_have_changed(self, host: SandboxHost) -> bool:
        if host.bubblewrap is None:
            return time.monotonic() > self._look_again
        return not os.access(host.bubblewrap.program, os.X_OK)


def confinement_of(launch: ProcessLaunch, sandbox: Sandbox, host: SandboxHost) -> Confinement:
    """What holds for an instance on this host, and what does not."""
    missing = []
    if host.bubblewrap is None:
        missing.append(f"files, network and other processes are within its reach: {host.problem}")
    elif not sandbox.network and not host.bubblewrap.network:
        missing.append("it has the network: this system does not let bubblewrap take that away")
    if launch.process_limit is not None and not _counted(host):
        why = host.cgroups.reasons.get("pids", "there are no cgroups")
        missing.append(f"its processes are counted about once a second only: {why}")
    by = "cgroup" if "memory" in host.cgroups.trees else "rlimit"
    held = [*(["bubblewrap"] if host.bubblewrap else []), f"memory by {by}"]
    if launch.process_limit is not None and _counted(host):
        held.append(f"processes by {'cgroup' if 'pids' in host.cgroups.trees else 'rlimit'}")
    return Confinement(", ".join(held), tuple(missing))


def _counted(host: SandboxHost) -> bool:
    """Whether the kernel refuses one process too many."""
    return "pids" in host.cgroups.trees or _counts_apart(host)


def _counts_apart(host: SandboxHost) -> bool:
    return host.bubblewrap is not None and host.counts_apart


def _limits(launch: ProcessLaunch, host: SandboxHost) -> list[tuple[int, int]]:
    """Resource limits in place of control groups."""
    limits = []
    if launch.memory_limit is not None and "memory" not in host.cgroups.trees:
        limits.append((resource.RLIMIT_DATA, launch.memory_limit + _OVERHEAD))
    if launch.process_limit is not None and "pids" not in host.cgroups.trees and _counts_apart(host):
        limits.append((resource.RLIMIT_NPROC, launch.process_limit))
    return limits


def sandbox_failed(why: str) -> ProblemError:
    """An instance could not be let into its sandbox."""
    return _problem("sandbox-failed", f"its sandbox could not be made: {why}")


def _unavailable(what: str) -> ProblemError:
    return _problem("sandbox-unavailable", f"`security.sandbox: required`, but {what}")


def _problem(code: str, detail: str) -> ProblemError:
    return ProblemError(Problem(code, "The server cannot be confined", detail, 503, Fault.UPSTREAM))
