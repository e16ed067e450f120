"""Brings a database to the tables of this version: Alembic's revisions, in one transaction under a lock.

Alembic is used as a library, without its `env.py` and its global `op`: a revision's `upgrade` is given its
`op`, so that two databases of one process can be brought up at the same time. It is loaded only where there
is something to do: 4 MiB of a process that runs for weeks.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateSchema

from fairlead.stores.files import state_problem
from fairlead.stores.sql.away import LockHeldError, lock_timed_out
from fairlead.stores.sql.migrations import HEAD

if TYPE_CHECKING:
    from alembic.script import ScriptDirectory

VERSION_TABLE: Final = "schema_version"
LOCK: Final = 0x666C7273  # advisory, in PostgreSQL; the second key is the schema's
LOCK_WAIT: Final = 10.0  # s, for each lock of another process
_FOLDER: Final = Path(__file__).parent / "migrations"


# Who migrates, else whose transaction on the schema's tables is the oldest.
_HOLDER: Final = sqlalchemy.text(
    "SELECT a.pid, coalesce(a.application_name, '?') AS name, coalesce(host(a.client_addr), 'a local socket')"
    " AS address, coalesce(extract(epoch FROM clock_timestamp() - a.xact_start), 0)::float AS seconds"
    " FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
    " WHERE l.granted AND l.pid <> pg_backend_pid()"
    " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND (l.locktype = 'advisory' AND l.classid = :lock AND l.objid = hashtext(:schema)::oid"
    " OR l.relation IN (SELECT oid FROM pg_class WHERE relnamespace = to_regnamespace(:schema)))"
    " ORDER BY l.locktype = 'advisory' DESC, a.xact_start LIMIT 1"
)


@dataclass(slots=True)
class Progress:
    """How far the tables are, for people: the `step` that is being taken."""

    step: str = "waiting for its turn"
    _since: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._since


def scripts() -> ScriptDirectory:
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - see above

    return ScriptDirectory(_FOLDER, version_locations=[_FOLDER])


def head() -> str:
    """The revision that this version of Fairlead works with."""
    return HEAD


def known(revision: str) -> bool:
    return revision == HEAD or any(each.revision == revision for each in scripts().walk_revisions())


def lock(connection: Connection, schema: str | None) -> None:
    """Until the transaction's end nobody else migrates. SQLite's write transaction is that lock already.

    No lock is waited for longer than LOCK_WAIT from here on. Raises LockHeldError.
    """
    if schema is None:
        return
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_WAIT:g}s'")
    with _naming_holder(connection, schema):
        connection.execute(
            sqlalchemy.text("SELECT pg_advisory_xact_lock(:lock, hashtext(:schema))"),
            {"lock": LOCK, "schema": schema},
        )
    if not sqlalchemy.inspect(connection).has_schema(schema):  # who may not make one may still use one
        connection.execute(CreateSchema(schema))


@contextlib.contextmanager
def _naming_holder(connection: Connection, schema: str) -> Iterator[None]:
    try:
        with connection.begin_nested():  # after the error there are questions to ask
            yield
    except DBAPIError as error:
        if not lock_timed_out(error):
            raise
        who = _holder(connection, schema)
        msg = f"schema {schema}: a lock was waited for in vain for {LOCK_WAIT:g} s, {who}"
        raise LockHeldError(msg) from error


def _holder(connection: Connection, schema: str) -> str:
    found = connection.execute(_HOLDER, {"lock": LOCK, "schema": schema}).one_or_none()
    if found is None:
        return "and nobody holds it any more"
    return f"held by {found.name!r} from {found.address} (backend {found.pid}) for {found.seconds:.0f} s"


def current(connection: Connection, place: str) -> str | None:
    """The revision of the database, None for an empty one.

    Raises ProblemError where it is of a newer version, or not Fairlead's at all.
    """
    tables = sqlalchemy.inspect(connection).get_table_names()
    revision = None
    if VERSION_TABLE in tables:
        revision = connection.execute(sqlalchemy.text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608
    if revision is None:
        if tables:
            raise state_problem(
                "foreign-database",
                "the database is not Fairlead's",
                f"{place} has tables, but none that says which version of Fairlead made them: name an empty "
                "database, or move this one away",
            )
    elif not known(revision):
        raise state_problem(
            "newer-database",
            "the database was written by a newer version of Fairlead",
            f"{place} is at revision {revision}; this version knows {head()}: install the newer version, or "
            "restore a backup that was taken before the upgrade",
        )
    return revision


def bring_up(connection: Connection, schema: str | None, place: str, progress: Progress) -> None:
    """To the tables of this version, under the lock. Raises as `current` and `lock` do."""
    lock(connection, schema)
    with _naming_holder(connection, schema) if schema else contextlib.nullcontext():
        upgrade(connection, place, progress=progress)


def upgrade(
    connection: Connection, place: str, target: str = "head", progress: Progress | None = None
) -> None:
    """Run what is missing up to `target`, in the transaction that is open. Raises as `current` does."""
    if current(connection, place) == (HEAD if target == "head" else target):
        return
    from alembic.operations import Operations  # noqa: PLC0415 - see above
    from alembic.runtime.migration import MigrationContext  # noqa: PLC0415

    script = scripts()

    def steps(revision: Any, _context: MigrationContext) -> Iterator[Any]:
        for step in script._upgrade_revs(target, revision):  # as Alembic's own commands do
            if progress is not None:
                progress.step = f"revision {step.to_revisions[0]} ({step.doc})"
            yield step

    context = MigrationContext.configure(
        connection, opts={"fn": steps, "version_table": VERSION_TABLE, "transactional_ddl": True}
    )
    context.run_migrations(op=Operations(context))
