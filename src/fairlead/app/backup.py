"""Backups of all that the services keep, and how one is put back."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from fairlead import __version__
from fairlead.app.offline_changes import OfflineChanges
from fairlead.app.persistence import database_url
from fairlead.app.settings import Settings
from fairlead.model.errors import ProblemError
from fairlead.ports import StoreAwayError
from fairlead.stores import files
from fairlead.stores.backup_file import FORMAT, Backup, Manifest, writing
from fairlead.stores.files import state_problem
from fairlead.stores.sql import schema, transfer
from fairlead.stores.sql.database import Database
from fairlead.stores.sql.sqlite_file import NONE
from fairlead.stores.sql.transfer import OnPart
from fairlead.stores.state import StateFolder

SERVICES: Final = ("orchestrator", "gitops")
STATE: Final = "state"  # the folder of the parts that are files
KEYS: Final = ("key", "local-token")
DECISIONS: Final = ("gitops.json",)  # whether Git is in charge: as the orchestrator's own database has it


async def back_up(settings: Settings, path: Path, *, with_key: bool, on_part: OnPart) -> Manifest:
    """Write the backup while the services run. Raises ProblemError."""
    state = StateFolder(settings.state_dir)
    async with contextlib.AsyncExitStack() as stack:
        databases = await _existing(settings, state, stack)
        revisions = dict.fromkeys(databases, schema.head())
        manifest = Manifest(format=FORMAT, version=__version__, taken=time.time(), services=revisions)
        with writing(path, manifest) as writer, _told():
            for service, database in databases.items():
                await transfer.dump(database, service, writer, on_part)
            for name in (*DECISIONS, *(KEYS if with_key else ())):
                if (content := files.read(state.root / name)) is not None:
                    with writer.part(f"{STATE}/{name}") as part:
                        part.write(content)
                    on_part(writer.manifest.parts[-1])
            return writer.manifest


async def restore(settings: Settings, state: StateFolder, backup: Backup, on_part: OnPart) -> None:
    """Put a verified backup in the place of what is kept; the state folder is locked by the caller.

    All databases are changed, or none is. Raises ProblemError.
    """
    if unknown := backup.manifest.services.keys() - SERVICES:
        detail = f"it has a database of {', '.join(sorted(unknown))}: use the version that took it"
        raise state_problem("newer-backup", "the backup is of a newer version of Fairlead", detail)
    async with contextlib.AsyncExitStack() as closing:
        with _told():
            databases = {
                service: await _open(settings, state, service, closing)
                for service in backup.manifest.services
            }
            async with contextlib.AsyncExitStack() as stack:
                for service, database in databases.items():
                    connection = await stack.enter_async_context(database.write(seconds=None))
                    await connection.run_sync(transfer.load, database, service, backup, on_part)
            await _audited(databases, state, backup)
    for part in backup.manifest.of(STATE):
        if (name := part.name.removeprefix(f"{STATE}/")) in (*DECISIONS, *KEYS):
            with backup.open(part.name) as file:
                files.write(state.root / name, file.read())
            on_part(part)


async def _audited(databases: Mapping[str, Database], state: StateFolder, backup: Backup) -> None:
    """Where the audit goes on, it says what it goes on from."""
    changes = OfflineChanges()
    changes.add("command: restored", {"taken": backup.manifest.taken, "version": backup.manifest.version})
    for database in databases.values():
        await changes.write(database, state)


async def _existing(
    settings: Settings, state: StateFolder, closing: contextlib.AsyncExitStack
) -> dict[str, Database]:
    found, missing = {}, []
    for service in SERVICES:
        try:
            found[service] = await _open(settings, state, service, closing, migrate=False)
        except ProblemError as error:
            if error.problem.code != NONE:
                raise
            missing.append(error)
    if not found:
        raise missing[0]
    return found


async def _open(
    settings: Settings,
    state: StateFolder,
    service: str,
    closing: contextlib.AsyncExitStack,
    *,
    migrate: bool = True,
) -> Database:
    url = database_url(settings, state, service)
    database = await Database.open(url, service=service, migrate=migrate)
    closing.push_async_callback(database.close)
    if not database.available:
        raise _away(f"{database.place}: {database.problem}")
    return database


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except StoreAwayError as away:
        raise _away(str(away)) from None


def _away(why: str) -> ProblemError:
    return state_problem("store-unavailable", "the database is away", f"{why}. Nothing was changed")
