"""The database on real servers and files: brought up, away, back, damaged, of another version, closed."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from fairlead.model.errors import ProblemError
from fairlead.ports import StoreAwayError
from fairlead.stores.sql import schema
from fairlead.stores.sql.applications import SqlApplicationStore
from fairlead.stores.sql.database import Database, sqlite_url
from fairlead.stores.sql.engines import TIMEOUT
from fairlead.stores.sql.migrations import HEAD
from fairlead.stores.sql.tables import COUNTERS, FACTS, KEYS, METADATA
from support.servers import PostgresServer, cuttable_proxy, running_postgres

GUARD = 20.0  # s


async def until(condition, seconds: float = GUARD) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = await Database.open(database_url, service="orchestrator")
    yield opened
    await opened.close()


async def put(database: Database, name: str, *, seconds: float = TIMEOUT, after=lambda: None) -> None:
    async with database.write(seconds=seconds) as connection:
        await connection.execute(FACTS.insert().values(name=name, value="1"))
        if (waiting := after()) is not None:
            await waiting


async def names(database: Database) -> set[str]:
    async with database.read() as connection:
        return set((await connection.execute(sqlalchemy.select(FACTS.c.name))).scalars()) - {"probe"}


async def test_the_migrations_give_the_tables_of_the_code(database: Database) -> None:
    def differences(connection: sqlalchemy.Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"version_table": schema.VERSION_TABLE})
        return list(compare_metadata(context, METADATA))

    async with database.read() as connection:
        assert await connection.run_sync(differences) == []
        counters = await connection.execute(sqlalchemy.select(COUNTERS))
        names = ("events", "identities", "specs", "gitops")
        assert {tuple(row) for row in counters} == {(name, 0) for name in names}


async def test_a_database_of_the_first_revision_keeps_what_it_has(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as then:  # what that version did
        then.setattr(schema, "HEAD", "0001")
        then.setattr(
            schema,
            "bring_up",
            lambda connection, name, place, _: (
                schema.lock(connection, name), schema.upgrade(connection, place, "0001"),
            ),
        )  # fmt: skip
        database = await Database.open(database_url, service="gitops")
        await put(database, "a")
        async with database.write() as connection:
            await connection.execute(sqlalchemy.update(COUNTERS).values(value=7))
        await database.close()
    database = await Database.open(database_url, service="gitops")
    assert await names(database) == {"a"}
    async with database.read() as connection:
        found = await connection.execute(sqlalchemy.select(COUNTERS))
        assert {row.name: row.value for row in found} == {
            "events": 7,
            "identities": 7,
            "specs": 7,
            "gitops": 0,
        }
    assert await SqlApplicationStore(database).states() == {}
    await database.close()


async def test_a_block_is_all_or_nothing(database: Database) -> None:
    with pytest.raises(ZeroDivisionError):
        await put(database, "a", after=lambda: 1 // 0)
    assert await names(database) == set()
    await put(database, "a")
    assert await names(database) == {"a"}
    assert database.available


async def test_a_broken_constraint_is_no_absence(database: Database) -> None:
    await put(database, "a")
    with pytest.raises(sqlalchemy.exc.IntegrityError):
        await put(database, "a")
    assert database.available


async def test_errors_do_not_tell_values(database: Database) -> None:
    values = {"id": "k", "principal": "p", "digest": b"canary", "label": "canary", "created": 0.0}
    async with database.write() as connection:
        await connection.execute(KEYS.insert().values(**values))
    with pytest.raises(sqlalchemy.exc.IntegrityError) as caught:
        async with database.write() as connection:
            await connection.execute(KEYS.insert().values(**values | {"id": "other"}))
    assert "canary" not in f"{caught.value!r} {caught.value}"


async def test_a_read_is_a_snapshot(database: Database) -> None:
    async with database.read() as connection:
        select = sqlalchemy.select(sqlalchemy.func.count()).select_from(FACTS)
        before = (await connection.execute(select)).scalar_one()
        await put(database, "meanwhile")
        assert (await connection.execute(select)).scalar_one() == before


async def test_upserts(database: Database) -> None:
    for value in ("1", "2"):
        insert = database.insert(FACTS).values(name="a", value=value)
        async with database.write() as connection:
            await connection.execute(
                insert.on_conflict_do_update(index_elements=["name"], set_={"value": insert.excluded.value})
            )
    async with database.read() as connection:
        found = await connection.execute(sqlalchemy.select(FACTS).where(FACTS.c.name == "a"))
        assert found.all() == [("a", "2")]


async def test_many_open_at_once(database_url: str) -> None:
    """Two services of a host, or two threads of a test: one migrates, the others wait."""
    opened = await asyncio.gather(*(Database.open(database_url, service="orchestrator") for _ in range(4)))
    try:
        await asyncio.gather(*(put(each, f"n{number}") for number, each in enumerate(opened)))
        assert await names(opened[0]) == {"n0", "n1", "n2", "n3"}
    finally:
        await asyncio.gather(*(each.close() for each in opened))


OPEN = """
import asyncio, sys
from fairlead.stores.sql.database import Database
async def main():
    database = await Database.open(sys.argv[1], service="orchestrator")
    print(database.available, database.problem)
    await database.close()
asyncio.run(main())
"""


async def test_processes_migrate_one_after_the_other(database_url: str) -> None:
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", OPEN, database_url, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(3)
    ]
    for process in processes:
        out, error = await asyncio.wait_for(process.communicate(), GUARD)
        # Before it stand the logs of what takes long.
        assert (out.splitlines()[-1].strip(), error) == (b"True", b"")


async def test_a_database_from_the_future(database_url: str) -> None:
    database = await Database.open(database_url, service="orchestrator")
    async with database.write() as connection:
        await connection.exec_driver_sql(f"UPDATE {schema.VERSION_TABLE} SET version_num = '9999'")
    await database.close()
    with pytest.raises(ProblemError, match="newer version") as caught:
        await Database.open(database_url, service="orchestrator")
    assert caught.value.problem.code == "newer-database"
    assert "9999" in caught.value.problem.detail


async def test_a_database_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "orchestrator.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE music (title TEXT)")
    other.close()
    with pytest.raises(ProblemError, match="not Fairlead's"):
        await Database.open(sqlite_url(path), service="orchestrator")


async def test_without_migrating_it_must_be_of_this_version(database_url: str, tmp_path: Path) -> None:
    with pytest.raises(ProblemError, match="there is no database yet"):
        await Database.open(database_url, service="orchestrator", migrate=False)
    assert os.listdir(tmp_path) == []  # noqa: PTH208
    await (await Database.open(database_url, service="orchestrator")).close()
    database = await Database.open(database_url, service="orchestrator", migrate=False)
    assert database.available
    await database.close()


async def test_services_have_schemas_of_their_own(postgres_url: str) -> None:
    one = await Database.open(postgres_url, service="orchestrator")
    other = await Database.open(postgres_url, service="gitops")
    try:
        await put(one, "a")
        assert await names(other) == set()
        assert (one.schema, other.schema) == ("fairlead_orchestrator", "fairlead_gitops")
    finally:
        await one.close()
        await other.close()


async def test_closing_leaves_nothing(database_url: str) -> None:
    threads, tasks = threading.active_count(), len(asyncio.all_tasks())
    database = await Database.open(database_url, service="orchestrator")
    await put(database, "a")
    await asyncio.gather(*(names(database) for _ in range(8)))
    await database.close()
    await until(lambda: threading.active_count() <= threads)
    assert len(asyncio.all_tasks()) == tasks
    with pytest.raises(StoreAwayError, match="closed"):
        await names(database)


async def test_closing_waits_for_what_is_open(database: Database) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        async with database.write() as connection:
            await connection.execute(FACTS.insert().values(name="slow", value="1"))
            begun.set()
            await go_on.wait()

    writing = asyncio.get_running_loop().create_task(slow())
    await begun.wait()
    closing = asyncio.get_running_loop().create_task(database.close())
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.gather(writing, closing)


async def test_a_transaction_that_takes_too_long_ends(database: Database) -> None:
    started = time.monotonic()
    with pytest.raises(StoreAwayError, match="in time"):
        await put(database, "a", seconds=0.2, after=lambda: asyncio.sleep(GUARD))
    assert time.monotonic() - started < 5
    await until(lambda: database.available)
    assert await names(database) == set()


async def test_a_cancelled_writer_leaves_no_lock(database: Database) -> None:
    begun = asyncio.Event()

    async def stuck() -> None:
        async with database.write() as connection:
            await connection.execute(FACTS.insert().values(name="a", value="1"))
            begun.set()
            await asyncio.sleep(GUARD)

    writing = asyncio.get_running_loop().create_task(stuck())
    await begun.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    await put(database, "b")
    assert await names(database) == {"b"}


# --- SQLite ---


async def test_a_lock_ends_with_its_connection(tmp_path: Path) -> None:
    """Though somebody, perhaps a traceback, still holds a cursor of it: SQLite alone would wait for that."""
    database = await Database.open(sqlite_url(tmp_path / "a.db"), service="orchestrator")
    other = await Database.open(sqlite_url(tmp_path / "a.db"), service="orchestrator")
    held = []
    counting = "SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 2000000"
    slow = f"WITH RECURSIVE c(n) AS ({counting}) SELECT max(n) FROM c"

    async def stuck() -> None:
        async with database.write() as connection:
            await connection.execute(FACTS.insert().values(name="a", value="1"))
            raw = await connection.get_raw_connection()
            cursor = await raw.driver_connection.execute("SELECT name FROM facts")
            held.append((cursor, await cursor.fetchone()))
            await connection.exec_driver_sql(slow)

    writing = asyncio.get_running_loop().create_task(stuck())
    await until(lambda: held)
    await asyncio.sleep(0.05)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    await asyncio.wait_for(put(other, "b"), 3)
    assert await names(other) == {"b"}
    assert held
    await database.close()
    await other.close()


async def test_sqlite_files_are_private_and_safe(tmp_path: Path) -> None:
    path = tmp_path / "an odd?name%20#.db"
    database = await Database.open(sqlite_url(path), service="orchestrator")
    await put(database, "a")
    with os.scandir(tmp_path) as found:
        modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in found}
    async with database.write() as connection:
        values = [
            (await connection.exec_driver_sql(f"PRAGMA {pragma}")).scalar_one()
            for pragma in ("journal_mode", "synchronous", "foreign_keys")
        ]
    await database.close()
    assert modes == dict.fromkeys((path.name, f"{path.name}-wal", f"{path.name}-shm"), 0o600)
    assert values == ["wal", 2, 1]


@pytest.mark.parametrize("content", [b"no database, but long enough for one" * 99, b"\0" * 9000])
async def test_a_file_that_is_no_database(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "orchestrator.db"
    path.write_bytes(content)
    with pytest.raises(ProblemError, match="cannot use the database") as caught:
        await Database.open(sqlite_url(path), service="orchestrator")
    assert str(path) in caught.value.problem.detail
    assert path.read_bytes() == content


async def test_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "orchestrator.db"
    database = await Database.open(sqlite_url(path), service="orchestrator")
    await database.close()
    content = bytearray(path.read_bytes())
    content[100:4096] = os.urandom(3996)  # the page that says which tables there are
    path.write_bytes(content)
    with pytest.raises(ProblemError, match="cannot use the database"):
        await Database.open(sqlite_url(path), service="orchestrator")


@pytest.mark.parametrize("missing", ["folder", "link"])
async def test_a_place_that_cannot_be_used(tmp_path: Path, missing: str) -> None:
    path = tmp_path / "nowhere" / "orchestrator.db"
    if missing == "link":
        path = tmp_path / "orchestrator.db"
        path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ProblemError, match="cannot use the database"):
        await Database.open(sqlite_url(path), service="orchestrator")


READ_ONLY = """
import asyncio, os, queue, sys
from pathlib import Path
import aiosqlite
from fairlead.model.errors import ProblemError
from fairlead.stores.sql.database import Database
folder = Path(sys.argv[1])
async def main():
    if os.geteuid() == 0:
        os.setgid(65534); os.setuid(65534)
    try:
        await Database.open(f"sqlite:///{folder / 'orchestrator.db'}", service="orchestrator")
    except ProblemError as error:
        print(error)
asyncio.run(main())
"""


@pytest.mark.parametrize("what", ["folder", "file"])
def test_what_may_not_be_written(tmp_path: Path, what: str) -> None:
    tmp_path.parent.chmod(0o755)
    tmp_path.parent.parent.chmod(0o755)
    if what == "file":
        tmp_path.chmod(0o777)
        (tmp_path / "orchestrator.db").touch(mode=0o444)
        (tmp_path / "orchestrator.db").chmod(0o444)
    else:
        tmp_path.chmod(0o555)
    try:
        done = subprocess.run(
            [sys.executable, "-c", READ_ONLY, str(tmp_path)], capture_output=True, text=True, check=False
        )
    finally:
        tmp_path.chmod(0o755)
    assert done.stdout.startswith("cannot use the database (Permission denied)"), done


async def test_a_lock_that_is_held_for_too_long(tmp_path: Path) -> None:
    path = tmp_path / "orchestrator.db"
    database = await Database.open(sqlite_url(path), service="orchestrator")
    other = sqlite3.connect(path, isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        writing = asyncio.get_running_loop().create_task(put(database, "a"))
        assert await names(database) == set()  # readers go on
        with pytest.raises(StoreAwayError, match="locked"):
            await writing
        assert not database.available
        assert "locked" in database.problem
        other.execute("ROLLBACK")
        await until(lambda: database.available)
        await put(database, "a")
    finally:
        other.close()
        await database.close()


async def test_a_file_that_is_removed_or_replaced(tmp_path: Path) -> None:
    """What is written into a file without a name is lost with the process."""
    path, aside = tmp_path / "orchestrator.db", tmp_path / "aside.db"
    database = await Database.open(sqlite_url(path), service="orchestrator")
    path.rename(aside)
    for replace in (lambda: None, path.touch):
        replace()
        with pytest.raises(StoreAwayError, match="removed or replaced"):
            await put(database, "a")
        assert not database.available
    aside.rename(path)
    await until(lambda: database.available)
    await put(database, "a")
    await database.close()


FULL = """
import asyncio, resource, sys
from fairlead.ports import StoreAwayError
from fairlead.stores.sql.database import Database
from fairlead.stores.sql.tables import FACTS

def limit(size):  # what a full disk does: a write beyond it fails
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

async def main():
    database = await Database.open(sys.argv[1], service="orchestrator")
    async def put(name, size):
        async with database.write() as connection:
            await connection.execute(FACTS.insert().values(name=name, value="x" * size))
    await put("before", 10)
    limit(150_000)
    try:
        await put("too much", 1_000_000)
    except StoreAwayError as away:
        print("away:", away, database.available)
    async with database.read() as connection:
        print([row.name for row in await connection.execute(FACTS.select()) if row.name != "probe"])
    limit(resource.RLIM_INFINITY)
    async with asyncio.timeout(10):
        while not database.available:
            await asyncio.sleep(0.02)
    await put("after", 1_000_000)
    print("healed")
    await database.close()
asyncio.run(main())
"""


def test_a_full_disk(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, sqlite_url(tmp_path / "orchestrator.db")],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if "fairlead.database" not in line]
    assert len(lines) >= 3, done
    away = next(line for line in lines if line.startswith("away:"))
    assert away.endswith("False")
    assert "full" in away or "I/O" in away
    assert "['before']" in lines
    assert lines[-1] == "healed"


# --- PostgreSQL ---


async def test_a_server_that_is_cut_off_and_heals(postgres_url: str) -> None:
    async with cuttable_proxy(postgres_url) as proxy:
        database = await Database.open(proxy.url, service="orchestrator")
        await put(database, "before")
        await proxy.cut()
        with pytest.raises(StoreAwayError):
            await put(database, "away")
        assert not database.available
        assert database.problem
        await proxy.heal()
        await until(lambda: database.available)
        await put(database, "after")
        assert await names(database) == {"before", "after"}
        await database.close()


async def test_connections_that_were_cut_are_replaced_unnoticed(postgres_url: str) -> None:
    async with cuttable_proxy(postgres_url) as proxy:
        database = await Database.open(proxy.url, service="orchestrator")
        await asyncio.gather(*(names(database) for _ in range(5)))
        await proxy.cut()
        await proxy.heal()
        await asyncio.gather(*(names(database) for _ in range(5)))
        await put(database, "a")
        assert database.available
        await database.close()


async def test_a_server_that_hangs(postgres_url: str) -> None:
    async with cuttable_proxy(postgres_url) as proxy:
        database = await Database.open(proxy.url, service="orchestrator")
        await asyncio.gather(*(names(database) for _ in range(5)))
        proxy.hang()
        started = time.monotonic()
        with pytest.raises(StoreAwayError):
            await put(database, "hung")
        assert time.monotonic() - started < 9
        await proxy.heal()
        await until(lambda: database.available)
        await asyncio.gather(*(put(database, f"after{number}") for number in range(5)))
        await database.close()


async def test_closing_while_the_server_hangs(postgres_url: str) -> None:
    async with cuttable_proxy(postgres_url) as proxy:
        database = await Database.open(proxy.url, service="orchestrator")
        await asyncio.gather(*(names(database) for _ in range(5)))
        proxy.hang()
        started = time.monotonic()
        await database.close()
        assert time.monotonic() - started < 7


async def test_a_server_that_is_away_at_the_start(postgres_url: str) -> None:
    async with cuttable_proxy(postgres_url) as proxy:
        await proxy.cut()
        database = await Database.open(proxy.url, service="orchestrator")
        assert not database.available
        with pytest.raises(StoreAwayError):
            await put(database, "a")
        await proxy.heal()
        await until(lambda: database.available)
        await put(database, "a")
        await database.close()


async def test_a_server_that_crashes_and_restarts() -> None:
    with running_postgres() as server:
        database = await Database.open(server.url(), service="orchestrator")
        await put(database, "before")
        await asyncio.to_thread(server.stop)
        with pytest.raises(StoreAwayError):
            await put(database, "away")
        await asyncio.to_thread(server.start)
        await until(lambda: database.available)
        await put(database, "after")
        assert await names(database) == {"before", "after"}
        await database.close()


async def test_tables_that_have_gone(postgres_server: PostgresServer, postgres_url: str) -> None:
    """They are not made anew while we run: perhaps somebody restores them just now."""
    database = await Database.open(postgres_url, service="orchestrator")
    name = postgres_url.rpartition("/")[2]
    postgres_server.run("ALTER SCHEMA fairlead_orchestrator RENAME TO other", name)
    with pytest.raises(StoreAwayError, match="does not exist"):
        await put(database, "a")
    postgres_server.run("ALTER SCHEMA other RENAME TO fairlead_orchestrator", name)
    await until(lambda: database.available)
    await database.close()


async def test_a_database_that_can_only_be_read(postgres_server: PostgresServer, postgres_url: str) -> None:
    """As a standby, or a server in recovery."""
    name = postgres_url.rpartition("/")[2]
    await (await Database.open(postgres_url, service="orchestrator")).close()
    postgres_server.run(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    database = await Database.open(postgres_url, service="orchestrator")
    assert not database.available
    assert "read-only" in database.problem
    postgres_server.run(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    await until(lambda: database.available)
    await put(database, "a")
    postgres_server.run(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    end = f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'"
    postgres_server.run(end)
    for _ in range(2):  # the first may be the one that finds its connection ended
        with pytest.raises(StoreAwayError, match=r"read-only|connection"):
            await put(database, "b")
    assert await names(database) == {"a"}  # reading goes on
    assert not database.available
    postgres_server.run(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    postgres_server.run(end)
    await until(lambda: database.available)
    await database.close()


async def test_a_stopped_writer_does_not_hold_up_others_for_ever(postgres_url: str) -> None:
    one = await Database.open(postgres_url, service="orchestrator")
    other = await Database.open(postgres_url, service="orchestrator")
    async with one.read() as connection:
        shown = await connection.exec_driver_sql("SHOW idle_in_transaction_session_timeout")
        assert shown.scalar_one() == "10s"
    async with one.write() as connection:
        await connection.execute(COUNTERS.update().values(value=1))
        with pytest.raises(StoreAwayError, match=r"in time|timeout"):
            async with other.write(seconds=0.3) as waiting:
                await waiting.execute(COUNTERS.update().values(value=2))
    await one.close()
    await other.close()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda url: url.replace("fairlead@", "nobody:canary@"), "role .nobody. does not exist"),
        (lambda url: url + "x", "does not exist"),
    ],
)
async def test_a_wrong_url(postgres_url: str, change, words: str) -> None:
    with pytest.raises(ProblemError, match=words) as caught:
        await Database.open(change(postgres_url), service="orchestrator")
    assert "FAIRLEAD_DATABASE" in caught.value.problem.detail
    assert "canary" not in str(caught.value)


def test_the_migrations_are_in_the_wheel(tmp_path: Path) -> None:
    """A database is brought up by what is installed, without the source tree."""
    root = Path(__file__).parents[3]
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=root, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    done = subprocess.run(
        [sys.executable, "-c", OPEN, sqlite_url(tmp_path / "orchestrator.db")],
        env={"PYTHONPATH": str(tmp_path / "installed")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    last = done.stdout.strip().rpartition("\n")[2]  # after a log, where it was slow
    assert (last.strip(), done.stderr) == ("True", "")


def test_the_latest_revision_is_the_one_that_is_said() -> None:
    assert schema.scripts().get_current_head() == HEAD
