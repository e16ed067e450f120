"""Which runs ended without a word, on each kind of database."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import select

from fairlead.stores.sql.database import Database
from fairlead.stores.sql.runs import SILENT, Run, Runs
from fairlead.stores.sql.tables import RUNS


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = await Database.open(database_url, service="orchestrator")
    yield opened
    await opened.close()


@pytest.fixture
def runs(database: Database) -> Runs:
    return Runs(database)


async def pass_by(database: Database, seconds: float) -> None:
    """Let the database's clock go on: whatever it has noted is older now."""
    async with database.write() as connection:
        await connection.execute(
            RUNS.update().values(
                started=RUNS.c.started - seconds, seen=RUNS.c.seen - seconds, ended=RUNS.c.ended - seconds
            )
        )


def ids(runs: list[Run]) -> list[str]:
    return [run.id for run in runs]


async def test_the_clock_of_the_database(database: Database) -> None:
    async with database.read() as connection:
        found = (await connection.execute(select(database.clock))).scalar_one()
    assert found == pytest.approx(time.time(), abs=5)


async def test_one_that_ended_is_not_told_of(runs: Runs) -> None:
    assert await runs.begin("r1", "n1") == []
    await runs.end("r1")
    assert await runs.begin("r2", "n1") == []


async def test_one_that_was_killed_is_told_of_once(runs: Runs, database: Database) -> None:
    await runs.begin("r1", "n1")
    await pass_by(database, 4)
    await runs.seen("r1")
    (killed,) = await runs.begin("r2", "n1")
    assert (killed.id, killed.node) == ("r1", "n1")
    assert killed.seen - killed.started == pytest.approx(4, abs=1)
    assert await runs.begin("r2", "n1") == []
    await runs.end("r2")
    assert await runs.begin("r3", "n1") == []


async def test_another_node_is_left_alone_while_it_lives(runs: Runs, database: Database) -> None:
    await runs.begin("o1", "n2")
    await pass_by(database, SILENT - 5)
    assert await runs.begin("r1", "n1") == []
    await pass_by(database, 6)
    await runs.seen("r1")
    assert ids(await runs.begin("r4", "n1")) == ["o1", "r1"]
    await runs.seen("o1")  # it was only cut off
    assert "o1" in ids(await runs.living())


@pytest.mark.parametrize("wrong", [-3600.0, 3600.0])
async def test_machines_whose_clocks_differ(
    runs: Runs, wrong: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    await runs.begin("r1", "n1")
    right = time.time
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(time, "time", lambda: right() + wrong)
        assert await runs.begin("o1", "n2") == []
        await runs.seen("o1")
    assert sorted(ids(await runs.living())) == ["o1", "r1"]
    assert await runs.begin("p1", "n3") == []


async def test_who_lives(runs: Runs, database: Database) -> None:
    await runs.begin("r1", "n1")
    await runs.begin("o1", "n2")
    assert sorted(ids(await runs.living())) == ["o1", "r1"]
    await runs.end("r1")
    assert ids(await runs.living()) == ["o1"]
    await pass_by(database, SILENT + 1)
    assert await runs.living() == []


async def test_old_ones_are_pruned(runs: Runs, database: Database) -> None:
    await runs.begin("r1", "n1")
    await runs.end("r1")
    await runs.begin("o1", "n2")
    assert await runs.prune(time.time() - 60) == 0
    await pass_by(database, 100)
    assert await runs.prune(time.time() - 60) == 1
    assert await runs.prune(time.time() + 60) == 0  # one that has not ended stays
