"""Fleet specs that are kept in memory, by the rules of `ports.SpecStore`."""

from __future__ import annotations

from fairlead.ports import SavedSpec, SpecConflictError, StoreAwayError


class MemorySpecStore:
    """`away` says why it cannot be used, while it cannot."""

    def __init__(self) -> None:
        self.rows: list[SavedSpec] = []
        self.away = ""

    async def generation(self) -> int:
        latest = await self.latest()
        return latest.generation if latest else 0

    async def latest(self) -> SavedSpec | None:
        self._require()
        return self.rows[-1] if self.rows else None

    async def save(self, spec: SavedSpec, *, expected: int) -> None:
        self._require()
        latest = self.rows[-1].generation if self.rows else 0
        if latest != expected:
            raise SpecConflictError
        assert spec.generation > latest
        self.rows.append(spec)

    async def history(self, limit: int) -> list[SavedSpec]:
        self._require()
        return self.rows[::-1][:limit]

    async def prune(self, before: float) -> int:
        self._require()
        kept = [row for row in self.rows[:-1] if row.at >= before] + self.rows[-1:]
        gone, self.rows = len(self.rows) - len(kept), kept
        return gone

    def _require(self) -> None:
        if self.away:
            raise StoreAwayError(self.away)
