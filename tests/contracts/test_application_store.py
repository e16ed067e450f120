"""What every `ApplicationStore` keeps to: in memory, on each kind of database, with rows kept in memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from fairlead.model.gitops import DriftKind, Severity
from fairlead.model.reconciling import (
    ApplicationState,
    Base,
    DriftRow,
    DriftState,
    Hold,
    Intent,
    IntentState,
    Live,
)
from fairlead.ports import StoreAwayError
from fairlead.ports.gitops import ApplicationStore, RevisionConflictError
from fairlead.stores.retained import LIVE_LIMIT
from fairlead.stores.sql import changes
from fairlead.stores.sql.database import Database
from support.gitops_stores import KINDS, Stores, in_database, in_memory

LONG = "é/" * 4000  # longer than an index of PostgreSQL takes
ODD = "a\0b\N{SNOWMAN}\n'\""
FULL = ApplicationState(
    "app", "c2", "c1", "d1", 7, suspended_by="Ann é", suspended_at=1 / 3, proposal="fairlead/x"
)
ROW = DriftRow(
    "app", "fleet", "servers.a", DriftKind.CONFIGURATION, Severity.HIGH, DriftState.OPEN, "1", "2", None, 5.5
)


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
def store(stores: Stores) -> ApplicationStore:
    return stores.applications


def base(name: str, commit: str = "c1") -> Base:
    return Base(name, commit, bytes(range(256)), {"b": [1, 2.5, None, {"": ODD}], "a": 2**70})


# -- states and bases


async def test_nothing_is_there(store: ApplicationStore) -> None:
    assert await store.states() == {}
    assert await store.bases("app") == {}
    assert await store.intents("d1") == []
    assert await store.drift() == await store.drift("app") == []
    assert await store.kept_live("d1") == []
    assert await store.holds() == []
    assert await store.prune(time.time()) == 0
    assert not await store.remove_hold("app", "x")
    assert await store.set_drift("app", []) == ([], [])


async def test_a_state_comes_back_as_it_was_with_the_next_revision(store: ApplicationStore) -> None:
    saved = await store.save_state(FULL)
    assert saved == replace(FULL, revision=1)
    await store.save_state(ApplicationState("bare"))
    assert await store.states() == {"app": saved, "bare": ApplicationState("bare", revision=1)}
    again = await store.save_state(replace(saved, suspended_by=None))
    assert again == replace(FULL, suspended_by=None, revision=2)
    assert (await store.states())["app"] == again


async def test_a_stale_revision_is_refused(store: ApplicationStore) -> None:
    first = await store.save_state(FULL)
    second = await store.save_state(first)
    for stale in (FULL, first, replace(FULL, revision=3), ApplicationState("other", revision=1)):
        with pytest.raises(RevisionConflictError):
            await store.save_state(stale)
        with pytest.raises(RevisionConflictError):
            await store.finish(stale, [base("fleet")], [])
    assert await store.states() == {"app": second}
    assert await store.bases("app") == {}


async def test_of_many_one_wins(store: ApplicationStore) -> None:
    state = ApplicationState("app")
    for number in range(3):
        tries = [
            store.finish(replace(state, seen=f"c{each}"), [base("a", f"{number}-{each}")], [])
            for each in range(8)
        ]
        outcomes = await asyncio.gather(*tries, return_exceptions=True)
        (state,) = [each for each in outcomes if isinstance(each, ApplicationState)]
        assert sum(isinstance(each, RevisionConflictError) for each in outcomes) == 7
        assert await store.states() == {"app": state}
        assert (await store.bases("app"))["a"].commit == f"{number}-{str(state.seen)[1:]}"


async def test_bases_go_with_the_state(store: ApplicationStore) -> None:
    state = await store.finish(FULL, [base("b"), base(ODD), base(LONG)], [])
    await store.finish(ApplicationState("other"), [base("z")], ["nothing"])
    assert list(await store.bases("app")) == sorted(["b", ODD, LONG])
    assert (await store.bases("app"))[ODD] == base(ODD)
    state = await store.finish(state, [base("b", "c2"), base("c", "c2")], [ODD, "unknown"])
    assert await store.bases("app") == {"b": base("b", "c2"), "c": base("c", "c2"), LONG: base(LONG)}
    assert await store.bases("other") == {"z": base("z")}
    await store.finish(state, [base("b", "c3")], ["b"])
    assert (await store.bases("app"))["b"].commit == "c3"


async def test_what_is_given_out_is_the_callers_own(store: ApplicationStore) -> None:
    await store.finish(FULL, [base("b")], [])
    await store.set_drift("app", [ROW])
    await store.put_hold(Hold("app", "x", "ann", "", 1.0))
    (await store.states()).clear()
    (await store.bases("app")).clear()
    (await store.drift("app")).clear()
    (await store.holds()).clear()
    assert await store.states()
    assert await store.bases("app")
    assert await store.drift("app")
    assert await store.holds()


@pytest.mark.parametrize("odd", [ODD, LONG, "", "%", "App"])
async def test_names_that_nobody_has(store: ApplicationStore, odd: str) -> None:
    await store.finish(FULL, [base("b")], [])
    assert await store.bases(odd) == {}
    assert await store.drift(odd) == []
    assert await store.intents(odd) == []
    assert await store.kept_live(odd) == []
    assert not await store.remove_hold(odd, odd)


# -- the journal


async def test_intents_come_in_the_order_of_their_waves(store: ApplicationStore) -> None:
    planned = [
        Intent("d1", name, order, b"\0\xff") for name, order in ((ODD, 2), ("b", 1), ("a", 2), ("B", 2))
    ]
    await store.plan(planned)
    await store.plan([Intent("d2", "a", 1, b"")])
    await store.plan([])
    assert await store.intents("d1") == sorted(planned, key=lambda each: (each.order, each.object))
    await store.done("d1", ODD, 2)
    await store.done("d1", "b", 7)
    assert [each.object for each in await store.intents("d1") if each.state is IntentState.DONE] == [ODD]
    await store.forget_intents("d1")
    assert await store.intents("d1") == []
    assert await store.intents("d2") == [Intent("d2", "a", 1, b"")]


async def test_planning_again_replaces_what_is_not_done(store: ApplicationStore) -> None:
    await store.plan([Intent("d1", "a", 1, b"1"), Intent("d1", "b", 1, b"1")])
    await store.done("d1", "a", 1)
    await store.plan([Intent("d1", "a", 1, b"2"), Intent("d1", "b", 1, b"2"), Intent("d1", "c", 1, b"2")])
    assert await store.intents("d1") == [
        Intent("d1", "a", 1, b"1", IntentState.DONE),
        Intent("d1", "b", 1, b"2"),
        Intent("d1", "c", 1, b"2"),
    ]
    await store.plan([Intent("d1", "b", 1, b"3", IntentState.DONE)])  # taken over from another
    assert (await store.intents("d1"))[1] == Intent("d1", "b", 1, b"3", IntentState.DONE)


async def test_many_intents(store: ApplicationStore) -> None:
    planned = [Intent("d1", f"{number:05}", 1, b"x" * 100) for number in range(3000)]
    await store.plan(planned)
    assert await store.intents("d1") == planned


# -- drift


async def test_drift_says_what_is_new_and_what_is_gone(store: ApplicationStore) -> None:
    other = replace(ROW, object=ODD, key=LONG, by=ODD, message=ODD, live=f'"{ODD}"')
    assert await store.set_drift("app", [ROW, other]) == ([ROW, other], [])
    assert await store.drift("app") == sorted([ROW, other], key=lambda each: each.object)
    later = replace(ROW, since=99.0)
    assert await store.set_drift("app", [later, replace(other, since=99.0)]) == ([], [])
    changed = replace(ROW, live="3", state=DriftState.HELD)
    assert await store.set_drift("app", [replace(changed, since=99.0)]) == ([changed], [other])
    assert await store.drift("app") == [changed]
    assert await store.set_drift("app", []) == ([], [changed])
    assert await store.set_drift("app", [later]) == ([later], [])  # it is another one


async def test_drift_is_each_applications_own(store: ApplicationStore) -> None:
    other = replace(ROW, application="b")
    await store.set_drift("b", [other])
    await store.set_drift("app", [ROW, replace(ROW, key="")])
    assert await store.drift() == [replace(ROW, key=""), ROW, other]
    assert await store.drift("b") == [other]
    await store.set_drift("app", [])
    assert await store.drift() == [other]


# -- live versions and holds


async def test_live_versions_are_kept_the_newest_last(stores: Stores) -> None:
    store = stores.applications
    first = Live("a", "t1", bytes(range(256)), {"": ODD}, "why", {"a.b": ODD}, executable=True)
    second = Live("a", "t2", b"", {"b": 1, "a": 2})
    await store.keep_live("app", "d1", first)
    await stores.pass_by(1000)
    await store.keep_live("app", "d2", first)
    await store.keep_live("app", "d1", second)
    assert await store.kept_live("d1") == [first, second]
    assert [list(each.document) for each in await store.kept_live("d1")][1] == ["b", "a"]


async def test_old_live_versions_are_pruned(stores: Stores) -> None:
    store = stores.applications
    live = Live("a", "t1", b"x", {})
    await store.keep_live("app", "d1", live)
    await stores.pass_by(1000)
    await store.keep_live("app", "d2", live)
    now = 2000.0 if stores.database is None else time.time()
    assert await store.prune(now - 2000) == 0
    assert await store.prune(now - 500) == 1
    assert await store.kept_live("d1") == []
    assert await store.kept_live("d2") == [live]


async def test_a_live_version_that_is_too_large_is_noted(store: ApplicationStore) -> None:
    await store.keep_live("app", "d1", Live("a", "t1", b"x" * LIVE_LIMIT, {}))
    await store.keep_live("app", "d1", Live("a", "t2", b"x" * (LIVE_LIMIT + 1), {"": "x"}))
    whole, noted = await store.kept_live("d1")
    assert len(whole.content) == LIVE_LIMIT
    assert (noted.tag, noted.content, noted.document) == ("t2", b"", {})
    assert f"{LIVE_LIMIT + 1} bytes" in noted.problem


async def test_holds(store: ApplicationStore) -> None:
    hold = Hold("app", LONG, "ann", ODD, 5.5)
    other = Hold("app", "servers.**", "bob", "", 6.5)
    await store.put_hold(hold)
    await store.put_hold(other)
    await store.put_hold(replace(other, application="b"))
    await store.put_hold(replace(other, until=7.5))
    assert await store.holds() == [
        replace(other, until=7.5), hold, replace(other, application="b"),
    ]  # fmt: skip
    assert await store.remove_hold("app", LONG)
    assert not await store.remove_hold("app", LONG)
    assert len(await store.holds()) == 2


# -- leases


async def test_a_lease_has_one_holder_and_tokens_grow(stores: Stores) -> None:
    store = stores.applications
    assert await store.acquire(LONG, "one", 60) == 1
    assert await store.acquire(LONG, "two", 60) is None
    assert await store.acquire("another", "two", 60) == 1
    assert await store.acquire(LONG, "one", 60) == 2  # again: the same process, after a fault
    assert not await store.renew(LONG, "one", 1, 60)
    assert not await store.renew(LONG, "two", 2, 60)
    assert await store.renew(LONG, "one", 2, 60)
    await store.release(LONG, "one", 1)
    await store.release(LONG, "two", 2)
    assert await store.acquire(LONG, "two", 60) is None
    await store.release(LONG, "one", 2)
    assert not await store.renew(LONG, "one", 2, 60)
    assert await store.acquire(LONG, "two", 60) == 3
    await stores.pass_by(59)
    assert await store.acquire(LONG, "one", 60) is None
    await stores.pass_by(2)
    assert await store.acquire(LONG, "one", 60) == 4
    assert not await store.renew(LONG, "two", 3, 60)


async def test_one_that_has_expired_goes_on_while_nobody_took_it(stores: Stores) -> None:
    store = stores.applications
    assert await store.acquire("x", "one", 60) == 1
    await stores.pass_by(100)
    assert await store.renew("x", "one", 1, 60)
    assert await store.acquire("x", "two", 60) is None


async def test_of_many_one_gets_the_lease(store: ApplicationStore) -> None:
    for number in range(1, 4):
        got = await asyncio.gather(*(store.acquire("x", f"h{each}", 60) for each in range(8)))
        (token,) = [each for each in got if each is not None]
        assert token == number
        await store.release("x", f"h{got.index(token)}", token)


# -- databases that others use, too


async def test_what_another_process_writes_is_seen(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In PostgreSQL, whose writers may be several."""
    if database_url.startswith("sqlite"):
        pytest.skip("its one writer is this process")
    monkeypatch.setattr(changes, "FRESH", 0.0)
    databases = [await Database.open(database_url, service="gitops") for _ in range(2)]
    ours, theirs = (in_database(each, kept=True).applications for each in databases)
    assert await ours.states() == {}
    assert await ours.bases("app") == {}
    assert await ours.drift("app") == []
    assert await ours.holds() == []
    state = await theirs.finish(FULL, [base("a")], [])
    await theirs.set_drift("app", [ROW])
    await theirs.put_hold(Hold("app", "x", "ann", "", 1.0))
    assert await ours.states() == {"app": state}
    assert await ours.bases("app") == {"a": base("a")}
    assert await ours.drift("app") == [ROW]
    assert len(await ours.holds()) == 1
    await asyncio.gather(  # neither thinks that the other's change was its own
        ours.set_drift("app", []), theirs.finish(state, [], ["a"]), ours.remove_hold("app", "x")
    )
    assert await ours.bases("app") == await theirs.bases("app") == {}
    assert await theirs.drift("app") == await theirs.holds() == []
    with pytest.raises(RevisionConflictError):
        await ours.save_state(state)
    await asyncio.gather(*(each.close() for each in databases))


async def test_a_look_at_what_is_idle_asks_no_database(tmp_path: Path) -> None:
    database = await Database.open(f"sqlite:///{tmp_path / 'gitops.db'}", service="gitops")
    store = in_database(database, kept=True).applications
    await store.finish(FULL, [base("a")], [])
    await store.set_drift("app", [ROW])

    async def look() -> None:
        assert len(await store.states()) == len(await store.bases("app")) == 1
        assert await store.drift("app") == [ROW]
        assert await store.holds() == []
        assert await store.set_drift("app", [ROW]) == ([], [])

    await look()
    transactions = 0
    whole = Database._transaction

    def counted(self, *arguments, **options):
        nonlocal transactions
        transactions += 1
        return whole(self, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Database, "_transaction", counted)
        await look()
        assert transactions == 0
        await store.put_hold(Hold("b", "x", "ann", "", 1.0))
        await store.holds()
        assert transactions == 2
    await database.close()


async def test_a_database_that_is_away(stores: Stores) -> None:
    if stores.database is None:
        pytest.skip("memory is never away")
    store = stores.applications
    await store.finish(FULL, [base("a")], [])
    await store.bases("app")
    await stores.database.close()
    stores.database.problem = "gone"
    for asked in (store.states(), store.bases("app"), store.drift("app"), store.holds(), store.drift()):
        with pytest.raises(StoreAwayError):
            await asked
    with pytest.raises(StoreAwayError):
        await store.acquire("x", "one", 60)
