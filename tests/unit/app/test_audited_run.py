"""A run that ended without a word is found by the next one, which says so in the audit."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from fairlead.app import audited_run
from fairlead.app.audited_run import AuditedRun
from fairlead.audit.recorder import AuditTrail
from fairlead.ports import StoreAwayError
from fairlead.stores.sql.runs import Run
from support.audit_logs import MemoryAuditLog
from support.until import until


class MemoryRuns:
    def __init__(self) -> None:
        self.open: dict[str, Run] = {}
        self.signs = 0
        self.away = False

    def _check(self) -> None:
        if self.away:
            raise StoreAwayError("the store is away")

    async def begin(self, run_id: str, node: str) -> list[Run]:
        self._check()
        gone = [each for each in self.open.values() if each.node == node]
        self.open = {run_id: Run(run_id, node, 1000.0, 1000.0)}
        return gone

    async def seen(self, run_id: str) -> None:
        self._check()
        self.signs += 1

    async def end(self, run_id: str) -> None:
        self._check()
        del self.open[run_id]


class Service:
    """One run after the other on the same stores."""

    def __init__(self) -> None:
        self.runs, self.log = MemoryRuns(), MemoryAuditLog()
        self.now = 1000.0

    def begin(self) -> tuple[AuditedRun, AuditTrail]:
        trail = AuditTrail(self.log, node="n1", clock=lambda: self.now)
        return AuditedRun(self.runs, trail, "n1", clock=lambda: self.now), trail

    @contextlib.asynccontextmanager
    async def running(self, run: AuditedRun) -> AsyncIterator[None]:
        task = asyncio.ensure_future(run.follow())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def told(self) -> list[tuple[str, float]]:
        return [(record.action, record.at) for record in self.log.records()]


@pytest.fixture(autouse=True)
def soon(monkeypatch) -> None:
    monkeypatch.setattr(audited_run, "SEEN", 0.01)
    monkeypatch.setattr(audited_run, "RETRY", 0.01)


async def test_a_run_that_ends_well_leaves_nothing_to_find():
    service = Service()
    for _ in range(2):
        run, trail = service.begin()
        async with service.running(run):
            await until(lambda: service.runs.signs > 2)
            service.now += 10
            run.stopping()
            await trail.close()
            await run.end()
        assert not service.runs.open
        service.runs.signs = 0
    started, stopped = ("service started", "service stopped")
    assert service.told() == [(started, 1000), (stopped, 1010), (started, 1010), (stopped, 1020)]


async def test_a_run_that_was_killed_is_told_of_once_by_the_next():
    service = Service()
    run, _ = service.begin()
    async with service.running(run):
        await until(lambda: service.runs.signs)
    service.now += 60  # killed: nothing was written
    for _ in range(2):
        run, trail = service.begin()
        async with service.running(run):
            await until(lambda run=run: "begun=True" in repr(run))
            await trail.close()
            await run.end()
    assert [action for action, _ in service.told()] == ["run not ended", "service started", "service started"]
    detail = service.log.records()[0].detail
    assert (detail["node"], detail["started"], detail["seen"]) == ("n1", 1000.0, 1000.0)


async def test_a_run_whose_last_records_are_not_written_counts_as_killed():
    service = Service()
    run, trail = service.begin()
    async with service.running(run):
        await until(lambda: service.runs.signs)
        run.stopping()
        service.log.away = True
        await trail.close()
        await run.end()
    assert service.runs.open


async def test_a_store_that_is_away_at_the_start_is_begun_with_later():
    service = Service()
    service.runs.away = True
    run, trail = service.begin()
    async with service.running(run):
        await asyncio.sleep(0)
        service.now += 5
        service.runs.away = False
        await until(lambda: service.runs.open)
        await trail.close()
        service.runs.away = True
        await run.end()  # it cannot be said, and that is no error
    assert service.told() == [("service started", 1000)]


async def test_a_run_that_never_began_has_no_end():
    service = Service()
    run, _ = service.begin()
    await run.end()
    assert not service.runs.open
