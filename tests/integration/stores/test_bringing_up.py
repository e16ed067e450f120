"""Bringing the tables of a database up to date: how long it may take, what it says, who is in the way."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from pathlib import Path

import pytest
import structlog.testing

from fairlead.stores.sql import database as database_module
from fairlead.stores.sql import engines, schema
from fairlead.stores.sql.database import Database
from support.servers import CuttableProxy
from support.until import until

SLOW_SQLITE = (
    "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 3000000) SELECT max(n) FROM c"
)


def write_revisions(folder: Path, *statements: str) -> None:
    """All revisions, and one more that does `statements`."""
    folder.mkdir()
    for revision in schema._FOLDER.glob("r*.py"):
        shutil.copy(revision, folder)
    lines = "".join(f"    op.execute({statement!r})\n" for statement in statements)
    (folder / "r0003.py").write_text(
        f'"""Much to do."""\nrevision, down_revision = "0003", "0002"\ndef upgrade(*, op):\n{lines}'
    )


@pytest.fixture
async def older(database_url: str) -> str:
    """The URL of a database of today's revision."""
    await (await Database.open(database_url, service="orchestrator")).close()
    return database_url


def use(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "_FOLDER", folder)
    monkeypatch.setattr(schema, "HEAD", "0003")


async def test_it_may_take_longer_than_a_transaction_and_says_how_far_it_is(
    older: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = SLOW_SQLITE if older.startswith("sqlite") else "SELECT pg_sleep(1)"
    write_revisions(tmp_path / "more", slow, "CREATE TABLE more (a INTEGER)")
    use(tmp_path / "more", monkeypatch)
    for module in (database_module, engines):
        monkeypatch.setattr(module, "TIMEOUT", 0.5)
    monkeypatch.setattr(engines, "_POOL_TIMEOUT", 0.4)
    monkeypatch.setattr(database_module, "TOLD_AFTER", 0.05)
    monkeypatch.setattr(database_module, "TOLD_EVERY", 0.05)
    with structlog.testing.capture_logs() as logs:
        database = await Database.open(older, service="orchestrator")
    assert database.available
    told = [each for each in logs if each["event"] == "the tables are being brought up to date"]
    assert len(told) > 1
    assert told[-1]["step"] == "revision 0003 (Much to do.)"
    assert told[-1]["seconds"] >= 0.05
    assert [each["event"] for each in logs if each not in told] == ["the tables are up to date"]
    await database.close()


async def test_what_is_done_at_once_is_done_without_a_word(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "TOLD_AFTER", 60.0)  # at once, whatever else the machine does
    with structlog.testing.capture_logs() as logs:
        for _ in range(2):
            await (await Database.open(database_url, service="orchestrator")).close()
    assert logs == []


async def test_who_holds_the_lock_is_said(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    await (await Database.open(postgres_url, service="gitops")).close()
    monkeypatch.setattr(schema, "LOCK_WAIT", 0.2)
    monkeypatch.setattr(database_module, "LOOK", 0.05)
    holder = await Database.open(postgres_url, service="gitops")
    async with holder.write() as connection:
        await connection.exec_driver_sql(
            f"SELECT pg_advisory_xact_lock({schema.LOCK}, hashtext('fairlead_orchestrator'))"
        )
        started = time.monotonic()
        database = await Database.open(postgres_url, service="orchestrator")
        assert time.monotonic() - started < 4
        assert not database.available
        assert f"pid {os.getpid()}" in database.problem
        assert "from 127.0.0.1 (backend" in database.problem
        assert "for 0.2 s" in database.problem
    await until(lambda: database.available)
    await database.close()
    await holder.close()


async def test_who_holds_a_table_is_said(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = await Database.open(postgres_url, service="orchestrator")
    write_revisions(tmp_path / "more", "ALTER TABLE events ADD COLUMN more TEXT")
    use(tmp_path / "more", monkeypatch)
    monkeypatch.setattr(schema, "LOCK_WAIT", 0.2)
    monkeypatch.setattr(database_module, "LOOK", 0.05)
    async with old.read() as connection:
        await connection.exec_driver_sql("SELECT count(*) FROM events")
        database = await Database.open(postgres_url, service="orchestrator")
        assert f"pid {os.getpid()}" in database.problem
    await until(lambda: database.available)
    await database.close()
    await old.close()


async def test_a_server_that_hangs_at_the_start_does_not_hold_up_the_start(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (database_module, engines):
        monkeypatch.setattr(module, "TIMEOUT", 0.5)
    proxy = CuttableProxy(postgres_url)
    await proxy.start()
    proxy.hang()
    async with asyncio.timeout(5):
        database = await Database.open(proxy.url, service="orchestrator")
    assert not database.available
    await proxy.heal()
    await until(lambda: database.available)
    await database.close()
    await proxy.cut()
