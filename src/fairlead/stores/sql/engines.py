"""The two kinds of database, as SQLAlchemy engines: one to read with and one to write with.

They share no connection: whatever reads take, writing goes on. In PostgreSQL what may take long (bringing the
tables up to date, backups) has connections of its own, whose limits are minutes, opened when they are needed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from sqlalchemy import Connection, NullPool, event, exc
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.util import await_

from fairlead.stores.sql.away import busy

SQLITE: Final = "sqlite:///"
TIMEOUT: Final = 5.0  # s, for a whole transaction
PATIENCE: Final = 1800.0  # s, for bringing the tables up to date, and for one statement of a backup
_BUSY_TIMEOUT: Final = 4.0  # s, for the lock of a SQLite file: less, so that its own error comes first
_BETWEEN: Final = (0.001, 0.01)  # s between two attempts to get it
_CONNECT_TIMEOUT: Final = 4.0  # s
_WAL_LIMIT: Final = 64 * 1024 * 1024  # bytes that the write-ahead log is cut down to
_POOL_TIMEOUT: Final = 4.5  # s, for one of the pool's connections: less, too
_READERS: Final = 4
_WRITERS: Final = 3  # PostgreSQL's: events, audit, and the rest
_NAME: Final = (
    f"fairlead {socket.gethostname()[:40]} pid {os.getpid()}"  # as PostgreSQL shows who is connected
)
_SNAPSHOT: Final = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}


@dataclass(frozen=True, slots=True)
class Engines:
    """`place` says to people which database it is, without its password."""

    place: str
    reading: AsyncEngine
    writing: AsyncEngine
    schema: str | None = None  # PostgreSQL's
    patient: AsyncEngine | None = None  # PostgreSQL's, for what takes long

    @property
    def file(self) -> Path | None:
        return None if self.schema else Path(self.place)

    def reader(self, seconds: float | None) -> AsyncEngine:
        """For a transaction that may take `seconds`; None: as long as it wants."""
        if self.patient is None or _brief(seconds):
            return self.reading
        return self.patient.execution_options(**_SNAPSHOT)

    def writer(self, seconds: float | None) -> AsyncEngine:
        return self.writing if self.patient is None or _brief(seconds) else self.patient

    async def dispose(self) -> None:
        await self.reading.dispose()
        await self.writing.dispose()


def _brief(seconds: float | None) -> bool:
    return seconds is not None and seconds <= TIMEOUT


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
        pool_timeout=_POOL_TIMEOUT,
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
    """Small pools. `trusted(since)` says whether a connection from that time (monotonic, s) may be used."""
    writing = _postgres(url, schema, TIMEOUT, pool_size=_WRITERS, max_overflow=0, pool_timeout=_POOL_TIMEOUT)
    reading = _postgres(url, schema, TIMEOUT, pool_size=_READERS, max_overflow=0, pool_timeout=_POOL_TIMEOUT)
    for engine in (writing, reading):
        _watch(engine, trusted)
    patient = _postgres(url, schema, PATIENCE, poolclass=NullPool)
    return Engines(
        postgres_place(url, schema), reading.execution_options(**_SNAPSHOT), writing, schema, patient
    )


def _postgres(url: str, schema: str, seconds: float, **pool: Any) -> AsyncEngine:
    """No statement takes longer than `seconds`.

    The whole URL is left to asyncpg, which reads it as libpq does (sslmode, several hosts, a socket).
    """
    import asyncpg  # noqa: PLC0415 - 5 MiB that SQLite does not need

    async def connect() -> asyncpg.Connection:
        return await asyncpg.connect(
            dsn=url,
            timeout=_CONNECT_TIMEOUT,
            command_timeout=2 * seconds,  # a transaction's own limit comes first, but for its roll-back
            server_settings={
                "search_path": schema,
                "application_name": _NAME,
                "statement_timeout": f"{seconds:g}s",
                # One that stopped in the middle of a transaction must not hold up the others for ever.
                "idle_in_transaction_session_timeout": f"{2 * TIMEOUT:g}s",
            },
        )

    return create_async_engine("postgresql+asyncpg://", async_creator=connect, hide_parameters=True, **pool)


def _watch(engine: AsyncEngine, trusted: Callable[[float], bool]) -> None:
    """Have a connection that has gone, or hung, replaced by a new one before anybody notices."""

    @event.listens_for(engine.sync_engine, "connect")
    def opened(_connection: Any, record: Any) -> None:
        record.info["since"] = time.monotonic()

    @event.listens_for(engine.sync_engine, "checkout")
    def look(connection: Any, record: Any, _proxy: Any) -> None:
        if connection.driver_connection.is_closed() or not trusted(record.info["since"]):
            raise exc.DisconnectionError


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
