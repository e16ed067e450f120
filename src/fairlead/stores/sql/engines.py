"""The two kinds of database, as SQLAlchemy engines: one to read with and one to write with."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from sqlalchemy import Connection, event, exc
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.util import await_

from fairlead.stores.sql.away import busy

SQLITE: Final = "sqlite:///"
TIMEOUT: Final = 5.0  # s, for a whole transaction
_BUSY_TIMEOUT: Final = 4.0  # s, for the lock of a SQLite file: less, so that its own error comes first
_BETWEEN: Final = (0.001, 0.01)  # s between two attempts to get it
_CONNECT_TIMEOUT: Final = 4.0  # s
_WAL_LIMIT: Final = 64 * 1024 * 1024  # bytes that the write-ahead log is cut down to
_READERS: Final = 4
_CONNECTIONS: Final = 5


@dataclass(frozen=True, slots=True)
class Engines:
    """`place` says to people which database it is, without its password."""

    place: str
    reading: AsyncEngine
    writing: AsyncEngine
    schema: str | None = None  # PostgreSQL's

    @property
    def file(self) -> Path | None:
        return None if self.schema else Path(self.place)

    async def dispose(self) -> None:
        await self.reading.dispose()
        await self.writing.dispose()


class _SqliteConnection(sqlite3.Connection):
    """One whose lock ends with it: SQLite keeps a closed one for as long as anybody has a cursor of it."""

    def close(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self.rollback()
        super().close()


def sqlite_engines(path: Path) -> Engines:
    """One writer, which takes the file's lock as it begins, and a few readers beside it (WAL)."""
    reading = _sqlite(path, _READERS, busy_timeout=_BUSY_TIMEOUT)
    writing = _sqlite(path, 1, busy_timeout=0.0)

    @event.listens_for(reading.sync_engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    event.listen(writing.sync_engine, "begin", _begin_writing)
    return Engines(str(path), reading, writing)


def _begin_writing(connection: Connection) -> None:
    """Take the file's lock. SQLite's own waiting looks ever less often, and may find it taken each time."""
    deadline = time.monotonic() + _BUSY_TIMEOUT
    while True:
        try:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        except exc.OperationalError as error:
            if not busy(error) or time.monotonic() > deadline:
                raise
        else:
            return
        await_(asyncio.sleep(random.uniform(*_BETWEEN)))  # noqa: S311 - no secret


def _sqlite(path: Path, connections: int, *, busy_timeout: float) -> AsyncEngine:
    # SQLAlchemy's own URL would give `?` and `%` in a path a meaning.
    engine = create_async_engine(
        "sqlite+aiosqlite:///fairlead",
        connect_args={"timeout": busy_timeout, "factory": _SqliteConnection},
        pool_size=connections,
        max_overflow=0,
        pool_timeout=TIMEOUT,
        hide_parameters=True,
    )

    @event.listens_for(engine.sync_engine, "do_connect")
    def aim(_dialect: Any, _record: Any, arguments: list[Any], _options: Any) -> None:
        arguments[0] = os.fspath(path)

    @event.listens_for(engine.sync_engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver begins nothing by itself: our `begin` does
        cursor = connection.cursor()
        for pragma in (
            "synchronous = FULL",
            "foreign_keys = ON",
            f"journal_size_limit = {_WAL_LIMIT}",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    return engine


def postgres_engines(url: str, schema: str, trusted: Callable[[float], bool]) -> Engines:
    """A small pool. `trusted(since)` says whether a connection from that time (monotonic, s) may be used.

    The whole URL is left to asyncpg, which reads it as libpq does (sslmode, several hosts, a socket).
    """

    import asyncpg  # noqa: PLC0415 - 5 MiB that SQLite does not need

    async def connect() -> asyncpg.Connection:
        return await asyncpg.connect(
            dsn=url,
            timeout=_CONNECT_TIMEOUT,
            command_timeout=2 * TIMEOUT,  # a transaction's own limit comes first, but for its roll-back
            server_settings={
                "search_path": schema,
                "application_name": "fairlead",
                "statement_timeout": f"{TIMEOUT:g}s",
                # One that stopped in the middle of a transaction must not hold up the others for ever.
                "idle_in_transaction_session_timeout": f"{2 * TIMEOUT:g}s",
            },
        )

    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        pool_size=_CONNECTIONS,
        max_overflow=0,
        pool_timeout=TIMEOUT,
        hide_parameters=True,
    )

    @event.listens_for(engine.sync_engine, "connect")
    def opened(_connection: Any, record: Any) -> None:
        record.info["since"] = time.monotonic()

    @event.listens_for(engine.sync_engine, "checkout")
    def look(connection: Any, record: Any, _proxy: Any) -> None:
        """A connection that has gone, or hung, is replaced by a new one before anybody notices."""
        if connection.driver_connection.is_closed() or not trusted(record.info["since"]):
            raise exc.DisconnectionError

    reading = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    return Engines(postgres_place(url, schema), reading, engine, schema)


def postgres_place(url: str, schema: str) -> str:
    """Which database a URL means, without user, password and options."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2] or "the default host"
    return f"{host}{parts.path or '/'} (schema {schema})"


async def dispose_within(engines: Engines, seconds: float) -> None:
    """Close what is idle; what does not close in time is dropped."""
    try:
        async with asyncio.timeout(seconds):
            await engines.dispose()
    except (TimeoutError, OSError, exc.SQLAlchemyError):
        return
