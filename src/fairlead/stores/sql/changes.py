"""Counts the changes of the GitOps controller's rows, so that rows can be kept in memory.

Each change raises the counter `gitops` in its own transaction, as its first statement: the counter's row is
the lock behind which changes are made one after the other. A SQLite file has one process that writes, which
the state folder's lock sees to: what it has in memory is what is there. In PostgreSQL others may write, too:
there the counter is looked at before something from memory is used, at most once in `FRESH` seconds. So what
another process changes is seen that much later, as if it had been written that much later; whatever is
decided by it is refused by the row's revision, or the target's tag, if it does not hold any more.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Final

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from fairlead.ports import StoreAwayError
from fairlead.stores.sql.database import Database
from fairlead.stores.sql.tables import COUNTERS

FRESH: Final = 1.0  # s
_COUNTER: Final = select(COUNTERS.c.value).where(COUNTERS.c.name == "gitops")
_RAISED: Final = (
    update(COUNTERS)
    .where(COUNTERS.c.name == "gitops")
    .values(value=COUNTERS.c.value + 1)
    .returning(COUNTERS.c.value)
)


class Changes:
    """Of one database. All of `on_foreign` are called when what was read before may be old.

    Methods raise StoreAwayError.
    """

    def __init__(self, database: Database, *, now: Callable[[], float] = time.monotonic) -> None:
        self.database = database
        self.on_foreign: list[Callable[[], None]] = []
        self._now = now
        self._alone = database.schema is None
        self._known: int | None = None  # everything up to it is in memory, or is not in memory at all
        self._looked: float | None = None  # monotonic, s

    def __repr__(self) -> str:
        return f"Changes({self.database!r}, {self._known})"

    @contextlib.asynccontextmanager
    async def change(self) -> AsyncIterator[AsyncConnection]:
        """A write transaction."""
        async with self.database.write() as connection:
            number = int((await connection.execute(_RAISED)).scalar_one())
            yield connection
        if self._known is not None and number > self._known:
            self._known = number if number == self._known + 1 else None  # None: another one was in between

    async def look(self) -> None:
        """Whether somebody else has changed anything; at once if the database is known to be away."""
        if not self.database.available:
            raise StoreAwayError(f"{self.database.place}: {self.database.problem}")
        now = self._now()
        if self._alone or (self._looked is not None and now - self._looked < FRESH):
            return
        async with self.database.read() as connection:
            number = int((await connection.execute(_COUNTER)).scalar_one())
        self._looked = now
        if number != self._known:
            self._known = number
            for tell in self.on_foreign:
                tell()
