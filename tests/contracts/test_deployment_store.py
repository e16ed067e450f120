"""What every `DeploymentStore` keeps to: in memory, on each kind of database, with rows kept in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from fairlead.model.gitops import Environment
from fairlead.model.reconciling import (
    Blocked,
    Deployment,
    DeploymentReason,
    DeploymentState,
    Step,
    StepName,
)
from fairlead.ports.gitops import DeploymentStore, RevisionConflictError
from fairlead.stores.retained import KEPT
from fairlead.stores.sql import changes
from fairlead.stores.sql.database import Database
from support.gitops_stores import KINDS, Stores, in_database, in_memory

ODD = "a\0b\N{SNOWMAN}\n'\""
FULL = Deployment(
    "d1",
    "app",
    Environment.STAGING,
    "c2",
    "c1",
    DeploymentReason.PROMOTION,
    "ann",
    DeploymentState.RUNNING,
    1 / 3,
    author="Ada <ada@x>",
    steps=(Step(StepName.FETCH, 1.0, 2.0, ODD), Step(StepName.VERIFY, 2.0, error=ODD)),
    difference=ODD * 1000,
    approved_by=("bob", "é"),
    message=ODD,
)
UNFINISHED = (DeploymentState.PENDING, DeploymentState.RUNNING, DeploymentState.WAITING)


@pytest.fixture(params=KINDS)
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stores]:
    kind, _, kept = request.param.partition(" ")
    if kind == "memory":
        yield in_memory()
        return
    postgres = kind == "postgresql"
    url = request.getfixturevalue("postgres_url") if postgres else f"sqlite:///{tmp_path / 'gitops.db'}"
    database = await Database.open(url, service="gitops")
    yield in_database(database, kept=bool(kept))
    await database.close()


@pytest.fixture
def store(stores: Stores) -> DeploymentStore:
    return stores.deployments


def made(number: int, application: str = "app", *, ended: bool = True) -> Deployment:
    state = DeploymentState.SUCCEEDED if ended else DeploymentState.WAITING
    end = number + 0.5 if ended else None
    return replace(
        FULL, id=f"d{number:04}", application=application, created=float(number), state=state, ended=end
    )


async def ids(store: DeploymentStore, **options) -> list[str]:
    return [each.id for each in await store.search(**options)]


async def test_nothing_is_there(store: DeploymentStore) -> None:
    assert await store.get("d1") is None
    assert await store.search() == await store.search(application="app", states=UNFINISHED) == []
    assert await store.blocked("app") == []
    assert not await store.unblock("app", "c1")
    assert await store.prune(99.0) == 0
    with pytest.raises(RevisionConflictError):
        await store.update(FULL)


async def test_one_comes_back_as_it_was_and_changes_with_its_revision(store: DeploymentStore) -> None:
    await store.add(FULL)
    assert await store.get("d1") == FULL
    assert await store.search(application="app", states=UNFINISHED) == [FULL]
    second = await store.update(replace(FULL, message="on its way"))
    assert second == replace(FULL, message="on its way", revision=1)
    for stale in (FULL, replace(FULL, revision=2)):
        with pytest.raises(RevisionConflictError):
            await store.update(stale)
    assert await store.search(application="app", states=UNFINISHED) == [second] == await store.search()
    ended = await store.update(replace(second, state=DeploymentState.FAILED, ended=9.5))
    assert await store.get("d1") == ended
    assert await store.search(application="app", states=UNFINISHED) == []
    assert await store.search(application="app", states=[DeploymentState.FAILED]) == [ended]


async def test_adding_again_does_no_harm_and_replaces_nothing(store: DeploymentStore) -> None:
    await store.add(FULL)
    await store.add(FULL)
    with pytest.raises(RevisionConflictError):
        await store.add(replace(FULL, commit="c3"))
    assert await store.search() == [FULL]


async def test_of_many_one_wins(store: DeploymentStore) -> None:
    await store.add(FULL)
    row = FULL
    for _ in range(3):
        tries = [store.update(replace(row, message=str(number))) for number in range(8)]
        outcomes = await asyncio.gather(*tries, return_exceptions=True)
        (row,) = [each for each in outcomes if isinstance(each, Deployment)]
        assert sum(isinstance(each, RevisionConflictError) for each in outcomes) == 7
        assert await store.get("d1") == row
        assert await store.search(application="app", states=UNFINISHED) == [row]


async def test_searching(store: DeploymentStore) -> None:
    for number in (3, 1, 2):
        await store.add(made(number))
        await store.add(made(number + 10, "other", ended=False))
    await store.add(replace(made(4), created=3.0))  # at the same time: by the id
    assert await ids(store) == ["d0013", "d0012", "d0011", "d0004", "d0003", "d0002", "d0001"]
    assert await ids(store, limit=2) == ["d0013", "d0012"]
    assert await ids(store, application="app") == ["d0004", "d0003", "d0002", "d0001"]
    assert await ids(store, application="app", before=3.0) == ["d0002", "d0001"]
    assert await ids(store, states=UNFINISHED, limit=1) == ["d0013"]
    assert await ids(store, application="other", states=UNFINISHED, limit=2) == ["d0013", "d0012"]
    assert await ids(store, application="other", states=UNFINISHED, before=12.0) == ["d0011"]
    assert await ids(store, application="other", states=[DeploymentState.PENDING]) == []
    both = [DeploymentState.SUCCEEDED, DeploymentState.WAITING]
    assert len(await ids(store, states=both)) == 7


@pytest.mark.parametrize("odd", [ODD, "é" * 9000, "", "%"])
async def test_names_that_nobody_has(store: DeploymentStore, odd: str) -> None:
    await store.add(FULL)
    assert await store.get(odd) is None
    assert await store.search(application=odd) == []
    assert await store.search(application=odd, states=UNFINISHED) == []
    assert await store.blocked(odd) == []
    assert not await store.unblock(odd, odd)


async def test_blocked_commits(store: DeploymentStore) -> None:
    first, second = Blocked("app", "c1", 2.0, ODD), Blocked("app", "c2", 1.0, "")
    await store.block(first)
    assert await store.blocked("app") == [first]
    await store.block(second)
    await store.block(replace(first, application="other"))
    assert await store.blocked("app") == [second, first]
    await store.block(replace(first, at=0.5))
    assert await store.blocked("app") == [replace(first, at=0.5), second]
    assert await store.unblock("app", "c1")
    assert not await store.unblock("app", "c1")
    assert await store.blocked("app") == [second]
    assert await store.blocked("other") == [replace(first, application="other")]


async def test_the_last_of_each_application_stay_and_what_has_not_ended(store: DeploymentStore) -> None:
    for number in range(KEPT + 5):
        await store.add(made(number, ended=number != 1))
    for number in range(100, 100 + KEPT):
        await store.add(made(number, "other"))
    assert await store.prune(1.0) == 1  # d0000, which ended at 0.5
    assert await store.prune(999.0) == 3
    left = await ids(store, application="app", limit=100)
    assert left == [*(f"d{number:04}" for number in range(KEPT + 4, 4, -1)), "d0001"]
    assert len(await ids(store, application="other", limit=100)) == KEPT
    assert await store.prune(999.0) == 0


async def test_what_another_process_writes_is_seen(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "FRESH", 0.0)
    databases = [await Database.open(postgres_url, service="gitops") for _ in range(2)]
    ours, theirs = (in_database(each, kept=True).deployments for each in databases)
    assert await ours.search(application="app", states=UNFINISHED) == []
    assert await ours.blocked("app") == []
    await theirs.add(FULL)
    await theirs.block(Blocked("app", "c1", 1.0, ""))
    assert await ours.search(application="app", states=UNFINISHED) == [FULL]
    assert len(await ours.blocked("app")) == 1
    changed = await ours.update(FULL)
    assert await theirs.search(application="app", states=UNFINISHED) == [changed]
    await asyncio.gather(*(each.close() for each in databases))


async def test_what_each_look_asks_is_found_by_an_index(tmp_path: Path) -> None:
    asked = {
        "deployments": "application = 'a' AND state IN ('pending', 'running') ORDER BY created DESC",
        "bases": "application = 'a'",
        "drift": "application = 'a'",
        "blocked": "application = 'a'",
        "intents": "deployment = 'a'",
        "live_versions": "deployment = 'a'",
    }
    database = await Database.open(f"sqlite:///{tmp_path / 'gitops.db'}", service="gitops")
    async with database.read() as connection:
        for table, where in asked.items():
            question = f"EXPLAIN QUERY PLAN SELECT * FROM {table} WHERE {where}"
            (first, *_) = (await connection.exec_driver_sql(question)).all()
            assert first[3].startswith(f"SEARCH {table} USING INDEX"), first
    await database.close()
