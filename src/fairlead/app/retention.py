"""Forgets what is older than the settings say.

What time it is says the database, since it is common to all who write there. Nor is that believed blindly: a
clock that jumps ahead by years would have everything removed. So retention goes by a clock of its own, kept
in the database, which follows by a day in each pass at most. After a long rest, or with an old backup put
back, it catches up in as many hours as days have passed, and until then more is kept than there would be.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final

import structlog

from fairlead.app.settings import DAY, RetentionSettings
from fairlead.ports import StoreAwayError
from fairlead.stores.sql.applications import SqlApplicationStore
from fairlead.stores.sql.audit import SqlAuditLog
from fairlead.stores.sql.database import Database
from fairlead.stores.sql.deployments import SqlDeploymentStore
from fairlead.stores.sql.events import SqlEventLog
from fairlead.stores.sql.facts import follow_clock
from fairlead.stores.sql.runs import Runs
from fairlead.stores.sql.specs import SqlSpecStore
from fairlead.stores.sql.trends import SqlTrendStore

LOG: Final = structlog.get_logger("fairlead.retention")
EVERY: Final = 3600.0  # s
FIRST: Final = 60.0  # s after the start, when there is less to do
STEP: Final = DAY  # s by which a pass may go beyond the one before
CLOCK: Final = "retention"  # the fact's name
Prune = Callable[[float], Awaitable[int]]
Clock = Callable[[], Awaitable[tuple[float, float | None]]]
"""What time it is, and what time to go by: None for none. See `facts.follow_clock`."""


class Pruner:
    """`rules`: name -> (how to forget what is from before a time, the age in s)."""

    def __init__(self, rules: Mapping[str, tuple[Prune, float]], clock: Clock) -> None:
        self._rules = rules
        self._clock = clock

    @classmethod
    def of(cls, database: Database, retention: RetentionSettings) -> Pruner:
        return cls(
            {
                "events": (SqlEventLog(database).prune, retention.events),
                "audit": (SqlAuditLog(database).prune, retention.audit),
                "runs": (Runs(database).prune, retention.audit),
                "specs": (SqlSpecStore(database).prune, retention.specs),
                "metrics": (SqlTrendStore(database).prune, retention.metrics),
                "deployments": (SqlDeploymentStore(database).prune, retention.specs),
                "live_versions": (SqlApplicationStore(database).prune, retention.specs),
            },
            partial(follow_clock, database, CLOCK, most=STEP),
        )

    async def run(self) -> dict[str, int]:
        """Once; how many of what were forgotten. What the store, being away, keeps from us waits an hour."""
        pruned: dict[str, int] = {}
        try:
            now, trusted = await self._clock()
            if trusted is None:  # nothing to compare with
                return pruned
            if trusted < now:
                LOG.warning(
                    "the clock is far ahead of the last pass: less is removed", days=(now - trusted) / DAY
                )
            for name, (prune, age) in self._rules.items():
                pruned[name] = await prune(trusted - age)
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
