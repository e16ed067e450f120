"""Reads a server's lists again when it says that they have changed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from fairlead.core.lifecycle import InstanceState
from fairlead.kit.tasks import Tasks
from fairlead.mcp.errors import McpError
from fairlead.orchestrator.catalogue import read_catalogue

if TYPE_CHECKING:
    from fairlead.orchestrator.pool import ServerPool

DEBOUNCE: Final = 0.05  # s, before changed lists are read
LONGEST_DEBOUNCE: Final = 5.0  # s, while they are called changed again and again
LOG = structlog.get_logger("fairlead.pool")


class ListReader:
    """Of one pool. The last good lists stay when new ones cannot be read."""

    def __init__(self, pool: ServerPool, tasks: Tasks) -> None:
        self._pool = pool
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        self._changed = False
        self._reading: asyncio.Task[None] | None = None
        self._read_at = float("-inf")  # loop time
        self._debounce = DEBOUNCE

    def changed(self) -> None:
        """The server said so."""
        self._changed = True
        if self._reading is None or self._reading.done():
            self._reading = self._tasks.spawn(self._read(), f"read lists of {self._pool.spec.id}")

    async def _read(self) -> None:
        while self._changed:
            often = self._loop.time() - self._read_at < 4 * self._debounce
            self._debounce = min(2 * self._debounce, LONGEST_DEBOUNCE) if often else DEBOUNCE
            await asyncio.sleep(self._debounce)
            self._read_at = self._loop.time()
            self._changed = False
            members = self._pool.members
            instance = members.last
            if instance is None or instance.state is not InstanceState.READY:
                return
            try:
                catalogue = await read_catalogue(instance, timeout=self._pool.spec.timeouts.start)
            except McpError as error:
                LOG.warning("lists unreadable", instance=instance.id, detail=error.message)
                continue
            if instance is members.last and instance.key == members.key:
                self._pool.take_lists(catalogue)
