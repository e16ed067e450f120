"""The audit in a service's database: a row for each batch, opened only where it may hold what is wanted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import structlog
from sqlalchemy import Column, ColumnElement, delete, or_, select, tuple_

from fairlead.model.audit import AuditBatch, AuditFilter, AuditRecord, open_batch
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.stores.sql.database import Database
from fairlead.stores.sql.tables import AUDIT

LOG: Final = structlog.get_logger("fairlead.audit")
_MANY: Final = 50  # names in a column; where there are more it is empty, and the batch is always opened
_AT_ONCE: Final = 16  # batches that are read and opened in one go
_SEARCH: Final = 10.0  # s
_PRUNED_AT_ONCE: Final = 2000


class SqlAuditLog:
    """`ports.AuditLog`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(self, batches: Sequence[AuditBatch]) -> None:
        if not batches:
            return
        insert = self._database.insert(AUDIT).on_conflict_do_nothing(index_elements=["batch"])
        async with self._database.write() as connection:
            await connection.execute(insert, [_row(batch) for batch in batches])

    async def search(self, wanted: AuditFilter) -> list[AuditRecord]:
        """Raises ProblemError where it would take too long: `since` or `until` must narrow it down.

        Batches of several processes overlap in time: rows are read until none that is left can be younger
        than the oldest record that was found.
        """
        statement = (
            select(AUDIT.c.id, AUDIT.c.last_at, AUDIT.c.content)
            .where(*_conditions(wanted))
            .order_by(AUDIT.c.last_at.desc(), AUDIT.c.id.desc())
            .limit(_AT_ONCE)
        )
        found: list[AuditRecord] = []
        deadline = time.monotonic() + _SEARCH
        while True:
            async with self._database.read() as connection:
                rows = (await connection.execute(statement)).all()
            found = await asyncio.to_thread(_merge, found, rows, wanted)
            if len(rows) < _AT_ONCE:
                return found
            last = rows[-1]
            if len(found) >= wanted.limit and last.last_at < found[-1].at:
                return found
            if time.monotonic() > deadline:
                raise _too_wide(last.last_at)
            statement = statement.where(tuple_(AUDIT.c.last_at, AUDIT.c.id) < (last.last_at, last.id))

    async def prune(self, before: float) -> int:
        """Whole batches; how many records were in them."""
        pruned = 0
        old = select(AUDIT.c.id, AUDIT.c.records).where(AUDIT.c.last_at < before).limit(_PRUNED_AT_ONCE)
        while True:
            async with self._database.write() as connection:
                rows = (await connection.execute(old)).all()
                await connection.execute(delete(AUDIT).where(AUDIT.c.id.in_([row.id for row in rows])))
            pruned += sum(int(row.records) for row in rows)
            if len(rows) < _PRUNED_AT_ONCE:
                return pruned


def _row(batch: AuditBatch) -> dict[str, Any]:
    return {
        "batch": batch.id,
        "first_at": batch.first_at,
        "last_at": batch.last_at,
        "records": batch.count,
        "kinds": _names(batch.kinds),
        "principals": _names(batch.principals),
        "servers": _names(batch.servers),
        "content": batch.content,
    }


def _names(names: frozenset[str]) -> str:
    return _json(sorted(names)) if len(names) <= _MANY else ""


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _conditions(wanted: AuditFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.since is not None:
        conditions.append(AUDIT.c.last_at >= wanted.since)
    if wanted.until is not None:
        conditions.append(AUDIT.c.first_at < wanted.until)
    names = (
        (AUDIT.c.kinds, wanted.kind),
        (AUDIT.c.principals, wanted.principal),
        (AUDIT.c.servers, wanted.server),
    )
    return conditions + [_may_name(column, name) for column, name in names if name is not None]


def _may_name(column: Column[str], name: str) -> ColumnElement[bool]:
    return or_(column == "", column.contains(_json(name), autoescape=True))


def _merge(found: list[AuditRecord], rows: Sequence[Any], wanted: AuditFilter) -> list[AuditRecord]:
    more = [record for row in rows for record in _open(row) if wanted.admits(record)]
    return sorted(found + more, key=lambda record: record.at, reverse=True)[: wanted.limit]


def _open(row: Any) -> list[AuditRecord]:
    try:
        return open_batch(row.content)
    except ValueError as damaged:  # the others can still be read
        LOG.error("a batch of the audit cannot be read", row=row.id, reason=str(damaged))
        return []


def _too_wide(at: float) -> ProblemError:
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
    return ProblemError(
        Problem(
            code="audit-search-too-wide",
            title="the search takes too long",
            detail=f"it came back to {when} in {_SEARCH:g} s: give `since` or `until`, or ask for less",
            status=422,
            fault=Fault.CLIENT,
        )
    )
