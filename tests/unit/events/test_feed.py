from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from fairlead.buses.memory import MemoryBus
from fairlead.events.feed import (
    TOPIC,
    EpochError,
    Feed,
    FutureError,
    GoneError,
    SlowReaderError,
    Subscription,
    encode,
)
from fairlead.model.events import StoredEvent
from fairlead.ports import StoreAwayError
from support.event_logs import MemoryEventLog, an_event

pytestmark = pytest.mark.looptime


@pytest.fixture
def log() -> MemoryEventLog:
    return MemoryEventLog()


@pytest.fixture
def bus() -> MemoryBus:
    return MemoryBus()


@asynccontextmanager
async def running(log: MemoryEventLog, bus: MemoryBus, *, ring: int = 100) -> AsyncIterator[Feed]:
    feed = Feed(log, bus, ring=ring)
    task = asyncio.ensure_future(feed.run())
    await asyncio.sleep(0.01)
    try:
        yield feed
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def happen(log: MemoryEventLog, feed: Feed | None, *numbers: int) -> list[StoredEvent]:
    stored = await log.append([an_event(number) for number in numbers])
    if feed is not None:
        feed.offer(stored)
    return stored


async def take(subscription: Subscription, count: int) -> list[int]:
    async with asyncio.timeout(30):
        return [(await anext(subscription)).sequence for _ in range(count)]


async def nothing_comes(subscription: Subscription) -> bool:
    task = asyncio.ensure_future(anext(subscription))
    await asyncio.sleep(5)
    done = task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return not done


async def test_from_the_store_and_then_live(log: MemoryEventLog, bus: MemoryBus) -> None:
    await happen(log, None, 1, 2, 3)
    async with running(log, bus) as feed:
        subscription = await feed.follow(1)
        assert await take(subscription, 2) == [2, 3]
        await happen(log, feed, 4)
        assert await take(subscription, 1) == [4]
        assert await nothing_comes(subscription)
        assert subscription.resume_from == 4


async def test_from_now_on(log: MemoryEventLog, bus: MemoryBus) -> None:
    await happen(log, None, 1, 2, 3)
    async with running(log, bus) as feed:
        subscription = await feed.follow()
        assert subscription.resume_from == 3
        await happen(log, feed, 4, 5)
        assert await take(subscription, 2) == [4, 5]


async def test_only_what_is_wanted(log: MemoryEventLog, bus: MemoryBus) -> None:
    await happen(log, None, *range(1, 10))
    async with running(log, bus) as feed:
        subscription = await feed.follow(0, wanted=lambda event: event.sequence % 4 == 0)
        assert await take(subscription, 2) == [4, 8]
        await happen(log, feed, *range(10, 16))
        assert await take(subscription, 1) == [12]
        assert await nothing_comes(subscription)
        assert subscription.resume_from == 15  # what was not wanted need not be looked at again


async def test_resuming_from_what_was_handed_out_gives_the_rest(log: MemoryEventLog, bus: MemoryBus) -> None:
    await happen(log, None, *range(1, 8))
    async with running(log, bus) as feed:
        first = await feed.follow(0)
        assert await take(first, 3) == [1, 2, 3]
        first.close()
        assert await take(await feed.follow(first.resume_from), 4) == [4, 5, 6, 7]


async def test_events_of_other_processes_come_by_the_bus_and_gaps_from_the_store(
    log: MemoryEventLog, bus: MemoryBus
) -> None:
    async with running(log, bus) as feed:
        subscription = await feed.follow(0)
        first, second, third = await happen(log, None, 1, 2, 3)
        await bus.publish(TOPIC, encode([third]))
        async with asyncio.timeout(0.5):  # at once, not at the next look
            assert await take(subscription, 3) == [1, 2, 3]
        feed.offer([second, first])
        await bus.publish(TOPIC, encode([third]))
        assert await nothing_comes(subscription)


async def test_within_a_second_without_any_word(log: MemoryEventLog, bus: MemoryBus) -> None:
    async with running(log, bus) as feed:
        subscription = await feed.follow(0)
        await happen(log, None, 1)
        async with asyncio.timeout(1.1):
            assert await take(subscription, 1) == [1]


async def test_nonsense_on_the_bus_does_no_harm(log: MemoryEventLog, bus: MemoryBus) -> None:
    async with running(log, bus) as feed:
        await bus.publish(TOPIC, b"{")
        await bus.publish(TOPIC, b'[{"sequence": 1}]')
        stored = await happen(log, None, 1)
        await bus.publish(TOPIC, encode(stored))
        assert await take(await feed.follow(0), 1) == [1]


async def test_a_look_that_fails_is_not_the_last_one(log: MemoryEventLog, bus: MemoryBus) -> None:
    async with running(log, bus) as feed:
        read, log.read = log.read, None  # type: ignore[method-assign,assignment]
        await asyncio.sleep(3)
        log.read = read  # type: ignore[method-assign]
        await happen(log, None, 1)
        assert await take(await feed.follow(0), 1) == [1]


async def test_what_is_not_kept_any_more_is_gone(log: MemoryEventLog, bus: MemoryBus) -> None:
    await happen(log, None, *range(1, 10))
    await log.prune(before=5.0)
    async with running(log, bus) as feed:
        with pytest.raises(GoneError) as gone:
            await feed.follow(3)
        assert gone.value.oldest == 5
        assert await take(await feed.follow(4), 1) == [5]
        with pytest.raises(GoneError):
            await feed.page(0, 10)
        assert [event.sequence for event in await feed.page(4, 2)] == [5, 6]


@pytest.mark.parametrize("everything", [False, True])
async def test_what_is_pruned_while_it_is_read_is_gone(
    log: MemoryEventLog, bus: MemoryBus, *, everything: bool
) -> None:
    await happen(log, None, *range(1, 501))
    async with running(log, bus) as feed:
        subscription = await feed.follow(0)
        assert await take(subscription, 200) == list(range(1, 201))
        await log.prune(before=501.0 if everything else 300.0)
        with pytest.raises(GoneError) as gone:
            await take(subscription, 1)
        assert gone.value.oldest == (501 if everything else 300)


async def test_what_this_process_never_saw_is_gone(log: MemoryEventLog, bus: MemoryBus) -> None:
    await happen(log, None, 1)
    async with running(log, bus) as feed:
        subscription = await feed.follow(0)
        assert await take(subscription, 1) == [1]
        await happen(log, None, *range(2, 10))
        await log.prune(before=5.0)
        with pytest.raises(GoneError) as gone:
            await take(subscription, 1)
        assert gone.value.oldest == 5
        assert feed.latest == 9


async def test_the_future_is_refused_and_what_only_the_store_knows_is_not(
    log: MemoryEventLog, bus: MemoryBus
) -> None:
    async with running(log, bus) as feed:
        await happen(log, None, 1, 2)
        subscription = await feed.follow(2)
        with pytest.raises(FutureError) as future:
            await feed.follow(3)
        assert future.value.latest == 2
        await happen(log, feed, 3)
        assert await take(subscription, 1) == [3]


async def test_a_slow_reader_is_told_where_to_go_on(log: MemoryEventLog, bus: MemoryBus) -> None:
    async with running(log, bus) as feed:
        subscription = await feed.follow(0, queue=5)
        await happen(log, feed, 1)
        assert await take(subscription, 1) == [1]
        waiting = asyncio.ensure_future(take(subscription, 1))
        await asyncio.sleep(1)
        await happen(log, feed, 2)
        assert await waiting == [2]
        for number in range(3, 9):
            await happen(log, feed, number)
        assert subscription.lag == 6
        with pytest.raises(SlowReaderError) as slow:
            await take(subscription, 1)
        assert slow.value.resume_from == 2
        assert await take(await feed.follow(slow.value.resume_from), 6) == [3, 4, 5, 6, 7, 8]


async def test_what_a_reader_does_not_want_does_not_make_it_slow(log: MemoryEventLog, bus: MemoryBus) -> None:
    async with running(log, bus, ring=20) as feed:
        subscription = await feed.follow(0, queue=2, wanted=lambda event: event.sequence in (1, 15))
        await happen(log, feed, 1)
        waiting = asyncio.ensure_future(take(subscription, 2))
        await asyncio.sleep(1)
        for number in range(2, 19):
            await happen(log, feed, number)
        assert await waiting == [1, 15]


async def test_who_reads_what_is_old_is_not_slow(log: MemoryEventLog, bus: MemoryBus) -> None:
    await happen(log, None, *range(1, 1001))
    async with running(log, bus, ring=10) as feed:
        subscription = await feed.follow(0, queue=5)
        assert await take(subscription, 1000) == list(range(1, 1001))


async def test_who_falls_out_of_the_ring_is_slow(log: MemoryEventLog, bus: MemoryBus) -> None:
    async with running(log, bus, ring=10) as feed:
        subscription = await feed.follow(0, queue=5, wanted=lambda event: event.sequence < 3)
        await happen(log, feed, 1)
        waiting = asyncio.ensure_future(take(subscription, 1))
        await asyncio.sleep(0.1)
        assert await waiting == [1]
        again = asyncio.ensure_future(take(subscription, 1))
        await asyncio.sleep(0.1)
        await happen(log, feed, 2)
        assert await again == [2]
        for number in range(3, 30):
            await happen(log, feed, number)
        with pytest.raises(SlowReaderError):
            await take(subscription, 1)


async def test_while_the_store_is_away_readers_wait(log: MemoryEventLog, bus: MemoryBus) -> None:
    await happen(log, None, *range(1, 301))
    async with running(log, bus, ring=10) as feed:
        subscription = await feed.follow(0)
        assert await take(subscription, 200) == list(range(1, 201))
        log.away = "unplugged"
        assert await nothing_comes(subscription)
        with pytest.raises(StoreAwayError):
            await feed.follow(5)
        assert (await feed.follow(300)).lag == 0  # memory reaches back so far
        log.away = ""
        assert await take(subscription, 100) == list(range(201, 301))


async def test_a_start_without_the_store(log: MemoryEventLog, bus: MemoryBus) -> None:
    log.away = "unplugged"
    async with running(log, bus) as feed:
        assert feed.latest is None
        feed.offer([StoredEvent(7, an_event(7))])
        with pytest.raises(StoreAwayError):
            await feed.follow()
        log.away = ""
        await happen(log, None, 1, 2)
        await asyncio.sleep(2.5)
        assert feed.latest == 2


async def test_the_end_comes_after_the_last_event(log: MemoryEventLog, bus: MemoryBus) -> None:
    async with running(log, bus) as feed:
        waiting, behind, closed = await feed.follow(0), await feed.follow(0), await feed.follow(0)
        reading = asyncio.ensure_future(_all(waiting))
        await asyncio.sleep(1)
        await happen(log, feed, 1, 2)
        feed.close()
        closed.close()
        assert await reading == [1, 2]
        assert await _all(behind) == [1, 2]
        assert await _all(closed) == []
        assert "followers=0" in repr(feed)


async def test_the_end_does_not_wait_for_a_store_that_is_away(log: MemoryEventLog, bus: MemoryBus) -> None:
    await happen(log, None, *range(1, 301))
    async with running(log, bus, ring=10) as feed:
        subscription = await feed.follow(0)
        await take(subscription, 200)
        log.away = "unplugged"
        feed.close()
        async with asyncio.timeout(3):
            assert await _all(subscription) == []
        assert subscription.resume_from == 200


async def _all(subscription: Subscription) -> list[int]:
    return [event.sequence async for event in subscription]


async def test_another_history_of_the_same_length(log: MemoryEventLog, bus: MemoryBus) -> None:
    """As of a standby that took over, and has got as many events since."""
    log.history = "a"
    async with running(log, bus) as feed:
        await happen(log, feed, 1, 2, 3)
        reader = await feed.follow(3, epoch="a")
        log.history = "b"
        with pytest.raises(EpochError):
            await feed.follow(3, epoch="c")
        with pytest.raises(EpochError) as lost:
            await anext(reader)
        assert (lost.value.epoch, lost.value.oldest) == ("b", 4)
        with pytest.raises(EpochError):
            await feed.page(1, 9, epoch="a")
        assert await take(await feed.follow(1, epoch="b"), 2) == [2, 3]
        assert await take(await feed.follow(1), 2) == [2, 3]  # who does not say takes what he gets
        log.history = ""  # not known just now
        assert await take(await feed.follow(1, epoch="b"), 2) == [2, 3]
        with pytest.raises(EpochError):
            await feed.follow(1, epoch="a")


async def test_one_who_comes_with_the_epoch_while_the_store_is_away(
    log: MemoryEventLog, bus: MemoryBus
) -> None:
    log.history = "a"
    async with running(log, bus) as feed:
        await happen(log, feed, 1, 2, 3)
        log.away = "unplugged"
        assert await take(await feed.follow(2, epoch="a"), 1) == [3]
        with pytest.raises(StoreAwayError):
            await feed.follow(2, epoch="b")


@pytest.mark.parametrize("again", [0, 1, 2, 5, 300])
async def test_a_log_that_has_gone_back_ends_readers_and_is_followed_anew(
    again: int, log: MemoryEventLog, bus: MemoryBus
) -> None:
    """As after a fail-over to a standby that lagged; `again` events are in it when the feed looks."""
    async with running(log, bus) as feed:
        reader, idle = await feed.follow(0), await feed.follow(0, wanted=lambda _: False)
        waiting = asyncio.ensure_future(anext(idle))
        await happen(log, feed, 1, 2, 3)
        assert await take(reader, 2) == [1, 2]
        del log.kept[-2:]
        log.latest = 1
        await happen(log, feed, *range(10, 10 + again))
        await asyncio.sleep(2)
        for lost in (anext(reader), waiting):
            with pytest.raises(GoneError) as gone:
                await lost
            assert gone.value.oldest == again + 2
        assert feed.latest == again + 1
        anew = await feed.follow(feed.latest)
        await happen(log, feed, 1000)
        async with asyncio.timeout(0.1):
            assert (await anext(anew)).event.subject == "1000"
        assert [each.event.id for each in await feed.page(0, 1000)] == [each.event.id for each in log.kept]
