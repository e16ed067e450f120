"""A keyring that follows the store: at once by the bus, within two seconds without."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from fairlead.access.following import Following
from fairlead.access.keyring import Keyring
from fairlead.access.keys import KeyDigests
from fairlead.access.login import Browsers
from fairlead.access.roster import Roster
from fairlead.buses.memory import MemoryBus
from fairlead.kit.tasks import Tasks
from fairlead.model.access import Caller, Principal, Role
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.ports import NO_RECORDER, Bus, Identities, StoreAwayError
from fairlead.stores.sql.database import Database, sqlite_url
from fairlead.stores.sql.identities import SqlIdentityStore

DIGESTS = KeyDigests(b"m" * 32)


class Store(SqlIdentityStore):
    """Away when told so."""

    away = False
    reads = 0

    async def revision(self) -> int:
        self._check()
        return await super().revision()

    async def read(self) -> Identities:
        self._check()
        self.reads += 1
        return await super().read()

    def _check(self) -> None:
        if self.away:
            msg = "the test took it away"
            raise StoreAwayError(msg)


class Process:
    """What one process has of it."""

    def __init__(
        self, database: Database, bus: Bus, prepare: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        self.store = Store(database)
        self.keyring = Keyring(DIGESTS, Browsers(b"m" * 32))
        self.following = Following(self.keyring, self.store, bus, prepare=prepare or self._nothing)
        self.roster = Roster(self.store, DIGESTS, NO_RECORDER, self.following.changed)
        self.changes = 0
        self.following.on_changed = self._changed

    async def _nothing(self) -> None:
        pass

    def _changed(self) -> None:
        self.changes += 1

    def lets_in(self, value: str) -> bool:
        return isinstance(self.keyring.identify(value.encode()), Caller)


@contextlib.asynccontextmanager
async def following(*processes: Process) -> AsyncIterator[None]:
    failed: list[BaseException] = []
    tasks = Tasks(lambda _, error: failed.append(error))
    for process in processes:
        await process.following.start()
        tasks.spawn(process.following.run(tasks), "follow")
    try:
        yield
    finally:
        await tasks.close()
    assert failed == []


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = await Database.open(sqlite_url(tmp_path / "o.db"), service="orchestrator")
    yield opened
    await opened.close()


async def within(seconds: float, condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


async def key_of(process: Process) -> tuple[str, str]:
    await process.roster.put_principal(Principal("ada", Role.DEVELOPER), by="t")
    new = await process.roster.add_key("ada", by="t")
    return new.value, new.key.id


async def test_a_change_is_in_force_when_it_is_answered(database: Database):
    one = Process(database, MemoryBus())
    async with following(one):
        value, key_id = await key_of(one)
        assert one.lets_in(value)
        before = one.changes
        await one.roster.revoke_key(key_id, by="t")
        assert not one.lets_in(value)
        assert one.changes > before


async def test_others_hear_of_it_over_the_bus(database: Database, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("fairlead.access.following.LOOK", 3600.0)
    bus = MemoryBus()
    one, other = Process(database, bus), Process(database, bus)
    async with following(one, other):
        value, key_id = await key_of(one)
        await within(5, lambda: other.lets_in(value))
        await one.roster.revoke_key(key_id, by="t")
        await within(5, lambda: not other.lets_in(value))


async def test_without_a_bus_they_look_for_themselves(database: Database):
    one, other = Process(database, MemoryBus()), Process(database, MemoryBus())
    async with following(one, other):
        value, key_id = await key_of(one)
        await within(2, lambda: other.lets_in(value))
        await one.roster.revoke_key(key_id, by="t")
        await within(2, lambda: not other.lets_in(value))


async def test_what_did_not_change_is_not_read_again(database: Database, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("fairlead.access.following.LOOK", 0.01)
    one = Process(database, MemoryBus())
    looks = 0
    revision = SqlIdentityStore.revision

    async def counted(self: SqlIdentityStore) -> int:
        nonlocal looks
        looks += 1
        return await revision(self)

    monkeypatch.setattr(SqlIdentityStore, "revision", counted)
    async with following(one):
        await within(5, lambda: looks > 10)
        assert one.store.reads == 1


async def test_while_the_store_is_away_what_is_known_stays(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("fairlead.access.following.LOOK", 0.01)
    one, other = Process(database, MemoryBus()), Process(database, MemoryBus())
    async with following(one, other):
        value, key_id = await key_of(one)
        await within(5, lambda: other.lets_in(value))
        other.store.away = True
        await one.roster.revoke_key(key_id, by="t")
        await asyncio.sleep(0.05)
        assert other.lets_in(value)
        with pytest.raises(StoreAwayError):
            await other.roster.revoke_key(key_id, by="t")
        other.store.away = False
        await within(5, lambda: not other.lets_in(value))


async def test_a_start_without_the_store(database: Database, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("fairlead.access.following.LOOK", 0.01)
    one, other = Process(database, MemoryBus()), Process(database, MemoryBus())
    value, _ = await key_of(one)
    other.store.away = True
    async with following(other):
        assert not other.lets_in(value)
        other.store.away = False
        await within(5, lambda: other.lets_in(value))


async def test_a_store_that_is_not_to_be_used(database: Database):
    problem = ProblemError(Problem("wrong-key", "wrong", "why", 500, Fault.GATEWAY))

    async def prepare() -> None:
        raise problem

    one = Process(database, MemoryBus(), prepare)
    with pytest.raises(ProblemError, match="wrong"):
        await one.following.start()
    tasks = Tasks(lambda _, error: None)
    await asyncio.wait_for(one.following.run(tasks), 5)  # says so once, and follows no further
    await tasks.close()
    assert one.store.reads == 0
