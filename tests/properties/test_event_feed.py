"""Readers of a feed see every event once and in order, however appends, outages and readers interleave."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.buses.memory import MemoryBus
from fairlead.events.feed import TOPIC, Feed, SlowReaderError, Subscription, encode
from fairlead.events.journal import Journal
from fairlead.model.events import EventType, StoredEvent
from fairlead.ports import StoreAwayError
from support.event_logs import MemoryEventLog, an_event
from support.virtual_time import run_virtually

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("note"), st.integers(1, 30)),
        st.tuples(st.just("other"), st.integers(1, 30)),  # another process, told by the bus or not
        st.tuples(st.just("bus"), st.booleans()),
        st.tuples(st.just("store"), st.booleans()),
        st.tuples(st.just("answers"), st.booleans()),
        st.tuples(st.just("follow"), st.integers(0, 5)),
        st.tuples(st.just("stall"), st.integers(0, 5)),
        st.tuples(st.just("wait"), st.floats(0.001, 3)),
    ),
    max_size=40,
)


@dataclass
class Reader:
    """Reads until it is told to stall; when it was too slow, it goes on where it was told to."""

    feed: Feed
    modulus: int
    subscription: Subscription | None = None
    seen: list[int] = field(default_factory=list)
    goes: asyncio.Event = field(default_factory=asyncio.Event)

    def wanted(self, event: StoredEvent) -> bool:
        return event.sequence % self.modulus == 0

    async def read(self) -> None:
        self.goes.set()
        await self.follow(0)
        while self.subscription is not None:
            try:
                async for event in self.subscription:
                    self.seen.append(event.sequence)
                    await self.goes.wait()
                return
            except SlowReaderError as slow:
                await self.follow(slow.resume_from)

    async def follow(self, since: int) -> None:
        while True:
            with suppress(StoreAwayError):
                self.subscription = await self.feed.follow(since, wanted=self.wanted, queue=20)
                return
            await asyncio.sleep(1)


class DeafBus(MemoryBus):
    """Loses what is published while it is `deaf`."""

    deaf = False

    async def publish(self, topic: str, payload: bytes) -> bool:
        return not self.deaf and await super().publish(topic, payload)


class World:
    def __init__(self) -> None:
        self.log, self.bus = MemoryEventLog(), DeafBus()
        self.feed = Feed(self.log, self.bus, ring=50)
        self.journal = Journal(self.log, self.feed, self.bus, "/test")
        self.readers: list[Reader] = []
        self.others = 0
        self.noted = 0
        self.tasks = [asyncio.ensure_future(self.feed.run()), asyncio.ensure_future(self.journal.run())]

    async def do(self, step: str, value: float) -> None:
        if step == "note":
            for _ in range(int(value)):
                self.noted += 1
                self.journal.note(EventType.SERVER_SCALED, str(self.noted), {})
        elif step == "other" and not self.log.away and not self.log.lose_answers:
            self.others += int(value)
            events = [an_event(number) for number in range(self.others - int(value), self.others)]
            await self.bus.publish(TOPIC, encode(await self.log.append(events)))
        elif step == "bus":
            self.bus.deaf = not value
        elif step == "store":
            self.log.away = "" if value else "unplugged"
        elif step == "answers":
            self.log.lose_answers = not value
        elif step == "follow":
            self.follow(int(value) + 1)
        elif step == "stall" and self.readers:
            goes = self.readers[int(value) % len(self.readers)].goes
            goes.clear() if goes.is_set() else goes.set()
        elif step == "wait":
            await asyncio.sleep(value)

    def follow(self, modulus: int) -> None:
        self.readers.append(Reader(self.feed, modulus))
        self.tasks.append(asyncio.ensure_future(self.readers[-1].read()))

    async def settle(self) -> None:
        self.log.away, self.log.lose_answers, self.bus.deaf = "", False, False
        assert await self.journal.flush(60) == 0
        for reader in self.readers:
            reader.goes.set()
        await asyncio.sleep(10)
        self.feed.close()
        await asyncio.gather(*self.tasks[2:])
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@settings(max_examples=100, deadline=None)
@given(STEPS)
def test_no_gap_no_double_no_disorder(steps: list[tuple[str, float]]) -> None:
    async def play() -> None:
        world = World()
        for step, value in steps:
            await world.do(step, value)
        await world.settle()
        latest = world.log.latest
        assert [stored.sequence for stored in world.log.kept] == list(range(1, latest + 1))
        own = [int(e.event.subject) for e in world.log.kept if e.event.source == "/test" and not e.event.data]
        assert own == list(range(1, world.noted + 1))
        for reader in world.readers:
            assert reader.seen == [n for n in range(1, latest + 1) if n % reader.modulus == 0]

    run_virtually(play())
