"""An `AuditLog` in memory, whose store can be away."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from fairlead.model.audit import AuditBatch, AuditFilter, AuditRecord
from fairlead.ports import StoreAwayError


class MemoryAuditLog:
    """Keeps batches as a store does. While `away` it refuses; while `held` is clear it takes its time."""

    def __init__(self) -> None:
        self.batches: dict[str, AuditBatch] = {}
        self.away = False
        self.held = asyncio.Event()
        self.held.set()
        self.asked = 0

    def records(self) -> list[AuditRecord]:
        """All that is kept, in the order in which it came."""
        return [record for batch in self.batches.values() for record in batch.records()]

    async def append(self, batches: Sequence[AuditBatch]) -> None:
        self.asked += 1
        await self.held.wait()
        if self.away:
            raise StoreAwayError("the store is away")
        for batch in batches:
            self.batches.setdefault(batch.id, batch)

    async def search(self, wanted: AuditFilter) -> list[AuditRecord]:
        if self.away:
            raise StoreAwayError("the store is away")
        found = sorted(filter(wanted.admits, self.records()), key=lambda record: record.at, reverse=True)
        return found[: wanted.limit]

    async def prune(self, before: float) -> int:
        old = [key for key, batch in self.batches.items() if batch.last_at < before]
        return sum(self.batches.pop(key).count for key in old)
