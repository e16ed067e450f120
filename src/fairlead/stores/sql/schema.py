"""Brings a database to the tables of this version: Alembic's revisions, in one transaction under a lock.

Alembic is used as a library, without its `env.py` and its global `op`: a revision's `upgrade` is given its
`op`, so that two databases of one process can be brought up at the same time. It is loaded only where there
is something to do: 4 MiB of a process that runs for weeks.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy
from sqlalchemy import Connection
from sqlalchemy.schema import CreateSchema

from fairlead.stores.files import state_problem
from fairlead.stores.sql.migrations import HEAD

if TYPE_CHECKING:
    from alembic.script import ScriptDirectory

VERSION_TABLE: Final = "schema_version"
LOCK: Final = 0x666C7273  # advisory, in PostgreSQL; the second key is the schema's
_FOLDER: Final = Path(__file__).parent / "migrations"


def scripts() -> ScriptDirectory:
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - see above

    return ScriptDirectory(_FOLDER, version_locations=[_FOLDER])


def head() -> str:
    """The revision that this version of Fairlead works with."""
    return HEAD


def known(revision: str) -> bool:
    return revision == HEAD or any(each.revision == revision for each in scripts().walk_revisions())


def lock(connection: Connection, schema: str | None) -> None:
    """Until the transaction's end nobody else migrates. SQLite's write transaction is that lock already."""
    if schema is None:
        return
    connection.execute(
        sqlalchemy.text("SELECT pg_advisory_xact_lock(:lock, hashtext(:schema))"),
        {"lock": LOCK, "schema": schema},
    )
    if not sqlalchemy.inspect(connection).has_schema(schema):  # who may not make one may still use one
        connection.execute(CreateSchema(schema))


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


def upgrade(connection: Connection, place: str, target: str = "head") -> None:
    """Run what is missing up to `target`, in the transaction that is open. Raises as `current` does."""
    if current(connection, place) == (HEAD if target == "head" else target):
        return
    from alembic.operations import Operations  # noqa: PLC0415 - see above
    from alembic.runtime.migration import MigrationContext  # noqa: PLC0415

    script = scripts()

    def steps(revision: Any, _context: MigrationContext) -> Any:
        return script._upgrade_revs(target, revision)  # as Alembic's own commands do

    context = MigrationContext.configure(
        connection, opts={"fn": steps, "version_table": VERSION_TABLE, "transactional_ddl": True}
    )
    context.run_migrations(op=Operations(context))
