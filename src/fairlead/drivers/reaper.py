"""Finds and ends whole process trees: no descendant of an instance is left, wherever it has gone.

A descendant is found in four ways, and each closes a gap of the others: it is in the session that the
instance leads; it was seen below the instance at an earlier look (`Record.known`), so `setsid` and a second
fork do not help it; it carries the instance's marker in its environment; it descends from one of these.
Pids are never trusted alone: what was seen earlier counts only if its start time is still the same, and an
instance's own pid is reaped last, so that its session's number cannot be taken over meanwhile.

On Linux we are a subreaper: orphans come back to us instead of init, and are reaped here. Never with
`waitpid(-1)`, which would steal the exit of children that others in this process wait for.

Everything here runs in one thread of its own, off the event loop.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from fairlead.drivers.process_table import (
    Identity,
    ProcessTable,
    Seen,
    identity_of,
    look,
    marker_of,
    resident_bytes,
)
from fairlead.drivers.registry import Record

_PR_SET_CHILD_SUBREAPER: Final = 36
_SWEEP_GRACE: Final = 2.0  # s, between TERM and KILL for what an earlier orchestrator left
_SWEEP_PATIENCE: Final = 2.0  # s, after KILL
_PAUSE: Final = 0.01  # s, between two looks


def become_subreaper() -> None:
    """Let orphans of our descendants come back to us. Elsewhere than on Linux there is no such thing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Sample:
    """What one instance's process tree takes at one moment."""

    memory_bytes: int
    cpu_seconds: float
    processes: int


class Reaper:
    """Answers for the instances of one `owner`: the id of the state folder, without a colon."""

    def __init__(self, owner: str) -> None:
        self._prefix = f"{owner}:"
        self._markers: dict[Identity, str | None] = {}  # an environment is read once
        self._strays: set[Identity] = set()

    def sample(self, records: Iterable[Record]) -> dict[str, Sample]:
        """Look at the trees of all instances, by marker. Orphans that ended meanwhile are reaped."""
        records = list(records)
        table = look()
        marked = self._marked(table)
        samples = {}
        for record in records:
            members = _note(table, record, marked)
            cpu_seconds = sum(seen.cpu_seconds for seen in members)
            memory = resident_bytes(seen.pid for seen in members)
            samples[record.marker] = Sample(memory, cpu_seconds, len(members))
        self._reap_strays(table, {record.pid for record in records})
        return samples

    def note(self, record: Record) -> None:
        """Remember who belongs to an instance, as long as its tree still stands."""
        table = look()
        _note(table, record, self._marked(table))

    def kill(self, record: Record) -> int:
        """KILL all that is left of an instance's tree; the number of processes that were still alive."""
        table = look()
        alive = 0
        for seen in _note(table, record, self._marked(table)):
            if not seen.zombie:
                alive += 1
                _signal(seen.identity, signal.SIGKILL)
            elif seen.pid != record.pid and seen.parent == os.getpid():
                _reap(seen.pid)
        return alive

    def terminate(self, record: Record, spared: frozenset[int]) -> None:
        """TERM all of an instance's tree but those: in a sandbox, the processes that hold it."""
        table = look()
        for seen in _note(table, record, self._marked(table)):
            if seen.pid not in spared:
                _signal(seen.identity, signal.SIGTERM)
                _signal(seen.identity, signal.SIGCONT)

    def sweep(self, left: Mapping[str, Iterable[Identity]]) -> list[str]:
        """End what an earlier orchestrator of this owner left: what it wrote down, and what is marked.

        TERM, then KILL, with all descendants. Returns a line for each process that was ended.
        """
        ended: dict[Identity, str] = {}
        start = time.monotonic()
        while time.monotonic() < start + _SWEEP_GRACE + _SWEEP_PATIENCE:
            gently = time.monotonic() < start + _SWEEP_GRACE
            found = self._left(look(), left)
            if not found:
                break
            for identity in found:
                if identity not in ended:
                    _signal(identity, signal.SIGTERM)
                    _signal(identity, signal.SIGCONT)
                elif not gently:
                    _signal(identity, signal.SIGKILL)
            ended |= found
            time.sleep(_PAUSE)
        return sorted(ended.values())

    def _left(self, table: ProcessTable, left: Mapping[str, Iterable[Identity]]) -> dict[Identity, str]:
        marked = self._marked(table)
        protected = table.line_of(os.getpid())
        found = {}
        for marker in left.keys() | marked.keys():
            known = {pid for pid, started in left.get(marker, ()) if (pid, started) in table}
            instance = marker.removeprefix(self._prefix).partition("#")[0]
            for pid in table.tree(known.union(marked.get(marker, ()))) - protected:
                seen = table.by_pid[pid]
                if not seen.zombie:
                    found[seen.identity] = f"{instance}: {seen.name}, pid {pid}"
        return found

    def _marked(self, table: ProcessTable) -> dict[str, list[int]]:
        """The processes that carry a marker of this owner, by marker."""
        before, self._markers = self._markers, {}
        marked: dict[str, list[int]] = defaultdict(list)
        for seen in table.by_pid.values():
            identity = seen.identity
            marker = before[identity] if identity in before else marker_of(seen.pid)
            self._markers[identity] = marker
            if marker is not None and marker.startswith(self._prefix):
                marked[marker].append(seen.pid)
        return marked

    def _reap_strays(self, table: ProcessTable, instances: set[int]) -> None:
        """Reap orphans that came back to us and ended before they were ever seen alive.

        A zombie in a session of its own, not an instance, at two looks running: whoever started it himself
        would have waited for it by then.
        """
        ourselves = os.getpid()
        session = os.getsid(0)
        strays = {
            seen.identity
            for seen in table.by_pid.values()
            if seen.zombie and seen.parent == ourselves and seen.session != session
            if seen.pid not in instances
        }
        for pid, _ in strays & self._strays:
            _reap(pid)
        self._strays = strays


def _note(table: ProcessTable, record: Record, marked: Mapping[str, Iterable[int]]) -> list[Seen]:
    """All processes of an instance whose own pid has not been reaped yet; they are known from now on."""
    pids = _members(table, record, marked.get(record.marker, ()))
    members = [table.by_pid[pid] for pid in pids]
    record.known = frozenset(seen.identity for seen in members)
    return members


def _members(table: ProcessTable, record: Record, marked: Iterable[int]) -> set[int]:
    known = {pid for pid, started in record.known if (pid, started) in table}
    return table.tree(known.union(table.session(record.pid), marked))


def _signal(identity: Identity, number: signal.Signals) -> None:
    if identity_of(identity[0]) == identity:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(identity[0], number)


def _reap(pid: int) -> None:
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
