"""Reads a server's lists again: when it says that they have changed, when they could not be read, when the
time for which they could be kept is over and somebody asks.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import structlog

from fairlead.core.lifecycle import InstanceState
from fairlead.kit.tasks import Tasks
from fairlead.mcp.errors import McpError
from fairlead.orchestrator.catalogue import Catalogue, read_catalogue

if TYPE_CHECKING:
    from fairlead.orchestrator.instance import MCPServerInstance
    from fairlead.orchestrator.pool import ServerPool

DEBOUNCE: Final = 0.05  # s, before changed lists are read
LONGEST_DEBOUNCE: Final = 5.0  # s, while they are called changed again and again
FIRST_RETRY, LONGEST_RETRY = 1.0, 60.0  # s, before what was unreadable is read again
OFTENEST: Final = 5.0  # s, between readings because their time is over
LOG = structlog.get_logger("fairlead.pool")


class ListReader:
    """Of one pool. The last good list of a kind stays for the grace period when a new one cannot be read."""

    def __init__(self, pool: ServerPool, tasks: Tasks) -> None:
        self._pool = pool
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        self._changed = False
        self._wake = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None
        self._read_at = float("-inf")  # loop time, because they had changed
        self._taken_at = float("-inf")  # and at all
        self._debounce = DEBOUNCE
        self._unread: dict[str, float] = {}  # kinds that cannot be read: since when
        self._retries = 0

    def __repr__(self) -> str:
        return f"<ListReader changed={self._changed} unread={sorted(self._unread)}>"

    def changed(self) -> None:
        """The server said so, or it may be so."""
        self._changed = True
        self._wake.set()
        self._go_on()

    def revalidate(self, now: float) -> None:
        """Somebody has asked for a list: read again what may not be kept any more. `now` is loop time."""
        over = any(hint.until <= now for hint in self._pool.catalogue.hints.values())
        if over and now - self._taken_at >= OFTENEST:
            self._taken_at = now
            self.changed()

    def complete(self, before: Catalogue, new: Catalogue) -> Catalogue:
        """What was read, with the last good list of each kind that could not be."""
        now, grace = self._loop.time(), self._pool.spec.lists.grace
        self._taken_at = now
        self._unread = {kind: self._unread.get(kind, now) for kind in new.unread}
        kept = {kind: before.items(kind) for kind, since in self._unread.items() if now - since < grace}
        if not self._unread:
            self._retries = 0
            return new
        self._go_on()
        return replace(new, lists={**new.lists, **kept})

    def tick(self, now: float) -> None:
        """About once a second: let go of lists that could not be read for too long. `now` is loop time."""
        catalogue = self._pool.contracts.offered()
        over = [
            kind
            for kind, since in self._unread.items()
            if now - since >= self._pool.spec.lists.grace and catalogue.items(kind)
        ]
        if over:
            left = {kind: items for kind, items in catalogue.lists.items() if kind not in over}
            self._pool.show_lists(replace(catalogue, lists=left))

    def _go_on(self) -> None:
        if self._reading is None or self._reading.done():
            self._reading = self._tasks.spawn(self._read(), f"read lists of {self._pool.spec.id}")

    async def _read(self) -> None:
        while self._changed or self._unread:
            if self._changed:
                await self._settle()
            else:
                await self._rest()
                if self._changed:
                    continue
            self._changed = False
            members = self._pool.members
            instance = members.last
            if instance is None or instance.state is not InstanceState.READY:
                return
            catalogue = await self._read_all(instance)
            if instance is members.last and instance.key == members.key:
                self._pool.take_lists(catalogue)

    async def _settle(self) -> None:
        """What changes once changes often: wait a moment, and longer when it goes on."""
        often = self._loop.time() - self._read_at < 4 * self._debounce
        self._debounce = min(2 * self._debounce, LONGEST_DEBOUNCE) if often else DEBOUNCE
        await asyncio.sleep(self._debounce)
        self._read_at = self._loop.time()

    async def _rest(self) -> None:
        """Until what could not be read may be tried again, or something changes."""
        pause = min(FIRST_RETRY * 2.0**self._retries, LONGEST_RETRY)
        self._retries = min(self._retries + 1, 16)
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._wake.wait()

    async def _read_all(self, instance: MCPServerInstance) -> Catalogue:
        try:
            return await read_catalogue(instance, timeout=self._pool.spec.timeouts.start)
        except McpError as error:
            LOG.warning("lists unreadable", instance=instance.id, detail=error.message)
            return Catalogue(unread=dict.fromkeys(self._pool.catalogue.lists, error.message))
