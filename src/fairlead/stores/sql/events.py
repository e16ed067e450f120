"""The events of a service in its database.

The counter's row is raised in the transaction that inserts the events. It is locked until that transaction
ends (in SQLite the whole file is), so numbers are given in the order of the commits, a roll-back takes its
numbers back, and who has read up to a number has all that were ever given below it.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Row, delete, func, insert, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from fairlead.model.events import Event, EventType, StoredEvent
from fairlead.stores.sql.away import feature_missing
from fairlead.stores.sql.database import Database
from fairlead.stores.sql.facts import agreed
from fairlead.stores.sql.tables import COUNTERS, EVENTS, FACTS

EPOCH: Final = "epoch"  # the fact's name
_PRUNED_AT_ONCE = 5000
_TIMELINE: Final = text(
    "SELECT CASE WHEN NOT pg_is_in_recovery() THEN substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END"
)


class SqlEventLog:
    """`ports.EventLog`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(self, events: Sequence[Event]) -> list[StoredEvent]:
        if not events:
            return []
        try:
            async with self._database.write() as connection:
                return await _append(connection, events)
        except IntegrityError:  # some are kept already: the rare case pays
            async with self._database.write() as connection:
                return await _append_missing(connection, events)

    async def read(self, after: int, limit: int) -> list[StoredEvent]:
        statement = select(EVENTS).where(EVENTS.c.sequence > after).order_by(EVENTS.c.sequence).limit(limit)
        async with self._database.read() as connection:
            return [_event(row) for row in await connection.execute(statement)]

    async def bounds(self) -> tuple[int, int]:
        oldest = select(func.min(EVENTS.c.sequence)).scalar_subquery()
        statement = select(oldest, COUNTERS.c.value).where(COUNTERS.c.name == "events")
        async with self._database.read() as connection:
            first, last = (await connection.execute(statement)).one()
        return last + 1 if first is None else first, last

    async def epoch(self) -> str:
        """A random id, and in PostgreSQL its timeline: that is another one when a standby has taken over."""
        kept = select(FACTS.c.value).where(FACTS.c.name == EPOCH)
        async with self._database.read() as connection:
            epoch = (await connection.execute(kept)).scalar_one_or_none()
            timeline = await _timeline(connection) if self._database.schema else ""
        if epoch is None:
            epoch = await agreed(self._database, EPOCH, uuid.uuid4().hex[:16])
        return "" if timeline is None else epoch + timeline

    async def prune(self, before: float) -> int:
        """What is left has no gap either: an old event that follows a young one stays."""
        pruned = 0
        while True:
            statement = select(func.min(EVENTS.c.sequence)).where(EVENTS.c.time >= before)
            async with self._database.write() as connection:
                await _lock(connection)  # who appends now waits, and is not taken for old
                young = (await connection.execute(statement)).scalar_one()
                oldest = (await connection.execute(select(func.min(EVENTS.c.sequence)))).scalar_one()
                if oldest is None:
                    return pruned
                end = oldest + _PRUNED_AT_ONCE
                end = end if young is None else min(young, end)
                done = await connection.execute(delete(EVENTS).where(EVENTS.c.sequence < end))
            pruned += done.rowcount
            if done.rowcount < _PRUNED_AT_ONCE:
                return pruned


async def _append(connection: AsyncConnection, events: Sequence[Event]) -> list[StoredEvent]:
    raised = (
        update(COUNTERS)
        .where(COUNTERS.c.name == "events")
        .values(value=COUNTERS.c.value + len(events))
        .returning(COUNTERS.c.value)
    )
    first = (await connection.execute(raised)).scalar_one() - len(events) + 1
    stored = [StoredEvent(first + number, event) for number, event in enumerate(events)]
    await connection.execute(insert(EVENTS), [_row(each) for each in stored])
    return stored


async def _timeline(connection: AsyncConnection) -> str | None:
    """None on a standby: it gets another one when it takes over. Some offers of PostgreSQL do not tell it."""
    try:
        async with connection.begin_nested():
            found = (await connection.execute(_TIMELINE)).scalar_one()
    except DBAPIError as error:
        if not feature_missing(error):
            raise
        return ""
    return None if found is None else f"-{found.lower()}"


async def _lock(connection: AsyncConnection) -> None:
    """Until the transaction's end nobody else appends."""
    await connection.execute(
        update(COUNTERS).where(COUNTERS.c.name == "events").values(value=COUNTERS.c.value)
    )


async def _append_missing(connection: AsyncConnection, events: Sequence[Event]) -> list[StoredEvent]:
    await _lock(connection)  # nobody adds one of them meanwhile
    kept = await _sequences(connection, {event.id for event in events})
    missing = {event.id: event for event in events if event.id not in kept}
    if missing:
        added = await _append(connection, list(missing.values()))
        kept |= {each.event.id: each.sequence for each in added}
    return [StoredEvent(kept[event.id], event) for event in events]


async def _sequences(connection: AsyncConnection, ids: Iterable[str]) -> dict[str, int]:
    found = await connection.execute(select(EVENTS.c.id, EVENTS.c.sequence).where(EVENTS.c.id.in_(ids)))
    return {row.id: row.sequence for row in found}


def _row(stored: StoredEvent) -> dict[str, Any]:
    event = stored.event
    return {
        "sequence": stored.sequence,
        "id": event.id,
        "time": event.time,
        "type": event.type.value,
        "source": _text(event.source, 256),
        "subject": _text(event.subject, 512),
        "data": _json(event.data),
    }


def _text(value: str, size: int) -> str:
    """As every database takes it: one event that cannot be kept would hold up all that come after it."""
    return value.encode(errors="replace").decode().replace("\0", "\ufffd")[:size]


def _json(data: Any) -> str:
    try:
        return msgspec.json.encode(data, enc_hook=str).decode()
    except UnicodeEncodeError:  # half a surrogate pair, as in a file name that is not UTF-8
        return json.dumps(data, default=str, ensure_ascii=False).encode(errors="replace").decode()


def _event(row: Row[Any]) -> StoredEvent:
    data = msgspec.json.decode(row.data)
    event = Event(EventType.kept(row.type), row.source, row.subject, data, row.time, row.id)
    return StoredEvent(row.sequence, event)
