"""What the GitOps controller keeps of applications, in a service's database.

What is read again and again is written through `Changes`, so that it may be kept in memory. What only the
deployment reads that has written it (intents, leases, kept live versions) does without. Times are the
database's own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec
from sqlalchemy import Row, Table, and_, delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from fairlead.model.reconciling import ApplicationState, Base, DriftRow, Hold, Intent, IntentState, Live
from fairlead.ports.gitops import RevisionConflictError
from fairlead.stores.retained import bounded, compared
from fairlead.stores.sql.changes import Changes
from fairlead.stores.sql.database import Database, Insert
from fairlead.stores.sql.places import place, possible, text
from fairlead.stores.sql.tables import (
    APPLICATIONS,
    BASES,
    DRIFT,
    HOLDS,
    INTENTS,
    LEASES,
    LIVE_VERSIONS,
)

_state: Final = msgspec.json.Decoder(ApplicationState)
_drift: Final = msgspec.json.Decoder(DriftRow)
_hold: Final = msgspec.json.Decoder(Hold)


def put(database: Database, table: Table) -> Insert:
    """Rows in the place of those with the same key."""
    fresh = database.insert(table)
    keys = [column.name for column in table.primary_key]
    values = {column.name: fresh.excluded[column.name] for column in table.c if column.name not in keys}
    return fresh.on_conflict_do_update(index_elements=keys, set_=values)


class SqlApplicationStore:
    """`ports.gitops.ApplicationStore`."""

    def __init__(self, database: Database, changes: Changes | None = None) -> None:
        self._database = database
        self._changes = changes or Changes(database)

    def __repr__(self) -> str:
        return f"SqlApplicationStore({self._database!r})"

    async def states(self) -> dict[str, ApplicationState]:
        async with self._database.read() as connection:
            found = [_state.decode(row.content) for row in await connection.execute(select(APPLICATIONS))]
        return {state.name: state for state in found}

    async def save_state(self, state: ApplicationState) -> ApplicationState:
        return await self.finish(state, (), ())

    async def bases(self, application: str) -> dict[str, Base]:
        if not possible(application):
            return {}
        wanted = select(BASES).where(BASES.c.application == application)
        async with self._database.read() as connection:
            found = [_base(row) for row in await connection.execute(wanted)]
        return {base.object: base for base in sorted(found, key=lambda base: base.object)}

    async def finish(
        self, state: ApplicationState, changed: Sequence[Base], removed: Sequence[str]
    ) -> ApplicationState:
        saved = replace(state, revision=state.revision + 1)
        row = {"revision": saved.revision, "content": text(saved)}
        first = self._database.insert(APPLICATIONS).values(row | {"name": state.name})
        following = (
            update(APPLICATIONS)
            .where(APPLICATIONS.c.name == state.name, APPLICATIONS.c.revision == state.revision)
            .values(row)
        )
        bases = [_base_row(state.name, base) for base in changed]
        async with self._changes.change() as connection:
            done = await connection.execute(following if state.revision else first.on_conflict_do_nothing())
            if not done.rowcount:
                raise RevisionConflictError(state.name)
            await _remove(connection, BASES, state.name, [place(name) for name in removed])
            if bases:
                await connection.execute(put(self._database, BASES), bases)
        return saved

    async def plan(self, intents: Sequence[Intent]) -> None:
        if not intents:
            return
        rows = [
            {
                "deployment": intent.deployment,
                "wave": intent.order,
                "place": place(intent.object),
                "object": json.dumps(intent.object),
                "state": intent.state.value,
                "content": intent.content,
            }
            for intent in intents
        ]
        fresh = self._database.insert(INTENTS)
        written = fresh.on_conflict_do_update(
            index_elements=["deployment", "wave", "place"],
            set_={name: fresh.excluded[name] for name in ("state", "content")},
            where=INTENTS.c.state == IntentState.PLANNED.value,
        )
        async with self._database.write() as connection:
            await connection.execute(written, rows)

    async def done(self, deployment: str, object_id: str, order: int) -> None:
        which = and_(
            INTENTS.c.deployment == deployment, INTENTS.c.wave == order, INTENTS.c.place == place(object_id)
        )
        async with self._database.write() as connection:
            await connection.execute(update(INTENTS).where(which).values(state=IntentState.DONE.value))

    async def intents(self, deployment: str) -> list[Intent]:
        if not possible(deployment):
            return []
        wanted = select(INTENTS).where(INTENTS.c.deployment == deployment)
        async with self._database.read() as connection:
            found = [_intent(row) for row in await connection.execute(wanted)]
        return sorted(found, key=lambda intent: (intent.order, intent.object))

    async def forget_intents(self, deployment: str) -> None:
        async with self._database.write() as connection:
            await connection.execute(delete(INTENTS).where(INTENTS.c.deployment == deployment))

    async def drift(self, application: str | None = None) -> list[DriftRow]:
        if application is not None and not possible(application):
            return []
        async with self._database.read() as connection:
            found = await _drift_rows(connection, application)
        return sorted(found, key=lambda row: (row.application, row.object, row.key))

    async def set_drift(
        self, application: str, rows: Sequence[DriftRow]
    ) -> tuple[list[DriftRow], list[DriftRow]]:
        """Most often all is as it was: then nobody is kept from writing."""
        async with self._database.read() as connection:
            new, gone = compared(await _drift_rows(connection, application), rows)
        if not new and not gone:
            return [], []
        async with self._changes.change() as connection:
            new, gone = compared(await _drift_rows(connection, application), rows)
            await _remove(connection, DRIFT, application, [_drift_place(row) for row in gone])
            if new:
                fresh = [
                    {"application": application, "place": _drift_place(row), "content": text(row)}
                    for row in new
                ]
                await connection.execute(put(self._database, DRIFT), fresh)
        return new, gone

    async def keep_live(self, application: str, deployment: str, live: Live) -> None:
        kept = bounded(live)
        about = {
            "object": kept.object,
            "tag": kept.tag,
            "document": kept.document,
            "problem": kept.problem,
            "by": dict(kept.by),
            "executable": kept.executable,
        }
        row = {
            "application": application,
            "deployment": deployment,
            "at": self._database.clock,
            "bytes": kept.content,
            "content": json.dumps(about, default=dict),
        }
        async with self._database.write() as connection:
            await connection.execute(self._database.insert(LIVE_VERSIONS).values(row))

    async def kept_live(self, deployment: str) -> list[Live]:
        if not possible(deployment):
            return []
        wanted = select(LIVE_VERSIONS).where(LIVE_VERSIONS.c.deployment == deployment)
        async with self._database.read() as connection:
            rows = await connection.execute(wanted.order_by(LIVE_VERSIONS.c.id))
            return [Live(content=row.bytes, **json.loads(row.content)) for row in rows]

    async def holds(self) -> list[Hold]:
        async with self._database.read() as connection:
            found = [_hold.decode(row.content) for row in await connection.execute(select(HOLDS))]
        return sorted(found, key=lambda hold: (hold.application, hold.path))

    async def put_hold(self, hold: Hold) -> None:
        row = {"application": hold.application, "place": place(hold.path), "content": text(hold)}
        async with self._changes.change() as connection:
            await connection.execute(put(self._database, HOLDS), row)

    async def remove_hold(self, application: str, path: str) -> bool:
        if not possible(application):
            return False
        async with self._changes.change() as connection:
            return await _remove(connection, HOLDS, application, [place(path)]) > 0

    async def acquire(self, target: str, holder: str, seconds: float) -> int | None:
        now = self._database.clock
        row = {"place": place(target), "target": json.dumps(target), "token": 1, "holder": holder}
        taken = {"token": LEASES.c.token + 1, "holder": holder, "expires": now + seconds}
        free = or_(LEASES.c.holder.is_(None), LEASES.c.holder == holder, LEASES.c.expires <= now)
        acquired = (
            self._database.insert(LEASES)
            .values(row | {"expires": now + seconds})
            .on_conflict_do_update(index_elements=["place"], set_=taken, where=free)
            .returning(LEASES.c.token)
        )
        async with self._database.write() as connection:
            token: int | None = (await connection.execute(acquired)).scalar_one_or_none()
        return token

    async def renew(self, target: str, holder: str, token: int, seconds: float) -> bool:
        longer = {"expires": self._database.clock + seconds}
        async with self._database.write() as connection:
            return (await connection.execute(_held(target, holder, token).values(longer))).rowcount > 0

    async def release(self, target: str, holder: str, token: int) -> None:
        free = {"holder": None, "expires": 0.0}
        async with self._database.write() as connection:
            await connection.execute(_held(target, holder, token).values(free))

    async def prune(self, before: float) -> int:
        async with self._database.write() as connection:
            return (
                await connection.execute(delete(LIVE_VERSIONS).where(LIVE_VERSIONS.c.at < before))
            ).rowcount


def _held(target: str, holder: str, token: int) -> Any:
    return update(LEASES).where(
        LEASES.c.place == place(target), LEASES.c.holder == holder, LEASES.c.token == token
    )


async def _remove(connection: AsyncConnection, table: Table, application: str, places: Iterable[str]) -> int:
    removed = 0
    for each in places:
        which = and_(table.c.application == application, table.c.place == each)
        removed += (await connection.execute(delete(table).where(which))).rowcount
    return removed


async def _drift_rows(connection: AsyncConnection, application: str | None) -> list[DriftRow]:
    wanted = select(DRIFT)
    if application is not None:
        wanted = wanted.where(DRIFT.c.application == application)
    return [_drift.decode(row.content) for row in await connection.execute(wanted)]


def _drift_place(row: DriftRow) -> str:
    return place(row.object, row.key)


def _base(row: Row[Any]) -> Base:
    return Base(content=row.bytes, **json.loads(row.content))


def _base_row(application: str, base: Base) -> dict[str, Any]:
    about = {
        "object": base.object,
        "commit": base.commit,
        "document": base.document,
        "executable": base.executable,
    }
    return {
        "application": application,
        "place": place(base.object),
        "bytes": base.content,
        "content": json.dumps(about, default=dict),
    }


def _intent(row: Row[Any]) -> Intent:
    return Intent(row.deployment, json.loads(row.object), row.wave, row.content, IntentState(row.state))
