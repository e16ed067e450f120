"""The contracts of the lock file, while the service runs."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from fairlead.app.tool_lock import ToolLock
from fairlead.packages.lock import LockFiles
from support.until import until

CONTRACTS = {"s": {"a": {"name": "a"}}}
OTHERS = {"s": {"a": {"name": "a", "description": "b"}}}


class Fleet:
    def __init__(self) -> None:
        self.locked: list[Any] = []

    def lock_tools(self, contracts: Any) -> None:
        self.locked.append(contracts)


@pytest.fixture
def files(tmp_path: Path) -> LockFiles:
    return LockFiles(committed=tmp_path / "fleet.lock", local=tmp_path / "local.lock")


async def test_what_the_file_says_is_put_in_force(files: LockFiles) -> None:
    fleet = Fleet()
    lock = ToolLock(files, fleet)
    await lock.read()
    files.commit_contracts(CONTRACTS)
    await lock.read()
    assert fleet.locked == [{}, CONTRACTS]
    assert repr(lock) == f"<ToolLock {files.committed} known=True>"


async def test_a_file_that_becomes_unreadable_changes_nothing(files: LockFiles) -> None:
    fleet = Fleet()
    lock = ToolLock(files, fleet)
    files.commit_contracts(CONTRACTS)
    await lock.read()
    files.committed.write_text("<<<<<<< ours")
    with capture_logs() as logs:
        await lock.read()
    assert fleet.locked == [CONTRACTS]
    assert logs[0]["log_level"] == "error"
    assert logs[0]["event"].endswith("what it said last stays in force")
    assert "merge conflict" in logs[0]["detail"]


async def test_one_that_is_unreadable_from_the_start_is_told(files: LockFiles) -> None:
    fleet = Fleet()
    lock = ToolLock(files, fleet)
    files.committed.write_text("{}")
    with capture_logs() as logs:
        await lock.read()
    assert fleet.locked == [None]
    assert logs[0]["event"] == "contracts of tools unreadable"
    files.committed.unlink()
    files.commit_contracts(CONTRACTS)
    await lock.read()
    assert fleet.locked == [None, CONTRACTS]


async def test_each_change_of_the_file_is_followed(files: LockFiles) -> None:
    fleet = Fleet()
    following = asyncio.create_task(ToolLock(files, fleet).follow())
    try:
        for contracts in (CONTRACTS, OTHERS, {}):
            files.commit_contracts(contracts)
            await until(lambda wanted=contracts: fleet.locked[-1:] == [wanted])
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following
