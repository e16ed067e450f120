"""What every `SpecStore` keeps to, on each kind of database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from fairlead.ports import SavedSpec, SpecConflictError, SpecStore
from fairlead.stores.sql.database import Database
from fairlead.stores.sql.specs import SqlSpecStore

FIRST = SavedSpec(
    generation=1,
    at=10.0,
    by="ann",
    owner="file",
    accepted={"servers": {"zeta": {"command": "é"}, "alpha": {}}, "version": 1.5},
    overrides=[{"at": 1.0, "key": "servers.a.enabled", "value": False}],
    source="/etc/fleet.yml",
)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = await Database.open(database_url, service="orchestrator")
    yield opened
    await opened.close()


@pytest.fixture
def store(database: Database) -> SpecStore:
    return SqlSpecStore(database)


def later(generation: int) -> SavedSpec:
    return replace(FIRST, generation=generation, at=10.0 * generation)


async def test_none_is_there(store: SpecStore) -> None:
    assert await store.latest() is None
    assert await store.history(5) == []
    assert await store.prune(99.0) == 0


async def test_a_spec_comes_back_as_it_was(store: SpecStore) -> None:
    await store.save(FIRST, expected=0)
    found = await store.latest()
    assert found == FIRST
    assert list(found.accepted["servers"]) == ["zeta", "alpha"]  # type: ignore[index]
    none = replace(later(2), accepted=None, overrides=[], source="")
    await store.save(none, expected=1)
    assert await store.latest() == none
    assert await store.history(5) == [none, FIRST]
    assert await store.history(1) == [none]


async def test_generations_may_leap(store: SpecStore) -> None:
    await store.save(later(7), expected=0)
    await store.save(later(9), expected=7)
    assert [each.generation for each in await store.history(9)] == [9, 7]


async def test_another_was_first(store: SpecStore) -> None:
    await store.save(FIRST, expected=0)
    for spec, expected in ((replace(FIRST, by="bob"), 0), (later(2), 0), (later(3), 2)):
        with pytest.raises(SpecConflictError):
            await store.save(spec, expected=expected)
    assert await store.history(9) == [FIRST]


async def test_saving_again_what_is_there_does_no_harm(store: SpecStore) -> None:
    """The first answer was lost; and after that another process may have been there."""
    await store.save(FIRST, expected=0)
    await store.save(FIRST, expected=0)
    await store.save(later(2), expected=1)
    await store.save(FIRST, expected=0)
    assert [each.generation for each in await store.history(9)] == [2, 1]


async def test_of_many_one_wins(database_url: str) -> None:
    databases = [await Database.open(database_url, service="orchestrator") for _ in range(2)]
    stores = [SqlSpecStore(each) for each in databases * 4]
    for generation in range(1, 6):
        specs = [replace(later(generation), by=f"process {number}") for number in range(len(stores))]
        outcomes = await asyncio.gather(
            *(store.save(spec, expected=generation - 1) for store, spec in zip(stores, specs, strict=True)),
            return_exceptions=True,
        )
        assert sum(outcome is None for outcome in outcomes) == 1
        assert sum(isinstance(outcome, SpecConflictError) for outcome in outcomes) == len(stores) - 1
        assert await stores[0].latest() == specs[outcomes.index(None)]
    await asyncio.gather(*(each.close() for each in databases))


async def test_the_latest_stays(store: SpecStore) -> None:
    for generation in (1, 2, 3):
        await store.save(later(generation), expected=generation - 1)
    assert await store.prune(20.0) == 1
    assert await store.prune(99.0) == 1
    assert await store.history(9) == [later(3)]
    await store.save(later(4), expected=3)
