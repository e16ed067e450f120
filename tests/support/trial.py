"""A fleet under load while something is done to it, and what must be true of it afterwards.

`trial` runs two servers: `pool` with three instances, which gets the load and the trouble, and `neighbour`,
which has a load of its own and must not notice. When its block ends, the load goes on for some calls; then no
call that may be replayed has failed, no answer has reached a wrong caller, the pool is whole, the
neighbour's processes are the same and lost nothing, memory has not grown, and no process is left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import re
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from structlog.testing import capture_logs

from fairlead.model.status import BreakerState, InstanceStatus, ServerState, ServerStatus, Standing
from support.load import Caller, CallFailedError, Load
from support.stack import Stack, fleet, light, running, until

SIZE = 3
POOL: dict[str, Any] = {
    "scaling": {"enabled": False, "minInstances": SIZE, "maxInstances": 2 * SIZE},
    "circuitBreaker": {"openFor": "500ms"},
    "timeouts": {"start": "10s", "call": "20s", "stop": "500ms"},
}
QUICK = {"interval": "1s", "timeout": "500ms", "idleInterval": "300ms", "idleTimeout": "500ms"}
"""A `healthCheck` that finds a hang in two seconds. On a machine that is busy it may suspect the innocent."""
WARM_UP, AFTERMATH = 300, 600  # calls
MEMORY = 40 * 2**20  # bytes that a trial may take for a while: less than the longest line, or any flood


@dataclass
class HeldCalls:
    """Calls that may not be repeated, and that are in flight until they are let go."""

    gate: Path
    calls: list[asyncio.Task[str]] = field(default_factory=list)

    def pids(self) -> dict[int, int]:
        """By the call's number: which process has it."""
        held = self.gate.with_name(self.gate.name + ".held")
        lines = held.read_text().splitlines() if held.exists() else []
        assert len(lines) <= len(self.calls), "one was carried out twice"
        return {int(number): int(pid) for pid, number in map(str.split, lines)}

    async def let_go(self) -> list[str]:
        """What each caller is told: its number, or an error."""
        self.gate.touch()
        told = await asyncio.gather(*self.calls)
        assert len(self.pids()) == len(self.calls)
        return told


@dataclass
class Trial:
    """The running fleet, its loads, and what it has logged."""

    stack: Stack
    pool: Load
    neighbour: Load
    servers: dict[str, Any] = field(repr=False)  # as the fleet file had them in the beginning
    records: list[Any] = field(repr=False)

    def status(self, server: str = "pool") -> ServerStatus:
        return self.stack.system.fleet.server(server)

    def instances(self, server: str = "pool") -> list[InstanceStatus]:
        """Those that are ready, the oldest first."""
        ready = [one for one in self.status(server).instances if one.state == "ready"]
        return sorted(ready, key=lambda one: one.started_at or 0.0)

    def pids(self, server: str = "pool") -> set[int]:
        return {one.pid for one in self.instances(server) if one.pid}

    def instance(self, name: str) -> InstanceStatus:
        """One of the pool's."""
        return next(one for one in self.status().instances if one.id == name)

    async def whole(self, size: int = SIZE, server: str = "pool") -> None:
        await until(
            lambda: is_whole(self.status(server), size),
            lambda: self.status(server).model_dump_json(indent=1),
            guard=20,
        )

    async def gone(self, *pids: int) -> None:
        await until(lambda: not any(map(psutil.pid_exists, pids)), lambda: f"{pids} are gone")

    @contextlib.asynccontextmanager
    async def caller(self) -> AsyncIterator[Caller]:
        """A connection of one's own."""
        caller = Caller(self.stack.port, modern=True)
        await caller.open()
        yield caller
        await caller.close()

    async def hold_calls(self, server: str = "pool", count: int = 4) -> HeldCalls:
        held = HeldCalls(self.stack.fleet_file.with_name(f"gate-of-{server}"))

        async def hold(number: int) -> str:
            async with self.caller() as caller:
                try:
                    return await caller.text(f"{server}__hold", text=f"{number}", file=str(held.gate))
                except CallFailedError as error:
                    return str(error)

        held.calls += [asyncio.create_task(hold(number)) for number in range(count)]
        await until(lambda: len(held.pids()) == count, lambda: f"{held}")
        return held

    async def rest(self, method: str, path: str, **request: Any) -> Any:
        """What REST answers to a request that it carries out."""
        answer = await self.stack.rest(method, path, **request)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def edited(self, *flags: str, **server: Any) -> dict[str, Any]:
        """The servers with other flags or other keys for the pool."""
        pool = self.servers["pool"]
        return self.servers | {"pool": pool | {"args": [*pool["args"], *flags]} | server}

    def write_file(self, servers: dict[str, Any]) -> None:
        self.stack.fleet_file.write_text(fleet(servers))

    async def tag(self) -> str:
        return (await self.stack.rest("GET", "/api/fleet")).headers["etag"]

    async def put(self, servers: dict[str, Any], tag: str | None = None) -> httpx.Response:
        """PUT the fleet with these servers, for the present tag or another one."""
        now = await self.stack.rest("GET", "/api/fleet")
        match = {"If-Match": tag or now.headers["etag"]}
        return await self.stack.rest(
            "PUT", "/api/fleet", json=now.json()["spec"] | {"servers": servers}, headers=match
        )

    async def version(self, label: str) -> None:
        """Wait until the pool is whole, with this version and no other."""
        await until(
            lambda: is_whole(self.status(), SIZE) and self.status().server_version == label,
            lambda: f"version {label}: {self.status().model_dump_json(indent=1)}",
        )

    def said(self, *patterns: str) -> list[str]:
        """The log's records in which every pattern is found."""
        lines = [str(record) for record in self.records]
        return [line for line in lines if all(re.search(pattern, line) for pattern in patterns)]

    async def says(self, *patterns: str) -> None:
        await until(
            lambda: bool(self.said(*patterns)),
            lambda: f"no record of the log has {patterns}",
            guard=15,
        )


def is_whole(status: ServerStatus, size: int) -> bool:
    """As many instances as are wanted, all of them well and in use, and no others."""
    return (
        status.state is ServerState.READY
        and status.breaker is BreakerState.CLOSED
        and status.wanted_instances == len(status.instances) == size
        and all(
            one.state == "ready"
            and one.in_rotation
            and one.health is Standing.HEALTHY
            and one.breaker is BreakerState.CLOSED
            for one in status.instances
        )
    )


@contextlib.asynccontextmanager
async def trial(
    folder: Path,
    *flags: str,
    unsafe: int = 4,
    may_lose: bool = True,
    others: dict[str, Any] | None = None,
    **server: Any,
) -> AsyncIterator[Trial]:
    """Run the fleet under 32 connections and `unsafe` more, see `Load`, and look at it afterwards.

    `flags` and `server` are the pool's; `others` are further servers, for which nobody waits. `may_lose`:
    calls that may not be replayed may fail, saying so.
    """
    own = {"pool": light("--misbehaves", *flags, **POOL | server), "neighbour": light()}
    servers = own | (others or {})
    children = _children()
    with capture_logs() as records:
        async with running(folder, servers, wait=tuple(own)) as stack:
            pool = Load(stack.port, "pool", unsafe=unsafe)
            neighbour = Load(stack.port, "neighbour", connections=4, unsafe=2)
            it = Trial(stack, pool, neighbour, servers, records)
            await it.whole()
            before = it.pids("neighbour")
            async with pool, neighbour:
                await pool.more(WARM_UP)
                memory = Memory()
                try:
                    yield it
                except BaseException:
                    print(*records[-200:], sep="\n")
                    raise
                await pool.more(AFTERMATH)
                await neighbour.more(1)
                await it.whole()
                taken = memory.taken()
            print(f"{pool}\n{neighbour}\n{taken / 2**20:.1f} MiB")
            assert taken < MEMORY
            pool.check(may_lose=may_lose)
            neighbour.check(may_lose=False)
            assert it.pids("neighbour") == before
    assert not faults(records)
    assert _children() <= children


def faults(records: list[Any]) -> list[Any]:
    """What a log has of our own faults: exceptions that nobody expected."""
    return [record for record in records if record.get("exc_info")]


def _children() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)}


class Memory:
    """How much this process, which holds the gateway, has taken at most since then, in bytes."""

    def __init__(self) -> None:
        gc.collect()
        if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
            trim(0)  # what earlier tests have freed is not there to be used unseen
        self._before = psutil.Process().memory_info().rss
        if sys.platform == "linux":
            Path("/proc/self/clear_refs").write_text("5")  # the peak counts from now

    def taken(self) -> int:
        if sys.platform != "linux":
            return psutil.Process().memory_info().rss - self._before
        status = Path("/proc/self/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024 - self._before
