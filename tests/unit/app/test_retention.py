from __future__ import annotations

import asyncio

import pytest

from fairlead.app.retention import EVERY, FIRST, Pruner
from fairlead.app.settings import DAY, RetentionSettings
from fairlead.model.audit import AuditBatch, AuditFilter, AuditKind, AuditRecord
from fairlead.model.events import Event, EventType
from fairlead.ports import SavedSpec, StoreAwayError, Trend
from fairlead.stores.sql.audit import SqlAuditLog
from fairlead.stores.sql.database import Database, sqlite_url
from fairlead.stores.sql.events import SqlEventLog
from fairlead.stores.sql.specs import SqlSpecStore
from fairlead.stores.sql.trends import SqlTrendStore


async def test_each_kind_has_its_age(tmp_path) -> None:
    database = await Database.open(sqlite_url(tmp_path / "a.db"), service="orchestrator")
    now = 1000 * DAY
    ages = [day * DAY for day in (1, 29, 31, 89, 91)]
    events = [Event(EventType.SYNC_STARTED, "s", "", {}, now - age) for age in reversed(ages)]
    await SqlEventLog(database).append(events)
    batches = [AuditBatch.of([AuditRecord(at=now - age, kind=AuditKind.CALL)]) for age in ages]
    await SqlAuditLog(database).append(batches)
    await SqlTrendStore(database).add([Trend(now - age, 60, "n", "", {}) for age in ages])
    specs = SqlSpecStore(database)
    for number, age in enumerate(reversed(ages)):
        spec = SavedSpec(number + 1, now - age, "ann", "file", None, [])
        await specs.save(spec, expected=number)

    pruner = Pruner.of(database, RetentionSettings())
    pruner._now = lambda: now
    assert await pruner.run() == {"events": 3, "audit": 1, "runs": 0, "specs": 1, "metrics": 1}
    assert await pruner.run() == dict.fromkeys(("events", "audit", "runs", "specs", "metrics"), 0)
    assert len(await SqlAuditLog(database).search(AuditFilter())) == 4
    await database.close()
    assert await pruner.run() == {}  # the store is away


@pytest.mark.looptime
async def test_it_is_done_each_hour_whatever_happens() -> None:
    times: list[float] = []
    loop = asyncio.get_running_loop()

    async def prune(before: float) -> int:
        times.append(loop.time())
        if len(times) == 1:
            msg = "away"
            raise StoreAwayError(msg)
        return 1

    following = loop.create_task(Pruner({"events": (prune, 60.0)}).follow())
    start = loop.time()
    await asyncio.sleep(FIRST + 2 * EVERY + 1)
    following.cancel()
    assert [round(at - start) for at in times] == [FIRST, FIRST + EVERY, FIRST + 2 * EVERY]
