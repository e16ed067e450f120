"""What every `ports.IdentityStore` does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from fairlead.model.access import ApiKey, Effect, Grant, Principal, Role
from fairlead.ports import IdentityStore, StoreAwayError, WebSession
from fairlead.stores.sql.database import Database
from fairlead.stores.sql.identities import SqlIdentityStore

GRANTS = (Grant(servers=("docs", "file*")), Grant(Effect.DENY, tools=("delete_*",), toolsets=("x",)))
ADA = Principal("ada", Role.DEVELOPER, GRANTS, created=1000.25)
BOB = Principal("bob", Role.ADMIN, created=1001.0)
KEY = ApiKey("k1", "ada", b"\x00" + b"d" * 31, "laptop", 1002.5, 2000.0)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = await Database.open(database_url, service="orchestrator")
    yield opened
    await opened.close()


@pytest.fixture
def store(database: Database) -> IdentityStore:
    return SqlIdentityStore(database)


def session(name: str, principal: str = "", *, expires: float = 5000.0) -> WebSession:
    return WebSession(name, principal, name.encode() * 8, 1000.0, expires)


async def test_empty_at_first(store):
    found = await store.read()
    assert (found.principals, found.keys, found.web_sessions) == ((), (), ())
    assert found.revision == await store.revision()


async def test_what_is_kept_comes_back_as_it_was(store):
    await store.put_principal(BOB)
    await store.put_principal(ADA)
    assert await store.add_key(KEY)
    found = await store.read()
    assert found.principals == (ADA, BOB)
    assert found.keys == (KEY,)


async def test_a_principal_is_changed_and_keeps_when_it_was_made(store):
    await store.put_principal(ADA)
    changed = replace(ADA, role=Role.VIEWER, grants=(), disabled=True, created=9.0)
    await store.put_principal(changed)
    assert (await store.read()).principals == (replace(changed, created=ADA.created),)


async def test_a_key_needs_its_principal(store):
    """Else it would let in whoever gets the name later."""
    assert not await store.add_key(KEY)
    await store.put_principal(ADA)
    assert (await store.read()).keys == ()


async def test_a_key_can_be_added_twice_over(store):
    """Whoever does not know whether it was kept asks again."""
    await store.put_principal(ADA)
    assert await store.add_key(KEY)
    assert await store.add_key(KEY)
    assert (await store.read()).keys == (KEY,)


async def test_revoking_keeps_the_first_time(store):
    await store.put_principal(ADA)
    await store.add_key(KEY)
    assert await store.revoke_key("k1", 1500.5)
    assert await store.revoke_key("k1", 1600.0)
    assert (await store.read()).keys == (replace(KEY, revoked=1500.5),)
    assert not await store.revoke_key("other", 1.0)


async def test_with_a_principal_goes_all_that_is_his(store):
    for principal in (ADA, BOB):
        await store.put_principal(principal)
        await store.add_key(
            replace(KEY, id=principal.name, principal=principal.name, digest=principal.name.encode())
        )
        await store.put_credential(principal.name, "docs", b"sealed", 1.0)
        await store.add_login_code(session(f"c-{principal.name}", principal.name))
        await store.add_login_code(session(f"d-{principal.name}", principal.name))
        await store.use_login_code(session(f"d-{principal.name}").digest, session(f"s-{principal.name}"), 1.0)
    assert await store.remove_principal("ada")
    found = await store.read()
    assert [p.name for p in found.principals] == ["bob"]
    assert [k.principal for k in found.keys] == ["bob"]
    assert [s.principal for s in found.web_sessions] == ["bob"]
    assert await store.credentials("ada") == []
    assert await store.credentials("bob") == [("docs", 1.0)]
    assert await store.use_login_code(session("c-ada").digest, session("late"), 1.0) is None
    assert not await store.remove_principal("ada")


async def test_a_login_code_is_good_once(store):
    await store.add_login_code(session("code", "local"))
    assert (await store.read()).web_sessions == ()
    assert await store.use_login_code(session("code").digest, session("s1"), 1000.0) == "local"
    assert await store.use_login_code(session("code").digest, session("s2"), 1000.0) is None
    assert (await store.read()).web_sessions == (session("s1", "local"),)
    assert await store.end_web_session("s1")
    assert not await store.end_web_session("s1")
    assert (await store.read()).web_sessions == ()


async def test_two_who_use_a_code_at_once(store):
    await store.add_login_code(session("code", "ada"))
    digest = session("code").digest
    used = await asyncio.gather(*(store.use_login_code(digest, session(f"s{n}"), 1.0) for n in range(4)))
    assert sorted(used, key=str) == [None, None, None, "ada"]
    assert len((await store.read()).web_sessions) == 1


@pytest.mark.parametrize(("now", "good"), [(1999.0, True), (2000.0, False), (2001.0, False)])
async def test_a_login_code_ends(store, now, good):
    await store.add_login_code(session("code", "ada", expires=2000.0))
    assert (await store.use_login_code(session("code").digest, session("s"), now) is not None) == good


async def test_a_session_is_no_code_and_a_code_no_session(store):
    await store.add_login_code(session("code", "ada"))
    await store.use_login_code(session("code").digest, session("s"), 1.0)
    assert await store.use_login_code(session("s").digest, session("t"), 1.0) is None


async def test_what_is_over_goes_with_the_next_code(store):
    await store.add_login_code(session("old", "ada", expires=999.0))
    await store.add_login_code(session("new", "ada"))
    assert await store.use_login_code(session("old").digest, session("s"), 1.0) is None


async def test_credentials(store):
    await store.put_credential("ada", "docs", b"\x00\xff1", 5.5)
    await store.put_credential("ada", "docs", b"2", 6.5)
    await store.put_credential("ada", "a", b"3", 7.0)
    assert await store.credential("ada", "docs") == b"2"
    assert await store.credential("bob", "docs") is None
    assert await store.credentials("ada") == [("a", 7.0), ("docs", 6.5)]
    assert await store.remove_credential("ada", "docs")
    assert not await store.remove_credential("ada", "docs")
    assert await store.credential("ada", "docs") is None


async def test_each_change_raises_the_revision(store):
    await store.put_principal(ADA)
    await store.add_login_code(session("code", "ada"))
    changes = (
        lambda: store.put_principal(BOB),
        lambda: store.add_key(KEY),
        lambda: store.revoke_key("k1", 3.0),
        lambda: store.use_login_code(session("code").digest, session("s"), 1.0),
        lambda: store.end_web_session("s"),
        lambda: store.put_credential("ada", "docs", b"1", 1.0),
        lambda: store.remove_credential("ada", "docs"),
        lambda: store.remove_principal("ada"),
    )
    for change in changes:
        before = await store.revision()
        await change()
        assert await store.revision() > before
    assert (await store.read()).revision == await store.revision()


async def test_changes_of_several_processes_do_not_get_lost(store, database_url):
    other = await Database.open(database_url, service="orchestrator")
    try:
        stores = (store, SqlIdentityStore(other))
        people = [Principal(f"p{n}", Role.VIEWER) for n in range(20)]
        await asyncio.gather(*(stores[n % 2].put_principal(p) for n, p in enumerate(people)))
        assert len((await store.read()).principals) == 20
        assert await store.revision() >= 20
    finally:
        await other.close()


async def test_away_is_said(store, database):
    await database.close()
    with pytest.raises(StoreAwayError):
        await store.read()
    with pytest.raises(StoreAwayError):
        await store.put_principal(ADA)


async def test_a_session_bears_what_its_codes_id_begins_with(store):
    await store.add_login_code(replace(session("code", "ada"), id="k1.code"))
    await store.use_login_code(session("code").digest, session("s1"), 1.0)
    assert (await store.read()).web_sessions == (replace(session("s1", "ada"), id="k1.s1"),)
