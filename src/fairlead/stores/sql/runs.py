"""The runs of a service: who is alive on this database, and which runs ended without a word.

All times are the database's own: the clocks of the machines on which the runs are may differ by more than
what counts as silence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, Select, and_, delete, or_, select, update

from fairlead.stores.sql.database import Database
from fairlead.stores.sql.tables import RUNS

SILENT: Final = 30.0  # s without a sign of life after which a run of another node counts as ended


@dataclass(frozen=True, slots=True)
class Run:
    """From `started` to `seen`, its last sign of life (Unix time, s). `node` is a state folder's id."""

    id: str
    node: str
    started: float
    seen: float


class Runs:
    """Every method raises StoreAwayError and can be repeated."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._now = database.clock

    async def begin(self, run_id: str, node: str) -> list[Run]:
        """Note that a run has begun. Returns those that ended without saying so, each of them once.

        Of a node there is one run at a time: whoever begins holds its state folder.
        """
        gone = and_(
            RUNS.c.ended.is_(None),
            RUNS.c.id != run_id,
            or_(RUNS.c.node == node, RUNS.c.seen < self._now - SILENT),
        )
        row = {"id": run_id, "node": node, "started": self._now, "seen": self._now}
        async with self._database.write() as connection:
            found = (await connection.execute(select(RUNS).where(gone).order_by(RUNS.c.seen))).all()
            await connection.execute(update(RUNS).where(gone).values(ended=RUNS.c.seen))
            await connection.execute(self._database.insert(RUNS).values(row).on_conflict_do_nothing())
        return [_run(each) for each in found]

    async def seen(self, run_id: str) -> None:
        """A sign of life; call it every few seconds. One that was taken for ended lives again."""
        await self._update(RUNS.c.id == run_id, seen=self._now, ended=None)

    async def end(self, run_id: str) -> None:
        await self._update(RUNS.c.id == run_id, seen=self._now, ended=self._now)

    async def living(self) -> list[Run]:
        """Those that have not ended and gave a sign of life within `SILENT`."""
        async with self._database.read() as connection:
            return [_run(row) for row in await connection.execute(living(self._now))]

    async def prune(self, before: float) -> int:
        async with self._database.write() as connection:
            return (await connection.execute(delete(RUNS).where(RUNS.c.ended < before))).rowcount

    async def _update(self, which: ColumnElement[bool], **values: Any) -> None:
        async with self._database.write() as connection:
            await connection.execute(update(RUNS).where(which).values(values))


def living(now: ColumnElement[float]) -> Select[Any]:
    """Those, and for how long (s) each has been `silent`."""
    return select(RUNS, (now - RUNS.c.seen).label("silent")).where(
        RUNS.c.ended.is_(None), RUNS.c.seen >= now - SILENT
    )


def _run(row: Row[Any]) -> Run:
    return Run(row.id, row.node, row.started, row.seen)
