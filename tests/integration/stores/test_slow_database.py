"""What is slow holds up nothing else, and is no sign that the database is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from fairlead.model.events import Event, EventType
from fairlead.ports import StoreAwayError, StoreSlowError
from fairlead.stores.sql import database as database_module
from fairlead.stores.sql.database import Database
from fairlead.stores.sql.engines import TIMEOUT
from fairlead.stores.sql.events import SqlEventLog
from fairlead.stores.sql.tables import FACTS
from support.servers import cuttable_proxy
from support.until import until

READS = 8  # more than there are connections


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = await Database.open(database_url, service="orchestrator")
    yield opened
    await opened.close()


async def count(connection: AsyncConnection) -> None:
    await connection.execute(FACTS.select())


async def read_and(
    database: Database, then: Callable[[AsyncConnection], Awaitable[None]], *, seconds: float = TIMEOUT
) -> None:
    async with database.read(seconds=seconds) as connection:
        await count(connection)
        await then(connection)


async def test_reads_that_take_long_do_not_hold_up_appends(database: Database) -> None:
    reading, go_on = asyncio.Semaphore(0), asyncio.Event()

    async def read() -> None:
        async with database.read() as connection:
            await count(connection)
            reading.release()
            await go_on.wait()

    reads = [asyncio.get_running_loop().create_task(read()) for _ in range(READS)]
    for _ in range(4):  # all connections that there are for reading
        await reading.acquire()
    event = Event(EventType.SYNC_STARTED, "s", "", {}, 1.0)
    async with asyncio.timeout(2):
        assert [each.sequence for each in await SqlEventLog(database).append([event])] == [1]
    assert not any(read.done() for read in reads)
    go_on.set()
    await asyncio.gather(*reads)


async def test_a_backup_does_not_hold_up_reads(postgres_url: str) -> None:
    database = await Database.open(postgres_url, service="orchestrator")
    reading, go_on = asyncio.Semaphore(0), asyncio.Event()

    async def back_up() -> None:
        async with database.read(seconds=None) as connection:
            await count(connection)
            reading.release()
            await go_on.wait()

    backups = [asyncio.get_running_loop().create_task(back_up()) for _ in range(READS)]
    for _ in backups:
        await reading.acquire()
    async with asyncio.timeout(2), database.read() as connection:
        await count(connection)
    go_on.set()
    await asyncio.gather(*backups)
    await database.close()


async def test_a_read_that_takes_too_long_fails_alone(database: Database) -> None:
    with pytest.raises(StoreSlowError, match="in time"):
        await read_and(database, lambda _: asyncio.sleep(20), seconds=0.2)
    assert database.available
    assert not database.problem
    async with database.read() as connection:
        await count(connection)
    assert database.available


async def test_a_statement_that_postgresql_ends_fails_alone(postgres_url: str) -> None:
    database = await Database.open(postgres_url, service="orchestrator")

    async def sleep(connection: AsyncConnection) -> None:
        await connection.exec_driver_sql("SET LOCAL statement_timeout = '100ms'")
        await connection.exec_driver_sql("SELECT pg_sleep(20)")

    with pytest.raises(StoreSlowError, match="timeout"):
        await read_and(database, sleep)
    assert database.available
    await database.close()


async def test_reads_for_which_no_connection_is_left_fail_alone(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fairlead.stores.sql.engines._POOL_TIMEOUT", 0.2)
    database = await Database.open(postgres_url, service="orchestrator")
    go_on = asyncio.Event()

    async def read() -> None:
        async with database.read() as connection:
            await count(connection)
            await go_on.wait()

    reads = [asyncio.get_running_loop().create_task(read()) for _ in range(READS)]
    done, _ = await asyncio.wait(reads, return_when=asyncio.FIRST_COMPLETED)
    with pytest.raises(StoreSlowError, match="busy"):
        done.pop().result()
    assert database.available
    go_on.set()
    await asyncio.gather(*reads, return_exceptions=True)
    await database.close()


async def test_after_a_slow_read_a_look_is_taken_at_once(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that hangs is found out by it, though only reads come."""
    monkeypatch.setattr(database_module, "LOOK", 0.1)
    async with cuttable_proxy(postgres_url) as proxy:
        database = await Database.open(proxy.url, service="orchestrator")
        async with database.read() as connection:
            await count(connection)
        proxy.hang()
        started = time.monotonic()
        with pytest.raises(StoreSlowError):
            await read_and(database, count, seconds=0.3)
        assert database.available
        await until(lambda: not database.available)
        assert time.monotonic() - started < 12
        await proxy.heal()
        await until(lambda: database.available)
        async with database.read() as connection:
            await count(connection)
        await database.close()


async def test_a_read_over_a_connection_that_breaks_tells_of_an_absence(postgres_url: str) -> None:
    async with cuttable_proxy(postgres_url) as proxy:
        database = await Database.open(proxy.url, service="orchestrator")

        async def cut(connection: AsyncConnection) -> None:
            await proxy.cut()
            await count(connection)

        with pytest.raises(StoreAwayError) as caught:
            await read_and(database, cut)
        assert not isinstance(caught.value, StoreSlowError)
        assert not database.available
        await database.close()
