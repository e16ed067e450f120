"""Forgets what is older than the settings say."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog

from fairlead.app.settings import RetentionSettings
from fairlead.ports import StoreAwayError
from fairlead.stores.sql.audit import SqlAuditLog
from fairlead.stores.sql.database import Database
from fairlead.stores.sql.events import SqlEventLog
from fairlead.stores.sql.runs import Runs
from fairlead.stores.sql.specs import SqlSpecStore
from fairlead.stores.sql.trends import SqlTrendStore

LOG: Final = structlog.get_logger("fairlead.retention")
EVERY: Final = 3600.0  # s
FIRST: Final = 60.0  # s after the start, when there is less to do
Prune = Callable[[float], Awaitable[int]]


class Pruner:
    """`rules`: name -> (how to forget what is from before a time, the age in s)."""

    def __init__(
        self, rules: Mapping[str, tuple[Prune, float]], *, now: Callable[[], float] = time.time
    ) -> None:
        self._rules = rules
        self._now = now

    @classmethod
    def of(cls, database: Database, retention: RetentionSettings) -> Pruner:
        return cls(
            {
                "events": (SqlEventLog(database).prune, retention.events),
                "audit": (SqlAuditLog(database).prune, retention.audit),
                "runs": (Runs(database).prune, retention.audit),
                "specs": (SqlSpecStore(database).prune, retention.specs),
                "metrics": (SqlTrendStore(database).prune, retention.metrics),
            }
        )

    async def run(self) -> dict[str, int]:
        """Once; how many of what were forgotten. What the store, being away, keeps from us waits an hour."""
        pruned = {}
        try:
            for name, (prune, age) in self._rules.items():
                pruned[name] = await prune(self._now() - age)
        except StoreAwayError as away:
            LOG.warning("nothing old could be removed, it is tried again in an hour", reason=str(away))
        if any(pruned.values()):
            LOG.info("removed what was old", **pruned)
        return pruned

    async def follow(self) -> None:
        """Each hour, until cancelled."""
        await asyncio.sleep(FIRST)
        while True:
            await self.run()
            await asyncio.sleep(EVERY)
