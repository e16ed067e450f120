"""This run of the service, in the store and in the audit: when it began, that it lives, how it ended.

A run that was killed leaves no word of its end. Whoever begins next on the same database finds it and says so
in the audit, since what was recorded in its last second is not there.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import structlog

from fairlead.audit.recorder import AuditTrail
from fairlead.model.audit import AuditKind, AuditRecord
from fairlead.ports import StoreAwayError
from fairlead.stores.sql.runs import Runs

LOG: Final = structlog.get_logger("fairlead.audit")
SEEN: Final = 5.0  # s between signs of life
RETRY: Final = 1.0  # s, while the store is away
ENDING: Final = 2.0  # s
UNSAVED: Final = 1.0  # s of records that a killed run may take along


class AuditedRun:
    """Of one process. `node` is its state folder's id."""

    def __init__(
        self, runs: Runs, audit: AuditTrail, node: str, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._runs = runs
        self._audit = audit
        self._clock = clock
        self._id = uuid.uuid4().hex
        self._node = node
        self._started = clock()
        self._begun = False

    def __repr__(self) -> str:
        return f"<AuditedRun {self._id} begun={self._begun}>"

    async def follow(self) -> None:
        """Give signs of life until cancelled."""
        while True:
            try:
                if self._begun:
                    await self._runs.seen(self._id)
                else:
                    await self._begin()
            except StoreAwayError:
                await asyncio.sleep(RETRY)
            else:
                await asyncio.sleep(SEEN)

    async def _begin(self) -> None:
        for earlier in await self._runs.begin(self._id, self._node):
            LOG.warning("an earlier run did not end", run=earlier.id, node=earlier.node, seen=earlier.seen)
            detail = {
                "run": earlier.id,
                "node": earlier.node,
                "started": earlier.started,
                "seen": earlier.seen,
                "missing": f"what it recorded in its last {UNSAVED:g} s, some time after `seen`",
            }
            self._note("run not ended", "records-missing", detail, at=self._clock())
        self._note("service started", "ok", {"run": self._id}, at=self._started)
        self._begun = True

    def stopping(self) -> None:
        """The last thing that is noted."""
        self._note("service stopped", "ok", {"run": self._id}, at=self._clock())

    async def end(self) -> None:
        """It ends as it should, if all is written; else the next one takes it for killed."""
        if self._begun and not self._audit.statistics()["waiting"]:
            with suppress(StoreAwayError, TimeoutError):
                async with asyncio.timeout(ENDING):
                    await self._runs.end(self._id)

    def _note(self, action: str, outcome: str, detail: dict[str, object], *, at: float) -> None:
        self._audit.note(AuditRecord(at, AuditKind.SYSTEM, action=action, outcome=outcome, detail=detail))
