"""A `TrendStore` in memory, which can be away."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.ports import StoreAwayError, Trend


class MemoryTrendStore:
    def __init__(self) -> None:
        self.rows: dict[tuple[float, int, str, str], Trend] = {}
        self.away = False

    async def add(self, trends: Sequence[Trend]) -> None:
        self._check()
        self.rows |= {(trend.at, trend.seconds, trend.node, trend.server): trend for trend in trends}

    async def read(self, server: str, *, since: float, until: float, seconds: int) -> list[Trend]:
        self._check()
        found = [t for t in self.rows.values() if (t.server, t.seconds) == (server, seconds)]
        return sorted((t for t in found if since <= t.at < until), key=lambda t: (t.at, t.node))

    async def prune(self, before: float) -> int:
        old = [key for key, trend in self.rows.items() if trend.at < before]
        for key in old:
            del self.rows[key]
        return len(old)

    def _check(self) -> None:
        if self.away:
            raise StoreAwayError("the store is away")
