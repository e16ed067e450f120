"""What the service keeps and tells: database, bus, journal, feed, audit; how they are started and stopped.

Journal and audit write until everything else has ended, so that what the shutdown does is kept, too; how long
they may take for that is bounded.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import structlog

from fairlead import __version__
from fairlead.access.keys import installation, master_key
from fairlead.app.audited_run import AuditedRun
from fairlead.app.logs import conceal
from fairlead.app.retention import Pruner
from fairlead.app.settings import Settings
from fairlead.audit.arguments import Kept
from fairlead.audit.recorder import AuditTrail
from fairlead.buses.memory import MemoryBus
from fairlead.events.failures import FailureWatch
from fairlead.events.feed import Feed
from fairlead.events.journal import Journal
from fairlead.events.standing import BUS, STORE, Standing
from fairlead.kit.tasks import Tasks
from fairlead.model.event_data import ServiceStarted, ServiceStopped
from fairlead.model.events import EventType
from fairlead.ports import Bus
from fairlead.stores.sql.audit import SqlAuditLog
from fairlead.stores.sql.database import Database, sqlite_url
from fairlead.stores.sql.events import SqlEventLog
from fairlead.stores.sql.runs import Runs
from fairlead.stores.state import StateFolder

LOG = structlog.get_logger("fairlead.run")


class Persistence:
    """Of one service of one process. `feed`, `journal` and `audit` are the opener's to run."""

    def __init__(self, database: Database, bus: Bus, source: str, audit: AuditTrail) -> None:
        """`source` is a URI of the service and node."""
        self.audit = audit
        self.database = database
        self.bus = bus
        self.events = SqlEventLog(database)
        self.feed = Feed(self.events, bus)
        self.journal = Journal(self.events, self.feed, bus, source, conceal=conceal)
        self.failures = FailureWatch(self.journal)
        audit.on_refused = self.failures.refused
        parts = {STORE: lambda: database.problem, BUS: lambda: bus.reason}
        self.standing = Standing(parts, self.journal)

    def tick(self) -> None:
        """About once a second."""
        self.standing.tick()
        self.failures.tick()

    def __repr__(self) -> str:
        return f"Persistence({self.database!r}, {self.bus!r}, {self.journal!r}, {self.feed!r})"


def database_url(settings: Settings, state: StateFolder, service: str) -> str:
    """Where a service's database is. It may have a password in it."""
    if settings.database is not None:
        return settings.database.get_secret_value()
    return sqlite_url(state.database(service))


def group(settings: Settings, state: StateFolder, service: str) -> str:
    """What names in a shared Redis begin with, so that two installations on one do not meet."""
    key = master_key(settings.key.get_secret_value() if settings.key else None, state.key())
    return f"{service}:{installation(key)}"


def open_bus(settings: Settings, state: StateFolder, service: str) -> Bus:
    """Raises ProblemError for a `bus` that is no URL."""
    if settings.bus is None:
        return MemoryBus()
    from fairlead.buses.redis import RedisBus  # noqa: PLC0415 - 8 MiB that one process alone does not need

    return RedisBus(settings.bus.get_secret_value(), group(settings, state, service))


@contextlib.asynccontextmanager
async def keeping(settings: Settings, state: StateFolder, service: str) -> AsyncIterator[Persistence]:
    """Everything opened and running; a database or a bus that is away is none in the way of it.

    Raises ProblemError for what waiting does not mend: a damaged database, a wrong password, no URL.
    """
    node, started = state.id(), time.monotonic()
    bus = open_bus(settings, state, service)
    database = await Database.open(database_url(settings, state, service), service=service)
    audit = AuditTrail(
        SqlAuditLog(database), node=node, arguments=Kept(settings.audit.arguments), conceal=conceal
    )
    run = AuditedRun(Runs(database), audit, node)
    kept = Persistence(database, bus, f"urn:fairlead:{service}:{node}", audit)
    tasks = Tasks(_task_failed)
    tasks.spawn(kept.feed.run(), "feed")
    tasks.spawn(kept.journal.run(), "journal")
    tasks.spawn(audit.run(), "audit")
    tasks.spawn(run.follow(), "this run")
    tasks.spawn(Pruner.of(database, settings.retention).follow(), "retention")
    kept.journal.note(EventType.SERVICE_STARTED, node, ServiceStarted(node=node, version=__version__))
    try:
        yield kept
    finally:
        stopped = ServiceStopped(node=node, seconds=time.monotonic() - started)
        kept.journal.note(EventType.SERVICE_STOPPED, node, stopped)
        kept.feed.close()
        run.stopping()
        await asyncio.gather(kept.journal.flush(), audit.close())
        await run.end()
        await tasks.close()
        await bus.close()
        await database.close()


def _task_failed(name: str, error: BaseException) -> None:
    LOG.error("task failed", task=name, exc_info=error)
