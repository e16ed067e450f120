"""What every `EventLog` keeps to, on each kind of database: no gap in the sequence, whatever happens."""

from __future__ import annotations

import asyncio
import itertools
import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import Engine
from sqlalchemy.event import listen, remove
from sqlalchemy.util import await_

from fairlead.model.access import Caller, Role
from fairlead.model.events import Event, EventType, StoredEvent
from fairlead.ports import EventLog, StoreAwayError
from fairlead.stores.sql.database import Database, sqlite_url
from fairlead.stores.sql.events import SqlEventLog
from fairlead.stores.sql.tables import EVENTS
from fairlead.web.live_filter import may_see
from support.event_logs import MemoryEventLog
from support.servers import PostgresServer, running_postgres
from support.until import until

GUARD = 60.0  # s


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[SqlEventLog]:
    database = await Database.open(url, service="orchestrator")
    try:
        yield SqlEventLog(database)
    finally:
        await database.close()


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
async def log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[EventLog]:
    """Each kind, and the fake of other tests."""
    if request.param == "memory":
        yield MemoryEventLog()
        return
    sqlite = request.param == "sqlite"
    async with opened(
        sqlite_url(tmp_path / "test.db") if sqlite else request.getfixturevalue("postgres_url")
    ) as log:
        yield log


def events(count: int, *, at: float = 1.0, subject: str = "echo") -> list[Event]:
    return [
        Event(
            EventType.CONFIG_CHANGED, "urn:fairlead:test", subject, {"number": number, "of": ["é", None]}, at
        )
        for number in range(count)
    ]


def numbers(stored: Sequence[StoredEvent]) -> list[int]:
    return [each.sequence for each in stored]


async def test_events_are_numbered_from_one(log: EventLog) -> None:
    assert await log.bounds() == (1, 0)
    first, second = events(3), events(2)
    assert await log.append(first) == [StoredEvent(n, e) for n, e in enumerate(first, 1)]
    assert numbers(await log.append(second)) == [4, 5]
    assert await log.append([]) == []
    assert await log.bounds() == (1, 5)


async def test_the_epoch_stays(database_url: str) -> None:
    found = set()
    for _ in range(2):
        async with opened(database_url) as one, opened(database_url) as other:
            found |= set(await asyncio.gather(one.epoch(), other.epoch(), one.epoch()))
            await one.append(events(1))
            found.add(await one.epoch())
    (epoch,) = found
    assert re.fullmatch("[0-9a-f-]{16,64}", epoch)


async def test_the_epoch_is_another_one_when_a_standby_has_taken_over() -> None:
    """Here it has not even lost anything, which nobody could tell."""
    with running_postgres() as server:
        async with opened(server.url()) as log:
            await log.append(events(3))
            before = await log.epoch()
            await asyncio.to_thread(server.stop)
            standby = server.root / "data" / "standby.signal"
            standby.touch()
            shutil.chown(standby, server.root.stat().st_uid)
            await asyncio.to_thread(server.start)
            await until(lambda: log._database.available or log._database.problem)
            assert numbers(await log.read(0, 9)) == [1, 2, 3]
            assert await log.epoch() == ""
            await asyncio.to_thread(server.run, "SELECT pg_promote()")
            after = await log.epoch()
            assert after != before
            assert after.partition("-")[0] == before.partition("-")[0]


async def test_a_postgresql_that_does_not_tell_its_timeline(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    name = postgres_url.rpartition("/")[2]
    postgres_server.run("CREATE ROLE restricted LOGIN", name)
    try:
        postgres_server.run(f"GRANT ALL ON DATABASE {name} TO restricted", name)
        revoke = "REVOKE EXECUTE ON FUNCTION pg_current_wal_lsn() FROM PUBLIC"
        postgres_server.run(revoke, name)
        async with opened(postgres_url.replace("fairlead@", "restricted@")) as log:
            assert re.fullmatch("[0-9a-f]{16}", await log.epoch())
    finally:
        postgres_server.run("DROP OWNED BY restricted CASCADE; DROP ROLE restricted", name)


async def test_they_are_read_as_they_were_written(log: EventLog) -> None:
    stored = await log.append(events(5))
    assert await log.read(0, 100) == stored
    assert await log.read(2, 2) == stored[2:4]
    assert await log.read(5, 100) == []


async def test_one_that_is_kept_keeps_its_number(log: EventLog) -> None:
    first = await log.append(events(3))
    again = [first[1].event, *events(1), first[0].event]
    assert numbers(await log.append(again)) == [2, 4, 1]
    assert numbers(await log.append([each.event for each in first])) == [1, 2, 3]
    twice = events(1) * 2
    assert numbers(await log.append(twice)) == [5, 5]
    assert numbers(await log.read(0, 10)) == [1, 2, 3, 4, 5]
    assert await log.bounds() == (1, 5)


async def test_any_text_can_be_kept(log: EventLog) -> None:
    """One that could not be would hold up all that come after it."""
    if isinstance(log, MemoryEventLog):
        pytest.skip("it keeps the events themselves")
    odd = [
        Event(EventType.INSTANCE_LOST, "s" * 999, "\0nul \ud800" * 99, {"a\0": "\ud800", "b": {1, 2}}, 1.0),
        Event(EventType.INSTANCE_LOST, "", "", {"not a number": float("nan"), "large": 2**70}, 1.0),
    ]
    await log.append(odd)
    found = await log.read(0, 10)
    assert numbers(found) == [1, 2]
    assert found[0].event.subject.startswith("\ufffdnul ?")
    assert found[0].event.data["a\0"] == "?"
    assert found[1].event.data["not a number"] is None
    for each in found:
        assert each.document()["sequence"] == str(each.sequence)


async def test_pruning_goes_on_with_the_sequence(log: EventLog) -> None:
    await log.append([*events(3, at=10.0), *events(2, at=20.0)])
    assert await log.prune(10.0) == 0
    assert await log.prune(15.0) == 3
    assert await log.bounds() == (4, 5)
    assert numbers(await log.read(0, 10)) == [4, 5]
    assert await log.prune(99.0) == 2
    assert await log.bounds() == (6, 5)
    assert await log.prune(99.0) == 0
    assert numbers(await log.append(events(1))) == [6]


async def test_pruning_leaves_no_gap(log: EventLog) -> None:
    """A clock that was set back: an old event stands behind a young one."""
    await log.append([*events(1, at=10.0), *events(1, at=30.0), *events(1, at=10.0), *events(1, at=30.0)])
    assert await log.prune(20.0) == 1
    assert numbers(await log.read(0, 10)) == [2, 3, 4]


async def test_many_are_pruned_in_parts(log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fairlead.stores.sql.events._PRUNED_AT_ONCE", 10)
    await log.append([*events(35, at=10.0), *events(1, at=30.0)])
    assert await log.prune(20.0) == 35
    assert await log.bounds() == (36, 36)


async def test_what_is_appended_while_all_is_pruned_stays(database_url: str) -> None:
    database = await Database.open(database_url, service="orchestrator")
    log, added = SqlEventLog(database), []
    await log.append(events(3, at=10.0))

    def about_to(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("DELETE") and not added:
            added.append(asyncio.create_task(log.append(events(1, at=30.0))))
            await_(asyncio.sleep(0.3))

    listen(Engine, "before_cursor_execute", about_to)
    try:
        assert await log.prune(20.0) == 3
        await added[0]
        assert numbers(await log.read(0, 10)) == [4]
    finally:
        remove(Engine, "before_cursor_execute", about_to)
        await database.close()


async def test_a_type_that_only_a_newer_version_knows(database_url: str) -> None:
    database = await Database.open(database_url, service="orchestrator")
    log = SqlEventLog(database)
    await log.append(events(2))
    async with database.write() as connection:
        await connection.execute(EVENTS.update().where(EVENTS.c.sequence == 1).values(type="from-tomorrow"))
    found = await log.read(0, 10)
    assert [each.event.type.value for each in found] == ["from-tomorrow", "config-changed"]
    assert [each.event.type in EventType for each in found] == [False, True]
    assert [may_see(Caller("v", Role.VIEWER), each) for each in found] == [False, True]
    assert "from-tomorrow" in msgspec.json.encode(found[0].document()).decode()
    await database.close()


async def test_one_that_failed_takes_no_number(database_url: str) -> None:
    async with opened(database_url) as log:
        begun = asyncio.Event()

        async def lost() -> None:
            async with log._database.write() as connection:
                from fairlead.stores.sql import events as module

                await module._append(connection, events(5))
                begun.set()
                await asyncio.sleep(GUARD)

        writing = asyncio.get_running_loop().create_task(lost())
        await begun.wait()
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        assert numbers(await log.append(events(1))) == [1]


async def test_writers_at_once(database_url: str) -> None:
    """Two engines, eight writers, some cancelled in the middle; a reader beside them never sees a gap."""
    async with opened(database_url) as one, opened(database_url) as other:
        seen: list[int] = []
        done = asyncio.Event()

        async def read() -> None:
            while not done.is_set() or await other.read(len(seen), 1):
                found = numbers(await other.read(len(seen), 100))
                assert found == list(range(len(seen) + 1, len(seen) + 1 + len(found)))
                seen.extend(found)

        given: list[int] = []

        async def write(log: EventLog, seed: int) -> None:
            rng = random.Random(seed)
            for _ in range(12):
                batch = events(rng.randint(1, 5), subject=str(seed))
                appending = asyncio.get_running_loop().create_task(log.append(batch))
                if rng.random() < 0.3:
                    await asyncio.sleep(rng.random() / 100)
                    appending.cancel()
                    await asyncio.gather(appending, return_exceptions=True)
                    given.extend(numbers(await log.append(batch)))  # its outcome was unknown
                else:
                    given.extend(numbers(await appending))

        reading = asyncio.get_running_loop().create_task(read())
        await asyncio.gather(*(write(log, seed) for seed, log in enumerate([one, other] * 4)))
        done.set()
        await reading
        assert sorted(given) == seen == list(range(1, len(seen) + 1))


WRITER = """
import asyncio, sys
from fairlead.model.events import Event, EventType
from fairlead.ports import StoreAwayError
from fairlead.stores.sql.database import Database
from fairlead.stores.sql.events import SqlEventLog

async def main(url, name):
    log = SqlEventLog(await Database.open(url, service="orchestrator"))
    for number in range(10**9):
        batch = [Event(EventType.SYNC_STARTED, name, f"{number}.{part}", {}, 1.0) for part in range(3)]
        try:
            stored = await log.append(batch)
        except StoreAwayError:
            continue
        print(*(each.sequence for each in stored), flush=True)
asyncio.run(main(*sys.argv[1:]))
"""


class Writer:
    """A process that appends as fast as it can and says which numbers it was given."""

    def __init__(self, url: str, name: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WRITER, url, name],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def acknowledged(self, lines: int) -> list[int]:
        assert self.process.stdout is not None
        found = [line for line in itertools.islice(self.process.stdout, lines) if line[0].isdigit()]
        return [int(word) for line in found for word in line.split()]

    def kill(self) -> list[int]:
        self.process.send_signal(signal.SIGKILL)
        out, _ = self.process.communicate(timeout=GUARD)
        whole = [line for line in out.splitlines(keepends=True) if line.endswith("\n") and line[0].isdigit()]
        return [int(word) for line in whole for word in line.split()]


def test_writers_that_are_killed(database_url: str) -> None:
    """Two processes, killed with SIGKILL again and again: no gap, no double, all that was told is there."""
    told: list[int] = []
    rng = random.Random(7)
    survivor = Writer(database_url, "survivor")
    told += survivor.acknowledged(5)
    for number in range(4):
        victim = Writer(database_url, f"victim{number}")
        told += victim.acknowledged(rng.randint(3, 30))
        told += victim.kill()
        told += survivor.acknowledged(5)
    told += survivor.kill()

    async def check() -> None:
        async with opened(database_url) as log:
            kept = await log.read(0, 10**6)
            assert numbers(kept) == list(range(1, len(kept) + 1))
            assert (await log.bounds())[1] == len(kept)
            assert len(told) == len(set(told))
            assert set(told) <= set(numbers(kept))
            by_batch = [(each.event.source, each.event.subject.split(".")[0]) for each in kept]
            assert all(
                len(set(by_batch[at : at + 3])) == 1 for at in range(0, len(by_batch), 3)
            )  # all or none

    asyncio.run(check())


async def test_a_database_that_is_closed(database_url: str) -> None:
    async with opened(database_url) as log:
        await log.append(events(1))
    for call in (log.append(events(1)), log.read(0, 1), log.bounds(), log.prune(9.0)):
        with pytest.raises(StoreAwayError):
            await call
