"""The audit trail: nothing is lost that need not be, and what is lost is told."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from hashlib import sha256
from time import monotonic

import pytest

from fairlead.audit import recorder
from fairlead.audit.arguments import Kept
from fairlead.audit.recorder import AuditTrail
from fairlead.audit.refusals import SINGLE
from fairlead.model.access import Caller, Role
from fairlead.model.audit import DIGEST, AuditFilter, AuditKind, AuditRecord
from support.audit_logs import MemoryAuditLog
from support.until import until

ADA = Caller("ada", Role.DEVELOPER, (), "key:k1")
NOW = 1_800_000_000.0


def params(text: str = "hello") -> bytes:
    return json.dumps({"name": "echo", "arguments": {"text": text}}).encode()


def call(number: int = 0, *, given: bytes | None = None, outcome: str = "ok"):
    given = params(f"hello {number}") if given is None else given
    return (monotonic(), 0.25, ADA, "tools/call", "s", "s-1", "echo", outcome, given, 12)


def a_change(action: str = "PUT /api/fleet") -> AuditRecord:
    return AuditRecord(NOW, AuditKind.CHANGE, principal="ada", action=action)


def a_refusal() -> AuditRecord:
    return AuditRecord(NOW, AuditKind.REFUSAL, outcome="invalid-token", peer="10.0.0.1")


def digest(given: bytes) -> str:
    return DIGEST + sha256(json.dumps(json.loads(given)["arguments"]).encode()).hexdigest()


@pytest.fixture(autouse=True)
def writes_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "INTERVAL", 0.02)
    monkeypatch.setattr(recorder, "RETRY", 0.04)


@pytest.fixture
def log() -> MemoryAuditLog:
    return MemoryAuditLog()


@contextlib.asynccontextmanager
async def running(trail: AuditTrail) -> AsyncIterator[None]:
    """It ends as it does in the service."""
    task = asyncio.ensure_future(trail.run())
    await asyncio.sleep(0)
    try:
        yield
    finally:
        await trail.close()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_call_is_recorded_with_all_that_is_known_of_it(log):
    trail = AuditTrail(log, node="n1", clock=lambda: NOW)
    async with running(trail):
        trail.called(call())
        await until(lambda: log.batches)
    (record,) = log.records()
    assert record == AuditRecord(
        record.at,
        AuditKind.CALL,
        principal="ada",
        credential="key:k1",
        action="tools/call",
        server="s",
        instance="s-1",
        tool="echo",
        outcome="ok",
        seconds=0.25,
        request_bytes=len(params("hello 0")),
        answer_bytes=12,
        arguments=digest(params("hello 0")),
        node="n1",
    )
    assert record.at == pytest.approx(NOW, abs=5)


async def test_all_that_came_is_there_in_order_when_it_ends(log):
    trail = AuditTrail(log)
    many = 3007
    async with running(trail):
        for number in range(many):
            trail.called(call(number))
        trail.note(a_change())
        for _ in range(SINGLE + 3):
            trail.refused(a_refusal())
    found = [r for r in log.records() if r.kind is AuditKind.CALL]
    assert [r.arguments for r in found] == [digest(params(f"hello {number}")) for number in range(many)]
    assert [r.at for r in found] == sorted(r.at for r in found)
    assert max(batch.count for batch in log.batches.values()) < 1200
    kinds = [r.kind for r in log.records()]
    assert kinds.count(AuditKind.CHANGE) == 1
    assert kinds.count(AuditKind.REFUSAL) == SINGLE + 1  # the last one counts three
    assert trail.statistics() == {"written": len(kinds), "waiting": 0, "bytes": 0, "lost": 0}


async def test_calls_without_arguments_have_no_digest_and_the_others_keep_their_own(log):
    trail = AuditTrail(log)
    async with running(trail):
        for number in range(300):
            trail.called(call(number, given=b"{}" if number % 3 else None))
    shown = [r.arguments for r in log.records()]
    assert shown == ["" if number % 3 else digest(params(f"hello {number}")) for number in range(300)]


async def test_arguments_are_kept_as_the_policy_says(log):
    secret = json.dumps({"name": "x", "arguments": {"password": "x1y2z3w4", "text": "sesame"}}).encode()
    shown = []
    for kept in (Kept.NONE, Kept.REDACTED):
        log.batches.clear()
        trail = AuditTrail(log, arguments=kept, conceal=lambda text: text.replace("sesame", "***"))
        async with running(trail):
            trail.called(call(given=secret))
            trail.called(call(given=params("x" * 5000)))
        shown.append([r.arguments for r in log.records()])
    assert shown[0] == ["", ""]
    assert shown[1] == ['{"password":"[redacted]","text":"***"}', digest(params("x" * 5000))]


async def test_long_names_are_cut(log):
    trail = AuditTrail(log)
    async with running(trail):
        trail.called((*call()[:6], "n" * 10_000, *call()[7:]))
    assert [len(r.tool) for r in log.records()] == [recorder.MAX_NAME]


# -- the store is away ---------------------------------------------------------------


async def test_while_the_store_is_away_records_wait_and_then_come_once(log, monkeypatch):
    monkeypatch.setattr(recorder, "RETRY", 0.01)
    trail = AuditTrail(log)
    log.away = True
    async with running(trail):
        trail.called(call(1))
        await until(lambda: log.asked > 1)
        trail.called(call(2))
        await until(lambda: trail.statistics()["waiting"] == 2 and trail.statistics()["bytes"] < 2000)
        log.away = False
        await until(lambda: trail.statistics()["waiting"] == 0)
    assert [r.arguments for r in log.records()] == [digest(params(f"hello {n}")) for n in (1, 2)]


async def test_a_full_spool_keeps_the_oldest_and_the_audit_tells_of_the_rest(log, monkeypatch):
    monkeypatch.setattr(recorder, "RETRY", 0.01)
    monkeypatch.setattr(recorder, "SPOOL_RECORDS", 10)
    trail = AuditTrail(log)
    log.away = True
    async with running(trail):
        for number in range(8):
            trail.called(call(number))
        await until(lambda: log.asked)
        for number in range(5):
            trail.called(call(number, outcome="timeout"))
        await until(lambda: trail.statistics()["lost"])
        log.away = False
        await until(lambda: any(r.kind is AuditKind.SYSTEM for r in log.records()))
    assert sum(r.outcome == "ok" for r in log.records()) == 8
    (told,) = [r for r in log.records() if r.kind is AuditKind.SYSTEM]
    assert (told.action, told.detail["count"]) == ("records lost", 5)
    assert told.detail["since"] <= told.detail["until"] <= told.at
    assert trail.statistics()["lost"] == 5


async def test_it_ends_in_time_when_the_store_does_not_answer(log, monkeypatch):
    monkeypatch.setattr(recorder, "CLOSING", 0.05)
    trail = AuditTrail(log)
    log.held.clear()
    async with asyncio.timeout(10), running(trail):
        trail.called(call())
        await until(lambda: log.asked)
    assert trail.statistics()["waiting"] == 1


async def test_without_run_it_ends_with_what_it_was_given(log):
    trail = AuditTrail(log)
    trail.note(a_change())
    await trail.close()
    assert len(log.records()) == 1


async def test_a_fault_in_one_part_is_not_the_end(log, monkeypatch):
    trail = AuditTrail(log)
    async with running(trail):
        trail.note(AuditRecord(NOW, AuditKind.CHANGE, action="\ud800"))  # cannot be written
        trail.called(call(1))
        await until(lambda: not trail.statistics()["waiting"])
        trail.called(call(2))
    told, *calls = sorted(log.records(), key=lambda record: record.kind is AuditKind.CALL)
    assert (told.action, told.detail["count"]) == ("records lost", 1)
    assert [r.arguments for r in calls] == [digest(params(f"hello {number}")) for number in (1, 2)]
    assert trail.statistics() == {"written": 3, "waiting": 0, "bytes": 0, "lost": 1}


async def test_what_the_store_cannot_take_does_not_stop_what_comes_after(log, monkeypatch):
    trail = AuditTrail(log)
    refused = []

    async def append(batches):
        if not refused:
            refused.append(batches)
            raise ValueError("no such row")
        await MemoryAuditLog.append(log, batches)

    monkeypatch.setattr(log, "append", append)
    async with running(trail):
        trail.called(call(1))
        await until(lambda: trail.statistics()["lost"] == 1)
        trail.called(call(2))
    assert [r.arguments for r in log.records() if r.arguments] == [digest(params("hello 2"))]


# -- memory ---------------------------------------------------------------


async def test_large_arguments_are_digested_at_once_and_not_kept(log):
    trail = AuditTrail(log)
    large = [params(f"{number}" * (recorder.ENOUGH // 3)) for number in range(8)]
    for given in large:
        trail.called(call(given=given))
        held = sum(len(each) for each in trail._calls if isinstance(each, bytes))
        assert held <= recorder.ENOUGH
    await trail.close()
    assert [r.arguments for r in log.records()] == [digest(given) for given in large]
    assert [r.request_bytes for r in log.records()] == [len(given) for given in large]


async def test_many_calls_without_a_writer_are_bounded_and_the_audit_tells_of_the_rest(log, monkeypatch):
    monkeypatch.setattr(recorder, "MAX_PARTS", 3)
    trail = AuditTrail(log, clock=lambda: NOW)
    for number in range(2000):
        trail.called(call(number))
    lost = trail.statistics()["lost"]
    assert 1000 < lost <= 2000 - 3 * 100
    await trail.close()
    (told,) = [r for r in log.records() if r.kind is AuditKind.SYSTEM]
    assert told.detail == {"count": lost, "since": NOW, "until": NOW}
    assert len(log.records()) == 2000 - lost + 1


@pytest.mark.parametrize("kept", list(Kept))
async def test_a_call_that_cannot_be_recorded_harms_no_other(log, kept):
    trail = AuditTrail(log, arguments=kept)
    trail.called((*call()[:2], None, *call()[3:]))  # no caller
    trail._take()
    for number in range(3):
        trail.called(call(number))
    await trail.close()
    told, *calls = sorted(log.records(), key=lambda record: record.kind is AuditKind.CALL)
    assert told.detail["count"] == 1
    assert [r.principal for r in calls] == ["ada"] * 3
    assert [r.outcome for r in calls] == ["ok"] * 3


async def test_more_notes_than_can_wait_are_counted(log):
    trail = AuditTrail(log)
    for _ in range(recorder.MAX_NOTES + 3):
        trail.note(a_change())
    assert trail.statistics()["lost"] == 3
    await trail.close()
    await trail.close()
    assert sum(r.kind is AuditKind.SYSTEM for r in log.records()) == 1


async def test_a_search_is_the_logs_own(log):
    trail = AuditTrail(log)
    trail.called(call(outcome="timeout"))
    trail.called(call())
    await trail.close()
    assert [r.outcome for r in await trail.search(AuditFilter(outcome="timeout"))] == ["timeout"]
