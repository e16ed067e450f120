"""The accepted fleet specs in a service's database."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Row, delete, func, insert, select, update

from fairlead.ports import SavedSpec, SpecConflictError
from fairlead.stores.sql.database import Database
from fairlead.stores.sql.tables import COUNTERS, SPECS


class SqlSpecStore:
    """`ports.SpecStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def generation(self) -> int:
        counter = select(COUNTERS.c.value).where(COUNTERS.c.name == "specs")
        async with self._database.read() as connection:
            return int((await connection.execute(counter)).scalar_one())

    async def latest(self) -> SavedSpec | None:
        found = await self.history(1)
        return found[0] if found else None

    async def save(self, spec: SavedSpec, *, expected: int) -> None:
        """The counter's row says which is the latest, and is locked by the first of two who save."""
        raised = (
            update(COUNTERS)
            .where(COUNTERS.c.name == "specs", COUNTERS.c.value == expected)
            .values(value=spec.generation)
        )
        same = select(SPECS).where(SPECS.c.generation == spec.generation)
        async with self._database.write() as connection:
            if (await connection.execute(raised)).rowcount:
                await connection.execute(insert(SPECS), _row(spec))
                return
            row = (await connection.execute(same)).one_or_none()
            if row is None or row._asdict() != _row(spec):  # the same: its first answer was lost
                raise SpecConflictError(spec.generation)

    async def history(self, limit: int) -> list[SavedSpec]:
        statement = select(SPECS).order_by(SPECS.c.generation.desc()).limit(limit)
        async with self._database.read() as connection:
            return [_spec(row) for row in await connection.execute(statement)]

    async def prune(self, before: float) -> int:
        latest = select(func.max(SPECS.c.generation)).scalar_subquery()
        old = delete(SPECS).where(SPECS.c.at < before, SPECS.c.generation < latest)
        async with self._database.write() as connection:
            return (await connection.execute(old)).rowcount


def _row(spec: SavedSpec) -> dict[str, Any]:
    return {
        "generation": spec.generation,
        "at": spec.at,
        "by": spec.by,
        "owner": spec.owner,
        "source": spec.source,
        "accepted": None if spec.accepted is None else _json(spec.accepted),
        "overrides": _json(spec.overrides),
    }


def _spec(row: Row[Any]) -> SavedSpec:
    decode = msgspec.json.decode
    accepted = None if row.accepted is None else decode(row.accepted)
    return SavedSpec(row.generation, row.at, row.by, row.owner, accepted, decode(row.overrides), row.source)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
