from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from fairlead.buses.memory import MemoryBus
from fairlead.events import journal as module
from fairlead.events.feed import TOPIC, Feed
from fairlead.events.journal import Journal
from fairlead.model.events import EventType
from support.event_logs import MemoryEventLog

pytestmark = pytest.mark.looptime

SCALED = EventType.SERVER_SCALED


@asynccontextmanager
async def running(log: MemoryEventLog, bus: MemoryBus | None = None) -> AsyncIterator[tuple[Journal, Feed]]:
    bus = bus or MemoryBus()
    feed = Feed(log, bus)
    journal = Journal(log, feed, bus, "/test", now=asyncio.get_running_loop().time)
    tasks = [asyncio.ensure_future(feed.run()), asyncio.ensure_future(journal.run())]
    await asyncio.sleep(0.01)
    try:
        yield journal, feed
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def subjects(log: MemoryEventLog) -> list[str]:
    return [stored.event.subject for stored in log.kept]


async def test_what_is_noted_is_kept_in_order_and_then_told() -> None:
    log, bus = MemoryEventLog(), MemoryBus()
    messages = bus.subscribe(TOPIC)
    async with running(log, bus) as (journal, feed):
        subscription = await feed.follow()
        for number in range(450):
            journal.note(SCALED, str(number), {"number": number})
        assert await journal.flush() == 0
        assert subjects(log) == [str(number) for number in range(450)]
        assert log.appends == 3
        told = [await anext(subscription) for _ in range(450)]
        assert told == log.kept
        assert await anext(messages) == b""
        assert b'"subject":"0"' in await anext(messages)
        event = told[7].event
        assert (event.type, event.source, event.data) == (SCALED, "/test", {"number": 7})
        assert journal.statistics() == module.JournalStatistics(0, 450, 0, "")
        assert not journal.degraded


async def test_nothing_is_told_before_it_is_kept() -> None:
    log = MemoryEventLog()
    async with running(log) as (journal, feed):
        subscription = await feed.follow()
        log.pause = 1.0
        journal.note(SCALED, "a", {})
        telling = asyncio.ensure_future(anext(subscription))
        await asyncio.sleep(0.9)
        assert not telling.done()
        assert (await telling).sequence == 1


async def test_settled_returns_when_all_that_was_noted_is_kept() -> None:
    log = MemoryEventLog()
    async with running(log) as (journal, _feed):
        await journal.settled()
        log.pause = 1.0
        for number in range(3):
            journal.note(SCALED, str(number), {})
            await asyncio.sleep(0.5)
        waiting = [asyncio.ensure_future(journal.settled()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()  # one who has gone takes nothing from the others
        await asyncio.gather(*waiting[1:])
        assert subjects(log) == ["0", "1", "2"]


async def test_nobody_waits_for_a_store_that_is_away() -> None:
    log = MemoryEventLog()
    async with running(log) as (journal, _feed):
        log.away = "unplugged"
        journal.note(SCALED, "a", {})
        await journal.settled()
        assert journal.degraded
        journal.note(SCALED, "b", {})
        started = asyncio.get_running_loop().time()
        await journal.settled()
        assert asyncio.get_running_loop().time() == started  # at once
        await asyncio.sleep(30)
        assert log.appends < 25  # not too often
        assert journal.statistics().waiting == 2
        log.away = ""
        assert await journal.flush() == 0
        assert subjects(log) == ["a", "b"]
        assert not journal.degraded


async def test_an_append_whose_answer_was_lost_gives_no_double() -> None:
    log = MemoryEventLog()
    async with running(log) as (journal, feed):
        subscription = await feed.follow()
        log.lose_answers = True
        journal.note(SCALED, "a", {})
        await asyncio.sleep(1)
        journal.note(SCALED, "b", {})
        await asyncio.sleep(1)
        log.lose_answers = False
        assert await journal.flush() == 0
        assert subjects(log) == ["a", "b"]
        assert [(await anext(subscription)).sequence for _ in "ab"] == [1, 2]


async def test_an_overflow_drops_the_newest_and_is_an_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CAPACITY", 10)
    log = MemoryEventLog()
    async with running(log) as (journal, _feed):
        log.away = "unplugged"
        for number in range(10):
            journal.note(SCALED, str(number), {})
        await asyncio.sleep(1)
        first = asyncio.get_running_loop().time()
        for number in range(10, 15):
            journal.note(SCALED, str(number), {})
            await asyncio.sleep(1)
        assert journal.statistics().lost == 5
        log.away = ""
        await asyncio.sleep(5)
        journal.note(SCALED, "after", {})
        assert await journal.flush() == 0
        assert subjects(log) == [*map(str, range(10)), "", "after"]
        lost = log.kept[10].event
        assert lost.type is EventType.EVENTS_LOST
        assert lost.data == {"count": 5, "since": pytest.approx(first), "until": pytest.approx(first + 4)}


async def test_a_flush_is_bounded() -> None:
    log = MemoryEventLog()
    async with running(log) as (journal, _feed):
        log.away = "unplugged"
        journal.note(SCALED, "a", {})
        started = asyncio.get_running_loop().time()
        assert await journal.flush(2.0) == 1
        assert asyncio.get_running_loop().time() == pytest.approx(started + 2)


async def test_events_wait_from_before_the_writer_runs() -> None:
    log, bus = MemoryEventLog(), MemoryBus()
    journal = Journal(log, Feed(log, bus), bus, "/test")
    journal.note(SCALED, "early", {})
    writing = asyncio.ensure_future(journal.run())
    assert await journal.flush() == 0
    writing.cancel()
    assert subjects(log) == ["early"]
    assert repr(journal) == "<Journal waiting=0 written=1 lost=0>"


async def test_known_secrets_are_taken_out_and_nothing_else() -> None:
    log, bus = MemoryEventLog(), MemoryBus()
    journal = Journal(
        log, Feed(log, bus), bus, "/test", conceal=lambda text: text.replace("hunter22", "[redacted]")
    )
    writing = asyncio.ensure_future(journal.run())
    data = {"reason": "key hunter22 refused", "tools": [{"tool": "hunter22"}], "count": 3, "none": None}
    journal.note(SCALED, "s", data)
    await journal.settled()
    (stored,) = log.kept
    writing.cancel()
    assert stored.event.data == {
        "reason": "key [redacted] refused",
        "tools": [{"tool": "[redacted]"}],
        "count": 3,
        "none": None,
    }


async def test_one_that_no_store_takes_does_not_hold_up_the_others() -> None:
    class Choosy(MemoryEventLog):
        async def append(self, events):
            if any(event.subject == "bad" for event in events):
                raise ValueError("a bug")
            return await super().append(events)

    log = Choosy()
    async with running(log) as (journal, _feed):
        for number in range(100):
            journal.note(SCALED, str(number), {})
        journal.note(SCALED, "bad", {})
        journal.note(SCALED, "bad", {})
        await journal.settled()
        journal.note(SCALED, "after", {})
        assert await journal.flush() == 0
        assert [s for s in subjects(log) if s] == [*map(str, range(100)), "after"]
        assert [e.event.data["count"] for e in log.kept if e.event.type is EventType.EVENTS_LOST] == [2]
        assert not journal.degraded
