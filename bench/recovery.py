"""What a SIGKILL costs: to the callers who wait, and until the killed instance is replaced.

Each trial has a Fairlead of its own, whose pool is under load all the time. One instance is chosen at
random and killed; then the next, once the pool is whole and all calls that began before it was have ended.
When a replacement was ready is read from the gateway's log, which has it to the microsecond; REST tells what
is ready still, and is asked now and then only, so that asking does not disturb.

How long the server itself takes to start is measured before each kill, under the same load (own_start.py).
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psutil
import uvloop

from bench.callers import Callers, Verdict, Watch, get
from bench.contenders import HERE, SERVER, Stage, ready_instances, start_fairlead
from bench.figures import percentile
from bench.load import Running
from bench.processes import StartError

POOLS = (1, 3)
CONNECTIONS = 32
POLL = 0.05  # s
WHOLE_SECONDS = 60.0  # a pool that is not whole by then is given up
TRIAL_SECONDS = 300.0  # after which no further instance is killed
READY_EVENT = "instance ready"  # in the gateway's log, with the instance's id
PERCENTILES = (50, 99, 100)


@dataclass(frozen=True, slots=True)
class Kill:
    """What one kill cost; milliseconds from the kill on."""

    first_ms: float | None  # the first good answer to a call that was under way; None: all of those failed
    wait_ms: float  # not from the kill: the longest that a call waited for its good answer
    gap_ms: float  # the longest time without a good answer to anybody
    launched_ms: float  # the replacement's process is being started
    ready_ms: float  # the replacement takes calls
    own_start_ms: float  # not from the kill: what the server takes to start, without a gateway
    failed: int  # calls, until the pool was whole again
    wrong: int

    @property
    def added_ms(self) -> float:
        """Until the replacement was ready, without what the server itself takes to start."""
        return self.ready_ms - self.own_start_ms


MEASURES: dict[str, Callable[[Kill], float | None]] = {
    "first answer to a call under way": lambda kill: kill.first_ms,
    "longest wait of a call": lambda kill: kill.wait_ms,
    "longest gap without an answer": lambda kill: kill.gap_ms,
    "replacement launched": lambda kill: kill.launched_ms,
    "replacement ready": lambda kill: kill.ready_ms,
    "the server's own start": lambda kill: kill.own_start_ms,
    "ready, less the own start": lambda kill: kill.added_ms,
}


@dataclass(frozen=True, slots=True)
class Recovery:
    """A trial. The counts are of all its calls."""

    instances: int
    wanted: int  # kills
    kills: tuple[Kill, ...]
    calls: int  # good ones
    failed: int
    wrong: int
    example: str  # the first answer that was not good
    fault: str  # why there are fewer kills than wanted

    @property
    def figures(self) -> dict[str, dict[str, float]]:
        """Median, p99 and maximum of each measure, in milliseconds; nothing of what never happened."""
        found = {}
        for name, measure in MEASURES.items():
            sample = [value for kill in self.kills if (value := measure(kill)) is not None]
            if sample:
                p50, p99, most = (percentile(sample, percent) for percent in PERCENTILES)
                found[name] = {"p50_ms": p50, "p99_ms": p99, "max_ms": most}
        return found

    @property
    def faults(self) -> list[str]:
        told = [self.fault] if self.fault else []
        if self.failed or self.wrong:
            told.append(f"{self.failed} retry-safe calls failed, {self.wrong} answers wrong; {self.example}")
        return [f"recovery, pool of {self.instances}: {fault}" for fault in told]


def measure_recovery(stage: Stage, instances: int, kills: int) -> Recovery:
    """Kill so many of a pool. Raises StartError when the pool cannot be started."""
    running = start_fairlead(stage, f"fairlead-recovery-{instances}", instances)
    try:
        return uvloop.run(_Trial(running, instances).run(kills))
    finally:
        stage.programs.end(running.program)


class _Trial:
    def __init__(self, running: Running, instances: int) -> None:
        self._running = running
        self._instances = instances
        self._callers = Callers(running.access)
        self._kills: list[Kill] = []

    async def run(self, wanted: int) -> Recovery:
        fault = ""
        async with asyncio.TaskGroup() as group:
            callers = [group.create_task(self._callers.call_on()) for _ in range(CONNECTIONS)]
            try:
                await self._kill_on(wanted)
            except (StartError, OSError, psutil.Error) as error:
                fault = f"after {len(self._kills)} of {wanted} kills: {error}"
            for caller in callers:
                caller.cancel()
        counts = self._callers.counts
        return Recovery(
            instances=self._instances,
            wanted=wanted,
            kills=tuple(self._kills),
            calls=counts[Verdict.GOOD],
            failed=counts[Verdict.FAILED],
            wrong=counts[Verdict.WRONG],
            example=self._callers.example,
            fault=fault,
        )

    async def _kill_on(self, wanted: int) -> None:
        stop = time.monotonic() + TRIAL_SECONDS
        while len(self._kills) < wanted:
            if time.monotonic() > stop:
                msg = f"{TRIAL_SECONDS:.0f} s are over: replacing takes too long"
                raise StartError(msg)
            self._kills.append(await self._kill_one())

    async def _kill_one(self) -> Kill:
        own_start_ms = await _own_start_ms()
        before = await self._whole()
        chosen = random.choice(list(before))
        victim = self._process(before[chosen]["pid"])
        counts = dict(self._callers.counts)
        watch, killed = self._callers.watch(), time.time()
        victim.kill()
        after = await self._whole(chosen)
        await self._answered(watch)
        ready = ready_times(self._running.program.output())
        gap = watch.longest_gap(time.perf_counter())
        new = after.keys() - before.keys()
        return Kill(
            first_ms=None if watch.first is None else watch.first * 1000,
            wait_ms=watch.longest_wait * 1000,
            gap_ms=gap * 1000,
            launched_ms=max(after[one]["startedAt"] - killed for one in new) * 1000,
            ready_ms=max(ready[one] - killed for one in new) * 1000,
            own_start_ms=own_start_ms,
            failed=self._callers.counts[Verdict.FAILED] - counts[Verdict.FAILED],
            wrong=self._callers.counts[Verdict.WRONG] - counts[Verdict.WRONG],
        )

    async def _ready(self) -> dict[str, dict[str, Any]]:
        """The instances that take calls. One that is ready for its pool to read its lists does not yet."""
        ready = ready_instances(await get(self._running.access, SERVER))
        logged = ready_times(self._running.program.output())
        return {name: one for name, one in ready.items() if name in logged}

    async def _whole(self, killed: str = "") -> dict[str, dict[str, Any]]:
        """The instances, once enough are ready without the killed one."""
        deadline = time.monotonic() + WHOLE_SECONDS
        ready = await self._ready()
        while killed in ready or len(ready) < self._instances:
            self._running.program.check()
            if time.monotonic() > deadline:
                msg = (
                    f"after {WHOLE_SECONDS:.0f} s {len(ready)} of {self._instances} instances are ready, "
                    f"by REST and by {READY_EVENT!r} in the log"
                )
                raise StartError(msg)
            await asyncio.sleep(POLL)
            ready = await self._ready()
        return ready

    async def _answered(self, watch: Watch) -> None:
        """Wait for the calls that were under way at the kill, and for those that are now."""
        deadline = time.monotonic() + WHOLE_SECONDS
        watch.waiting |= self._callers.under_way()
        while watch.waiting:
            if time.monotonic() > deadline:
                msg = (
                    f"{len(watch.waiting)} calls had no answer {WHOLE_SECONDS:.0f} s after the pool was whole"
                )
                raise StartError(msg)
            await asyncio.sleep(POLL / 10)

    def _process(self, pid: int) -> psutil.Process:
        """The process of an instance: nothing but a descendant of the gateway is killed."""
        process = psutil.Process(pid)
        if self._running.program.process not in process.parents():
            msg = f"process {pid} is none of the gateway's"
            raise StartError(msg)
        return process


def ready_times(log: str) -> dict[str, float]:
    """When each instance was ready, Unix time in seconds, out of the gateway's log of JSON lines."""
    found = {}
    for line in log.splitlines():
        if READY_EVENT in line:
            event = json.loads(line)
            if event["event"] == READY_EVENT:
                found[event["instance"]] = datetime.fromisoformat(event["time"]).timestamp()
    return found


async def _own_start_ms() -> float:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.own_start", stdout=subprocess.PIPE, cwd=HERE.parent
    )
    printed, _ = await process.communicate()
    if process.returncode:
        msg = "the server could not be started directly"
        raise StartError(msg)
    return float(printed)
