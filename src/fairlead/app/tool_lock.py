"""The contracts of the lock file while the service runs: read at its start and after each change."""

from __future__ import annotations

import asyncio
from typing import Protocol

import structlog

from fairlead.core.contracts import LockedContracts
from fairlead.model.errors import ProblemError
from fairlead.packages.lock import LockFiles
from fairlead.stores.fleet_watch import watch

LOG = structlog.get_logger("fairlead.contracts")


class Fleet(Protocol):
    """The part of `MCPOrchestrator` that this needs."""

    def lock_tools(self, contracts: LockedContracts | None) -> None: ...


class ToolLock:
    """A file that becomes unreadable, or goes away, changes nothing: what it said last stays in force.

    One that is unreadable from the start is another matter: the fleet is told that nobody knows.
    """

    def __init__(self, files: LockFiles, fleet: Fleet) -> None:
        self._files = files
        self._fleet = fleet
        self._known = False

    def __repr__(self) -> str:
        return f"<ToolLock {self._files.committed} known={self._known}>"

    async def read(self) -> None:
        """Put in force what the file says now."""
        try:
            contracts = await asyncio.to_thread(self._files.read_contracts)
        except ProblemError as unreadable:
            stays = "; what it said last stays in force" if self._known else ""
            LOG.error("contracts of tools unreadable" + stays, detail=unreadable.problem.detail)
            if not self._known:
                self._fleet.lock_tools(None)
        else:
            self._known = True
            self._fleet.lock_tools(contracts)

    async def follow(self) -> None:
        """Read the file each time that it has changed, for ever."""
        async for _ in watch(self._files.committed, seen=b""):  # what it is now has changed, for all we know
            await self.read()
