"""What every `TrendStore` keeps to, on each kind of database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from fairlead.ports import Trend, TrendStore
from fairlead.stores.sql.database import Database
from fairlead.stores.sql.trends import SqlTrendStore


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[TrendStore]:
    opened = await Database.open(database_url, service="orchestrator")
    yield SqlTrendStore(opened)
    await opened.close()


def trend(at: float, *, node: str = "n1", server: str = "echo", seconds: int = 60) -> Trend:
    return Trend(at, seconds, node, server, {"calls": at, "p99": 0.25})


async def test_none_are_there(store: TrendStore) -> None:
    await store.add([])
    assert await store.read("echo", since=0, until=9, seconds=60) == []
    assert await store.prune(9) == 0


async def test_what_is_read(store: TrendStore) -> None:
    rows = [trend(60 * number, node=node) for number in range(4) for node in ("n1", "n2")]
    await store.add([*rows, trend(60, server=""), trend(60, server="other"), trend(0, seconds=3600)])
    assert await store.read("echo", since=60, until=180, seconds=60) == rows[2:6]
    assert await store.read("", since=0, until=999, seconds=60) == [trend(60, server="")]
    assert await store.read("echo", since=0, until=999, seconds=3600) == [trend(0, seconds=3600)]


async def test_the_same_again_takes_its_place(store: TrendStore) -> None:
    await store.add([trend(60)])
    changed = replace(trend(60), values={"calls": 7.0})
    await store.add([changed, trend(120)])
    assert await store.read("echo", since=0, until=999, seconds=60) == [changed, trend(120)]


async def test_old_ones_are_pruned(store: TrendStore) -> None:
    await store.add([trend(60 * number) for number in range(4)])
    assert await store.prune(120) == 2
    assert await store.read("echo", since=0, until=999, seconds=60) == [trend(120), trend(180)]
