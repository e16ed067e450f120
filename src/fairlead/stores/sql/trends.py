"""Metric roll-ups in a service's database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import delete, select

from fairlead.ports import Trend
from fairlead.stores.sql.database import Database
from fairlead.stores.sql.tables import TRENDS


class SqlTrendStore:
    """`ports.TrendStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, trends: Sequence[Trend]) -> None:
        if not trends:
            return
        insert = self._database.insert(TRENDS)
        keys = [column.name for column in TRENDS.primary_key]
        change = insert.on_conflict_do_update(index_elements=keys, set_={"content": insert.excluded.content})
        async with self._database.write() as connection:
            await connection.execute(change, [_row(trend) for trend in trends])

    async def read(self, server: str, *, since: float, until: float, seconds: int) -> list[Trend]:
        statement = (
            select(TRENDS)
            .where(TRENDS.c.server == server, TRENDS.c.seconds == seconds)
            .where(TRENDS.c.at >= since, TRENDS.c.at < until)
            .order_by(TRENDS.c.at, TRENDS.c.node)
        )
        async with self._database.read() as connection:
            return [
                Trend(row.at, row.seconds, row.node, row.server, msgspec.json.decode(row.content))
                for row in await connection.execute(statement)
            ]

    async def prune(self, before: float) -> int:
        async with self._database.write() as connection:
            return (await connection.execute(delete(TRENDS).where(TRENDS.c.at < before))).rowcount


def _row(trend: Trend) -> dict[str, Any]:
    return {
        "at": trend.at,
        "seconds": trend.seconds,
        "node": trend.node,
        "server": trend.server,
        "content": msgspec.json.encode(trend.values).decode(),
    }
