"""A whole database to a backup and back, whatever kind either is.

Writing is one read transaction: a snapshot, taken while the service goes on. Reading it back is one write
transaction: the tables are dropped and made anew as they were at the backup's revision, filled, and brought
up to today's. Until its commit all is as it was. Numbers that the database itself gives to rows are not kept.
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, LargeBinary, MetaData, Table, delete, insert, inspect, select, text

from fairlead.model.errors import ProblemError
from fairlead.stores.backup_file import Backup, BackupWriter, Part
from fairlead.stores.files import state_problem
from fairlead.stores.sql import schema
from fairlead.stores.sql.database import Database
from fairlead.stores.sql.events import EPOCH
from fairlead.stores.sql.runs import SILENT, living
from fairlead.stores.sql.tables import FACTS, METADATA, RUNS, WEB_SESSIONS

# What a run of the service is about, and browsers that may have logged out since.
_PASSING: Final = (RUNS, WEB_SESSIONS)
_AT_ONCE: Final = 500  # rows
_ENCODE: Final = msgspec.json.Encoder()
OnPart = Callable[[Part], None]


async def dump(database: Database, service: str, writer: BackupWriter, on_part: OnPart) -> None:
    """Each table is a part `service/table`. Raises StoreAwayError, ProblemError."""
    async with database.read(seconds=None) as connection:
        for table in METADATA.sorted_tables:
            if table in _PASSING:
                continue
            columns = [column for column in table.columns if column is not table.autoincrement_column]
            statement = select(*columns).order_by(*table.primary_key)
            with writer.part(f"{service}/{table.name}.jsonl") as part:
                async with connection.stream(statement) as rows:
                    async for some in rows.mappings().partitions(_AT_ONCE):
                        part.write(b"".join(_ENCODE.encode(dict(row)) + b"\n" for row in some))
            on_part(writer.manifest.parts[-1])


def load(connection: Connection, database: Database, service: str, backup: Backup, on_part: OnPart) -> None:
    """Put what the backup has of `service` in the place of all that is there.

    Within a write transaction of `database`. Raises ProblemError when a run of the service is alive on it, or
    the backup does not fit.
    """
    revision = backup.manifest.services[service]
    if not schema.known(revision):
        raise state_problem(
            "newer-backup",
            "the backup is of a newer version of Fairlead",
            f"it was taken by {backup.manifest.version} at revision {revision}; this version knows "
            f"{schema.head()}: use that version",
        )
    schema.lock(connection, database.schema)
    if database.schema is not None:
        _check_alone(connection, database)
    found = MetaData()
    found.reflect(connection)
    found.drop_all(connection)
    schema.upgrade(connection, database.place, revision)
    tables = MetaData()
    tables.reflect(connection)
    for part in backup.manifest.of(service):
        table = tables.tables.get(part.name.removeprefix(f"{service}/").removesuffix(".jsonl"))
        if table is None:
            raise _unfit(part.name, "there is no such table")
        _fill(connection, table, part.name, backup)
        on_part(part)
    schema.upgrade(connection, database.place)
    connection.execute(
        delete(FACTS).where(FACTS.c.name == EPOCH)
    )  # the numbers to come are another history's


def _check_alone(connection: Connection, database: Database) -> None:
    """In SQLite the lock of the state folder tells; in PostgreSQL the service may run anywhere."""
    if not inspect(connection).has_table(RUNS.name):
        return
    connection.execute(text(f"LOCK TABLE {RUNS.name} IN ACCESS EXCLUSIVE MODE"))
    for run in connection.execute(living(database.clock)):
        raise state_problem(
            "already-running",
            "Fairlead runs on this database",
            f"{database.place}: node {run.node} gave a sign of life {run.silent:.0f} s ago. Stop it; "
            f"if it was killed, try again in {SILENT:.0f} s",
        )


def _fill(connection: Connection, table: Table, name: str, backup: Backup) -> None:
    connection.execute(delete(table))  # the revisions put first rows into some
    binary = {column.name for column in table.columns if isinstance(column.type, LargeBinary)}
    with backup.open(name) as lines:
        while rows := [_row(line, binary, name) for line in itertools.islice(lines, _AT_ONCE)]:
            if any(row.keys() - table.columns.keys() for row in rows):
                raise _unfit(name, "it has columns that the table has not")
            connection.execute(insert(table), rows)


def _row(line: bytes, binary: set[str], name: str) -> dict[str, Any]:
    try:
        row = msgspec.json.decode(line, type=dict[str, Any])
        return row | {
            column: base64.b64decode(row[column]) for column in binary if row.get(column) is not None
        }
    except (msgspec.MsgspecError, TypeError, ValueError) as error:
        raise _unfit(name, str(error)) from None


def _unfit(name: str, why: str) -> ProblemError:
    return state_problem("damaged-backup", "the backup does not fit", f"{name}: {why}. Nothing was changed")
