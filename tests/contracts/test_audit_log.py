"""What every `AuditLog` keeps to, on each kind of database."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
import sqlalchemy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairlead.model.audit import AuditBatch, AuditFilter, AuditKind, AuditRecord
from fairlead.model.errors import ProblemError
from fairlead.ports import AuditLog
from fairlead.stores.sql import audit
from fairlead.stores.sql.audit import SqlAuditLog
from fairlead.stores.sql.database import Database
from fairlead.stores.sql.tables import AUDIT


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = await Database.open(database_url, service="orchestrator")
    yield opened
    await opened.close()


@pytest.fixture
def log(database: Database) -> AuditLog:
    return SqlAuditLog(database)


def call(at: float, **given: object) -> AuditRecord:
    return AuditRecord(at=at, kind=AuditKind.CALL, **given)


async def test_nothing_is_there(log: AuditLog) -> None:
    assert await log.search(AuditFilter()) == []
    await log.append([])
    assert await log.prune(99.0) == 0


async def test_records_come_back_newest_first(log: AuditLog) -> None:
    records = [call(float(at), principal="ann", tool=f"t{at}") for at in range(10)]
    await log.append([AuditBatch.of(records[:6]), AuditBatch.of(records[6:])])
    found = await log.search(AuditFilter(limit=5))
    assert [record.at for record in found] == [9, 8, 7, 6, 5]
    assert found[0] == records[9]


async def test_a_batch_is_kept_once(log: AuditLog) -> None:
    batch, other = AuditBatch.of([call(1.0)]), AuditBatch.of([call(2.0)])
    await log.append([batch])
    await log.append([batch, other])
    assert [record.at for record in await log.search(AuditFilter())] == [2.0, 1.0]


async def test_what_is_found(log: AuditLog) -> None:
    await log.append(
        [
            AuditBatch.of([call(1.0, principal="ann", server="a", tool="x", outcome="ok")]),
            AuditBatch.of([call(2.0, principal="bob", server="b", tool="x", outcome="refused")]),
            AuditBatch.of([AuditRecord(at=3.0, kind=AuditKind.CHANGE, principal='o"d%_\\')]),
            AuditBatch.of([call(4.0, principal=f"p{number}", server="many") for number in range(60)]),
        ]
    )

    async def found(**wanted: object) -> list[float]:
        return [record.at for record in await log.search(AuditFilter(**wanted))]

    assert await found(principal="ann") == [1.0]
    assert await found(principal="an") == []
    assert await found(principal='o"d%_\\') == [3.0]
    assert await found(principal="p59") == [4.0]  # of more names than a row says
    assert await found(server="b") == [2.0]
    assert await found(kind=AuditKind.CHANGE) == [3.0]
    assert await found(tool="x") == [2.0, 1.0]
    assert await found(outcome="refused") == [2.0]
    assert await found(since=2.0, until=3.0) == [2.0]
    assert await found(since=2.0, until=4.0) == [3.0, 2.0]
    assert await found(since=5.0) == []
    assert await found(principal="ann", server="b") == []


@st.composite
def overlapping(draw: st.DrawFn) -> list[list[AuditRecord]]:
    """Batches of several processes, whose times overlap."""
    rng = random.Random(draw(st.integers()))
    return [
        [
            call(start + rng.random() * 5, principal=rng.choice("ab"), server=rng.choice("xyz"))
            for _ in range(rng.randint(1, 4))
        ]
        for start in (rng.random() * 20 for _ in range(draw(st.integers(0, 60))))
    ]


@given(
    batches=overlapping(),
    limit=st.integers(1, 40),
    principal=st.sampled_from([None, "a", "b", "c"]),
    since=st.none() | st.floats(0, 25),
    until=st.none() | st.floats(0, 25),
)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_searches_find_what_a_list_would(tmp_path_factory, batches, limit, principal, since, until) -> None:
    wanted = AuditFilter(limit=limit, principal=principal, since=since, until=until)
    records = [record for batch in batches for record in batch if wanted.admits(record)]

    async def search() -> list[AuditRecord]:
        path = tmp_path_factory.mktemp("audit") / "a.db"
        database = await Database.open(f"sqlite:///{path}", service="orchestrator")
        try:
            log = SqlAuditLog(database)
            await log.append([AuditBatch.of(batch) for batch in batches])
            return await log.search(wanted)
        finally:
            await database.close()

    found = asyncio.run(search())
    expected = sorted((record.at for record in records), reverse=True)[:limit]
    assert [record.at for record in found] == expected


async def test_a_damaged_batch_does_not_hide_the_others(log: AuditLog, database: Database) -> None:
    await log.append([AuditBatch.of([call(1.0)]), AuditBatch.of([call(2.0)])])
    async with database.write() as connection:
        await connection.execute(AUDIT.update().where(AUDIT.c.last_at == 1.0).values(content=b"damaged"))
    assert [record.at for record in await log.search(AuditFilter())] == [2.0]


async def test_a_search_that_takes_too_long_says_so(log: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    await log.append([AuditBatch.of([call(float(at))]) for at in range(40)])
    monkeypatch.setattr(audit, "_SEARCH", -1.0)
    with pytest.raises(ProblemError, match="takes too long") as caught:
        await log.search(AuditFilter(tool="none"))
    assert "1970-01-01T00:00:24Z" in caught.value.problem.detail
    assert len(await log.search(AuditFilter(limit=5))) == 5  # found at once


async def test_old_batches_are_pruned(
    log: AuditLog, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "_PRUNED_AT_ONCE", 3)
    await log.append([AuditBatch.of([call(float(at)), call(at + 0.5)]) for at in range(10)])
    assert await log.prune(8.5) == 16
    assert [record.at for record in await log.search(AuditFilter())] == [9.5, 9.0, 8.5, 8.0]
    async with database.read() as connection:
        count = sqlalchemy.select(sqlalchemy.func.count()).select_from(AUDIT)
        assert (await connection.execute(count)).scalar_one() == 2
