"""The driver for local processes that speak MCP over stdin and stdout."""

from __future__ import annotations

import asyncio
import secrets
import time
from pathlib import Path
from typing import Final

from fairlead.drivers.confined import Confined, Confiner, sandbox_failed
from fairlead.drivers.host import Host
from fairlead.drivers.process_link import ProcessLink
from fairlead.drivers.process_table import MARKER, identity_of
from fairlead.drivers.reaper import become_subreaper
from fairlead.drivers.registry import Record
from fairlead.drivers.spawn import Spawned, explained, find_program, spawn
from fairlead.mcp.framing import MAX_FRAME
from fairlead.model.launch import Launch, ProcessLaunch
from fairlead.ports import Link, LinkListener

SAMPLE_INTERVAL: Final = 1.0  # s
_SAMPLE_SHARE: Final = 20  # a look takes at most a twentieth of the time, however many processes there are


class ProcessDriver:
    """A `ports.Driver` for `ProcessLaunch`.

    `owner` is the state folder's id (no colon in it): every child carries
    `FAIRLEAD_INSTANCE=<owner>:<instance id>#<random>`, and `sweep` ends only what carries the owner's name or
    stands in `registry_file`. `max_frame` bounds a message from a child, in bytes; `sample_interval` is in
    seconds. Makes this process a subreaper (Linux) with the first `open`.
    """

    def __init__(
        self,
        owner: str,
        registry_file: Path,
        *,
        max_frame: int = MAX_FRAME,
        sample_interval: float = SAMPLE_INTERVAL,
    ) -> None:
        self._owner = owner
        self._host = Host(owner, registry_file, max_frame)
        self._confiner = Confiner(owner)
        self._sample_interval = sample_interval
        self._links: dict[str, ProcessLink] = {}  # by marker
        self._sampler: asyncio.Task[None] | None = None
        self._closed = False
        self._opening = 0
        self._none_opens = asyncio.Event()
        self._none_opens.set()

    def __repr__(self) -> str:
        return f"ProcessDriver({len(self._links)} links)"

    async def open(self, launch: Launch, listener: LinkListener) -> Link:
        """See `ports.Driver`. The listener hears nothing before this returns.

        Raises ProblemError: `command-not-found`, `not-executable`, `bad-working-directory`, `bad-command`,
        `cannot-start`, `sandbox-unavailable`, `sandbox-failed`.
        """
        assert isinstance(launch, ProcessLaunch), "the process driver gets process launches only"
        if self._closed:
            raise RuntimeError("the driver is closed")
        self._opening += 1
        self._none_opens.clear()
        try:
            return await self._open(launch, listener)
        finally:
            self._opening -= 1
            if not self._opening:
                self._none_opens.set()

    async def _open(self, launch: ProcessLaunch, listener: LinkListener) -> Link:
        become_subreaper()
        marker = f"{self._owner}:{launch.instance_id}#{secrets.token_hex(4)}"
        confined = await self._confined(launch, marker)
        spawned = await self._spawned(launch, marker, confined)
        identity = identity_of(spawned.process.pid)
        assert identity is not None, "a child that nobody has reaped is there, alive or not"
        link = ProcessLink(
            launch,
            spawned,
            Record(marker, spawned.process.pid, frozenset([identity])),
            listener,
            self._host,
            on_end=self._ended,
        )
        self._links[marker] = link
        self._host.registry.add(link.record)
        self._host.registry.save()
        if self._sampler is None or self._sampler.done():
            self._sampler = self._host.tasks.spawn(self._sample(), "sample processes")
        return link

    async def sweep(self) -> list[str]:
        """See `ports.Driver`. TERM, then after 2 s KILL, for the whole trees."""
        return await self._host.sweep()

    async def close(self) -> None:
        """See `ports.Driver`. Takes as long as the slowest link; afterwards `open` raises RuntimeError."""
        self._closed = True
        await self._none_opens.wait()
        await asyncio.gather(*(link.close() for link in tuple(self._links.values())))
        await self._host.close()

    async def _confined(self, launch: ProcessLaunch, marker: str) -> Confined:
        if launch.sandbox is None:
            return Confined()
        program = find_program(launch)
        try:
            return await self._confiner.prepare(launch, marker, program)
        except OSError as error:
            raise explained(launch, error, program_found=True) from error

    async def _spawned(self, launch: ProcessLaunch, marker: str, confined: Confined) -> Spawned:
        """Start it and let it into its bounds. Nothing of it is left if that does not go well."""
        try:
            spawned = spawn(launch, (MARKER, marker), confined)
        except BaseException:
            confined.remove()
            raise
        if confined.confinement is None:
            return spawned
        entering = asyncio.get_running_loop().run_in_executor(None, confined.enter, spawned.process.pid)
        try:
            if await asyncio.shield(entering) and not self._closed:
                return spawned
            reason = "the driver is closed" if self._closed else ""
        except OSError as error:
            reason = f"its limits cannot be set: {error.strerror}"
        except BaseException:
            spawned.process.kill()  # which ends the waiting, too
            await asyncio.wait([entering])
            await self._abandon(spawned, marker)
            raise
        said = await self._abandon(spawned, marker)
        raise sandbox_failed(reason or said)

    async def _abandon(self, spawned: Spawned, marker: str) -> str:
        """Nobody has heard of it yet: leave nothing of it. What it has said on stderr."""
        spawned.process.kill()
        await self._host.kill(Record(marker, spawned.process.pid, frozenset()))
        said = spawned.abandon()
        await self._host.release(spawned.confined)
        return said

    def _ended(self, link: ProcessLink) -> None:
        del self._links[link.record.marker]

    async def _sample(self) -> None:
        """Look at all trees again and again, while there are any."""
        pause = self._sample_interval
        while self._links:
            await asyncio.sleep(pause)
            start = time.monotonic()
            samples = await self._host.sample(link.record for link in self._links.values())
            pause = max(self._sample_interval, _SAMPLE_SHARE * (time.monotonic() - start))
            for marker, sample in samples.items():
                if marker in self._links:
                    self._links[marker].sampled(sample)
            await self._host.registry.save()
