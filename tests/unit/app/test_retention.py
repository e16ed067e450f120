from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest
import structlog.testing
from sqlalchemy import func, literal, select

from fairlead.app.retention import CLOCK, EVERY, FIRST, STEP, Pruner
from fairlead.app.settings import DAY, RetentionSettings
from fairlead.model.audit import AuditBatch, AuditFilter, AuditKind, AuditRecord
from fairlead.model.events import Event, EventType
from fairlead.model.gitops import Environment
from fairlead.model.reconciling import Deployment, DeploymentReason, DeploymentState, Live
from fairlead.ports import SavedSpec, StoreAwayError, Trend
from fairlead.stores.retained import KEPT
from fairlead.stores.sql.applications import SqlApplicationStore
from fairlead.stores.sql.audit import SqlAuditLog
from fairlead.stores.sql.database import Database
from fairlead.stores.sql.deployments import SqlDeploymentStore
from fairlead.stores.sql.events import SqlEventLog
from fairlead.stores.sql.facts import agreed
from fairlead.stores.sql.specs import SqlSpecStore
from fairlead.stores.sql.tables import EVENTS, LIVE_VERSIONS
from fairlead.stores.sql.trends import SqlTrendStore

KINDS = ("events", "audit", "runs", "specs", "metrics", "deployments", "live_versions")
NOW = 1000 * DAY


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The clock of every database."""
    clock = SimpleNamespace(now=NOW)
    monkeypatch.setattr(Database, "clock", property(lambda self: literal(clock.now)))
    return clock


@pytest.fixture
async def database(database_url: str, clock: SimpleNamespace) -> AsyncIterator[Database]:
    opened = await Database.open(database_url, service="orchestrator")
    yield opened
    await opened.close()


def deployment(name: str, at: float) -> Deployment:
    why, state = DeploymentReason.COMMIT, DeploymentState.SUCCEEDED
    return Deployment(name, "app", Environment.STAGING, "c1", None, why, "ann", state, at, ended=at)


async def fill(database: Database, *days: int) -> None:
    ages = [day * DAY for day in days]
    events = [Event(EventType.SYNC_STARTED, "s", "", {}, NOW - age) for age in reversed(ages)]
    await SqlEventLog(database).append(events)
    batches = [AuditBatch.of([AuditRecord(at=NOW - age, kind=AuditKind.CALL)]) for age in ages]
    await SqlAuditLog(database).append(batches)
    await SqlTrendStore(database).add([Trend(NOW - age, 60, "n", "", {}) for age in ages])
    specs = SqlSpecStore(database)
    for number, age in enumerate(reversed(ages)):
        spec = SavedSpec(number + 1, NOW - age, "ann", "file", None, [])
        await specs.save(spec, expected=number)
    live_versions = SqlApplicationStore(database)
    for age in ages:
        await live_versions.keep_live("app", "d1", Live("a", "t", b"", {}))
        async with database.write() as connection:
            newest = select(func.max(LIVE_VERSIONS.c.id)).scalar_subquery()
            await connection.execute(
                LIVE_VERSIONS.update().where(LIVE_VERSIONS.c.id == newest).values(at=NOW - age)
            )
    deployments = SqlDeploymentStore(database)
    for number in range(KEPT):
        await deployments.add(deployment(f"new{number}", NOW))
    for age in ages:
        await deployments.add(deployment(f"old{age}", NOW - age))


async def test_each_kind_has_its_age(database: Database) -> None:
    await fill(database, 1, 29, 31, 89, 91)
    pruner = Pruner.of(database, RetentionSettings())
    assert await pruner.run() == {}  # the first pass only looks at the clock
    pruned = {"events": 3, "audit": 1, "runs": 0, "specs": 1, "metrics": 1}
    assert await pruner.run() == pruned | {"deployments": 1, "live_versions": 1}
    assert await pruner.run() == dict.fromkeys(KINDS, 0)
    assert len(await SqlAuditLog(database).search(AuditFilter())) == 4
    await database.close()
    assert await pruner.run() == {}  # the store is away


async def test_a_clock_that_jumps_ahead_removes_little_and_is_told_of(
    database: Database, clock: SimpleNamespace
) -> None:
    await fill(database, 1, 28, 29, 31)
    pruner = Pruner.of(database, RetentionSettings())
    await pruner.run()
    clock.now += 3650 * DAY
    with structlog.testing.capture_logs() as logs:
        pruned = await pruner.run()
    assert pruned["events"] == 1  # as of one day later
    assert [each["log_level"] for each in logs] == ["warning", "info"]
    assert logs[0]["days"] == pytest.approx(3649)
    clock.now = NOW + STEP / 2  # it is set right: this is what holds from then on
    assert await pruner.run() == dict.fromkeys(KINDS, 0)
    clock.now = NOW + 2 * STEP
    with structlog.testing.capture_logs() as logs:
        assert (await pruner.run())["events"] == 1
    assert [each["log_level"] for each in logs] == ["warning", "info"]
    async with database.read() as connection:
        assert len((await connection.execute(select(EVENTS))).all()) == 2


async def test_after_a_rest_it_catches_up(database: Database, clock: SimpleNamespace) -> None:
    await fill(database, 1)
    pruner = Pruner.of(database, RetentionSettings(events=30 * DAY))
    await pruner.run()
    clock.now += 40 * DAY
    passes = 0
    while not (await pruner.run())["events"]:
        passes += 1
    assert passes == 29
    assert float(await agreed(database, CLOCK, "")) == pytest.approx(NOW + 30 * DAY)


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

    async def clock() -> tuple[float, float]:
        return NOW, NOW

    following = loop.create_task(Pruner({"events": (prune, 60.0)}, clock).follow())
    start = loop.time()
    await asyncio.sleep(FIRST + 2 * EVERY + 1)
    following.cancel()
    assert [round(at - start) for at in times] == [FIRST, FIRST + EVERY, FIRST + 2 * EVERY]
