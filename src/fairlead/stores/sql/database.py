"""A service's database: SQLite beside the state folder's other files, or a schema of a PostgreSQL.

`read()` and `write()` give a connection with a transaction open, which is committed at the block's end. The
whole transaction has 5 s, whatever hangs: the server, the network, a lock, a disk. An error that means that
the database is away becomes StoreAwayError; from then on `available` is false, and once a second a small
write is tried until one succeeds. A read that only took too long is a StoreSlowError and its own affair: the
small write is tried at once, and what becomes of that decides. Other errors (a broken constraint, a bug) are
not touched.

A database that is away when the service starts is no reason not to start: the tables are brought up to date
when it comes. What waiting cannot mend (a damaged file, a wrong password, tables of a newer version) is.
Bringing them up to date may take minutes, and says every few seconds how far it is; a lock that another
process holds is waited for shortly, and then again and again.

In SQLite there is one connection that writes; its transactions begin with the file's lock (BEGIN IMMEDIATE),
so that several processes wait for each other instead of failing halfway. A read is a snapshot in both kinds.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import structlog
from sqlalchemy import ColumnElement, Float, Table, func
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from fairlead.kit.tasks import Tasks
from fairlead.model.errors import ProblemError
from fairlead.ports import StoreAwayError, StoreSlowError
from fairlead.stores.files import state_problem
from fairlead.stores.sql import schema
from fairlead.stores.sql.away import away_reason, busy, needs_mending, slow
from fairlead.stores.sql.engines import (
    PATIENCE,
    SQLITE,
    TIMEOUT,
    Engines,
    dispose_within,
    postgres_engines,
    sqlite_engines,
)
from fairlead.stores.sql.schema import Progress
from fairlead.stores.sql.sqlite_file import check_file, inode, no_database
from fairlead.stores.sql.tables import FACTS

LOG: Final = structlog.get_logger("fairlead.database")
LOOK: Final = 1.0  # s between two looks at a database that is away
TOLD_AFTER: Final = 1.0  # s of bringing the tables up to date, without a word
TOLD_EVERY: Final = 5.0  # s, then
_CLOSING: Final = 3.0  # s that open transactions may take to finish
DAY: Final = 86400.0  # s
_EPOCH: Final = 2440587.5  # the day on which Unix time begins, as SQLite counts days
_SOON: Final = 0.05  # s
Insert = postgresql.Insert | sqlite.Insert


def sqlite_url(path: Path) -> str:
    return f"{SQLITE}{path}"


class Database:
    """Made by `open`. `problem` says why it is away, and is empty while it is not."""

    def __init__(self, url: str, service: str, *, migrate: bool = True) -> None:
        self.problem = ""
        self._migrate = migrate
        self._prepared = False
        self._inode = 0  # of SQLite's file
        self._closed = False
        self._open_transactions = 0
        self._idle = asyncio.Event()
        self._distrust = 0.0  # connections that were opened before (monotonic, s) may hang
        self._looking: asyncio.Task[None] | None = None
        self._tasks = Tasks(lambda name, error: LOG.error("task failed", task=name, exc_info=error))
        self._engines: Engines = (
            sqlite_engines(Path(url.removeprefix(SQLITE)))
            if url.startswith(SQLITE)
            else postgres_engines(url, f"fairlead_{service}", lambda since: since >= self._distrust)
        )

    @classmethod
    async def open(cls, url: str, *, service: str, migrate: bool = True) -> Database:
        """The database of `service` (`orchestrator`), its tables brought up to date if `migrate`.

        `url` is `sqlite:///` and a path, or `postgresql://...` as libpq has it. Returns one that is away as
        well. Raises ProblemError where waiting would not help.
        """
        database = cls(url, service, migrate=migrate)
        try:
            await database._first_look()
        except BaseException:
            await database.close()
            raise
        return database

    def __repr__(self) -> str:
        return f"Database({self.place!r}, {self.problem or 'available'!r})"

    @property
    def available(self) -> bool:
        """As last seen; asking costs nothing."""
        return self._prepared and not self.problem

    @property
    def place(self) -> str:
        """Which one it is, for people: a path, or a host and a name."""
        return self._engines.place

    @property
    def schema(self) -> str | None:
        """The schema in PostgreSQL; None: it is SQLite."""
        return self._engines.schema

    @property
    def clock(self) -> ColumnElement[float]:
        """What time it is for the database (Unix, s), which all its users have in common."""
        if self._engines.schema:
            return func.extract("epoch", func.clock_timestamp()).cast(Float(53))
        return (func.julianday("now") - _EPOCH) * DAY

    def insert(self, table: Table) -> Insert:
        """An INSERT with `on_conflict_do_update` and `on_conflict_do_nothing`."""
        return postgresql.insert(table) if self._engines.schema else sqlite.insert(table)

    @contextlib.asynccontextmanager
    async def read(self, *, seconds: float | None = TIMEOUT) -> AsyncIterator[AsyncConnection]:
        """A snapshot. `seconds` is for all of it, None: no limit. Raises StoreAwayError, StoreSlowError."""
        self._check()
        async with self._transaction(self._engines.reader(seconds), seconds, reads=True) as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def write(self, *, seconds: float | None = TIMEOUT) -> AsyncIterator[AsyncConnection]:
        """All of it or, after an error, nothing. Raises StoreAwayError: then it may have been either."""
        self._check()
        self._check_same_file()
        async with self._transaction(self._engines.writer(seconds), seconds) as connection:
            yield connection
        self._came()

    async def close(self) -> None:
        """Let open transactions finish (bounded), then end every connection, thread and task."""
        self._closed = True
        await self._tasks.close()
        if self._open_transactions:
            self._idle.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), _CLOSING)
        await dispose_within(self._engines, _CLOSING)

    def _check(self) -> None:
        if self._closed:
            msg = "the database is closed"
            raise StoreAwayError(msg)
        if not self._prepared:
            raise StoreAwayError(f"{self.place}: {self.problem}")

    def _check_same_file(self) -> None:
        """SQLite would go on writing into a file that has no name any more, and all of it would be lost."""
        if self._engines.file is not None and inode(self._engines.file) != self._inode:
            reason = "its file was removed or replaced: put it back, or start again"
            self._went(reason)
            raise StoreAwayError(f"{self.place}: {reason}")

    @contextlib.asynccontextmanager
    async def _transaction(
        self, engine: AsyncEngine, seconds: float | None, *, reads: bool = False
    ) -> AsyncIterator[AsyncConnection]:
        self._open_transactions += 1
        try:
            async with asyncio.timeout(seconds), engine.begin() as connection:
                if self.schema and seconds != TIMEOUT:
                    limit = f"{seconds:g}s" if seconds else "0"
                    await connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{limit}'")
                yield connection
        except Exception as error:
            if (reason := away_reason(error)) is None:
                raise
            if reads and slow(error):
                self._distrust = time.monotonic()
                self._look_after(0.0)
                raise StoreSlowError(f"{self.place}: {reason}") from error
            self._went(reason)
            raise StoreAwayError(f"{self.place}: {reason}") from error
        finally:
            self._open_transactions -= 1
            if not self._open_transactions:
                self._idle.set()

    def _went(self, reason: str) -> None:
        if not self.problem:
            LOG.warning("the database is away", place=self.place, reason=reason)
        self.problem = reason
        self._distrust = time.monotonic()
        self._look_after(LOOK)

    def _came(self) -> None:
        if self.problem:
            LOG.info("the database is back", place=self.place)
            self.problem = ""

    def _look_after(self, pause: float) -> None:
        if not self._closed and (self._looking is None or self._looking.done()):
            self._looking = self._tasks.spawn(self._look(pause), "look for the database")

    async def _look(self, pause: float) -> None:
        """Until it is found to be there."""
        looked = False
        while self.problem or not looked:
            await asyncio.sleep(pause)
            looked, pause = True, LOOK
            try:
                await self._prepare()
                await self._probe()
            except StoreAwayError:
                continue
            except (ProblemError, SQLAlchemyError) as error:  # not what we left: somebody has to look
                if self.problem != (words := str(error).splitlines()[0]):
                    LOG.error("the database cannot be used", place=self.place, reason=words)
                self.problem = words

    async def _probe(self) -> None:
        """A write, since a database that can only be read is no use."""
        insert = self.insert(FACTS).values(name="probe", value=str(time.time()))
        change = insert.on_conflict_do_update(index_elements=["name"], set_={"value": insert.excluded.value})
        async with self.write() as connection:
            await connection.execute(change)

    async def _first_look(self) -> None:
        deadline = time.monotonic() + TIMEOUT
        if self._engines.file is not None:
            check_file(self._engines.file, create=self._migrate)
        while True:
            try:
                await self._prepare()
                if self._migrate:
                    await self._probe()
                return
            except StoreAwayError as away:
                if needs_mending(away.__cause__):
                    raise state_problem("database", "cannot use the database", _advice(self, away)) from None
                if not busy(away.__cause__) or time.monotonic() > deadline:
                    return
            await asyncio.sleep(_SOON)  # another process has the file: mostly for a moment

    async def _prepare(self) -> None:
        if self._prepared:
            return
        if self._engines.file is not None and self._migrate:
            await self._use_write_ahead_log()
        async with self._transaction(self._engines.reading, TIMEOUT) as connection:
            revision = await connection.run_sync(schema.current, self.place)
        if revision != schema.head():
            if not self._migrate:
                raise no_database(self.place) if revision is None else _older(self.place)
            await self._bring_up()
        if self._engines.file is not None:
            self._inode = inode(self._engines.file)
        self._prepared = True
        self._came()

    async def _bring_up(self) -> None:
        progress = Progress()
        telling = self._tasks.spawn(self._tell(progress), "tell how the tables come up")
        try:
            async with self._transaction(self._engines.writer(PATIENCE), PATIENCE) as connection:
                await connection.run_sync(schema.bring_up, self.schema, self.place, progress)
        finally:
            telling.cancel()
        if progress.seconds > TOLD_AFTER:
            LOG.info("the tables are up to date", place=self.place, seconds=round(progress.seconds, 1))

    async def _tell(self, progress: Progress) -> None:
        pause = TOLD_AFTER
        while True:
            await asyncio.sleep(pause)
            pause = TOLD_EVERY
            LOG.info(
                "the tables are being brought up to date",
                place=self.place,
                step=progress.step,
                seconds=round(progress.seconds, 1),
            )

    async def _use_write_ahead_log(self) -> None:
        """Kept by the file. It cannot be set within a transaction, and needs the file alone for a moment."""
        async with self._transaction(self._engines.reading, TIMEOUT) as connection:
            mode = await connection.exec_driver_sql("PRAGMA journal_mode")
            if mode.scalar_one() == "wal":
                return
            await connection.exec_driver_sql("COMMIT")
            await connection.exec_driver_sql("PRAGMA journal_mode = WAL")


def _older(place: str) -> ProblemError:
    return state_problem(
        "older-database",
        "the database was written by an older version of Fairlead",
        f"{place}: start this version once, which brings it up to date",
    )


def _advice(database: Database, away: StoreAwayError) -> str:
    if database.schema:
        return f"{away}. Check the user, the password and the name in FAIRLEAD_DATABASE"
    return (
        f"{away}. Look at the file and its folder; a damaged file can be moved away and a backup restored "
        "(`fairlead restore FILE`)"
    )
