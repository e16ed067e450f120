"""Which runs ended without a word, on each kind of database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from fairlead.stores.sql.database import Database
from fairlead.stores.sql.runs import SILENT, Run, Runs


@pytest.fixture
async def runs(database_url: str) -> AsyncIterator[Runs]:
    opened = await Database.open(database_url, service="orchestrator")
    yield Runs(opened)
    await opened.close()


ONE, TWO = Run("r1", "n1", 10.0, 10.0), Run("r2", "n1", 20.0, 20.0)
OTHER = Run("o1", "n2", 15.0, 15.0)


async def test_one_that_ended_is_not_told_of(runs: Runs) -> None:
    assert await runs.begin(ONE) == []
    await runs.end("r1", 12.0)
    assert await runs.begin(TWO) == []


async def test_one_that_was_killed_is_told_of_once(runs: Runs) -> None:
    await runs.begin(ONE)
    await runs.seen("r1", 14.0)
    assert await runs.begin(TWO) == [replace(ONE, seen=14.0)]
    assert await runs.begin(TWO) == []
    await runs.end("r2", 21.0)
    assert await runs.begin(Run("r3", "n1", 30.0, 30.0)) == []


async def test_another_node_is_left_alone_while_it_lives(runs: Runs) -> None:
    await runs.begin(OTHER)
    assert await runs.begin(ONE) == []
    late = Run("r4", "n1", 15.0 + SILENT + 1, 15.0 + SILENT + 1)
    await runs.seen("r1", late.seen - 1)
    assert await runs.begin(late) == [OTHER, replace(ONE, seen=late.seen - 1)]
    await runs.seen("o1", late.seen)  # it was only cut off
    assert OTHER.id in {run.id for run in await runs.living(late.seen)}


async def test_who_lives(runs: Runs) -> None:
    await runs.begin(ONE)
    await runs.begin(OTHER)
    assert {run.id for run in await runs.living(16.0)} == {"r1", "o1"}
    await runs.end("r1", 17.0)
    assert await runs.living(18.0) == [OTHER]
    assert await runs.living(15.0 + SILENT + 1) == []


async def test_old_ones_are_pruned(runs: Runs) -> None:
    await runs.begin(ONE)
    await runs.end("r1", 12.0)
    await runs.begin(OTHER)
    assert await runs.prune(12.0) == 0
    assert await runs.prune(99.0) == 1
    assert await runs.living(16.0) == [OTHER]
