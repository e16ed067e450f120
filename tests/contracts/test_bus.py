"""What every bus does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from fairlead.buses.memory import MemoryBus
from fairlead.buses.redis import RedisBus
from fairlead.ports import Bus
from support.until import until

GUARD = 20.0  # s


@pytest.fixture(params=["memory", "redis"])
async def bus(request: pytest.FixtureRequest) -> AsyncIterator[Bus]:
    bus: Bus = MemoryBus() if request.param == "memory" else RedisBus(_url(request), "test")
    yield bus
    await bus.close()


def _url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue("valkey_url")
    return url


async def take(messages: AsyncIterator[bytes], count: int) -> list[bytes]:
    async with asyncio.timeout(GUARD):
        return [await anext(messages) for _ in range(count)]


async def standing(bus: Bus, topic: str) -> AsyncIterator[bytes]:
    messages = bus.subscribe(topic)
    assert await take(messages, 1) == [b""]
    return messages


async def test_a_subscriber_gets_what_is_published_from_then_on_in_order(bus: Bus) -> None:
    assert await bus.publish("a", b"before")
    messages = await standing(bus, "a")
    sent = [b"%d" % number for number in range(250)]
    for payload in sent:
        assert await bus.publish("a", payload)
    assert await take(messages, 250) == sent
    assert bus.connected
    assert bus.reason == ""


async def test_every_subscriber_gets_it(bus: Bus) -> None:
    subscribers = [await standing(bus, "a") for _ in range(3)]
    await bus.publish("a", b"x")
    for messages in subscribers:
        assert await take(messages, 1) == [b"x"]


async def test_topics_are_apart(bus: Bus) -> None:
    one, other = await standing(bus, "a"), await standing(bus, "b")
    await bus.publish("b", b"x")
    await bus.publish("a", b"y")
    assert await take(one, 1) == [b"y"]
    assert await take(other, 1) == [b"x"]


async def test_any_bytes_are_carried(bus: Bus) -> None:
    messages = await standing(bus, "a")
    payload = bytes(range(256)) * 1000
    await bus.publish("a", payload)
    assert await take(messages, 1) == [payload]


async def test_who_waits_is_woken(bus: Bus) -> None:
    messages = await standing(bus, "a")
    waiting = asyncio.ensure_future(take(messages, 1))
    await asyncio.sleep(0)
    await bus.publish("a", b"x")
    assert await waiting == [b"x"]


async def test_a_subscriber_that_leaves_takes_nothing_with_it(bus: Bus) -> None:
    leaving, staying = await standing(bus, "a"), await standing(bus, "a")
    task = asyncio.ensure_future(take(leaving, 1))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task], timeout=GUARD / 2)
    assert task.cancelled(), "and not only when `take` has waited long enough"
    await bus.publish("a", b"x")
    assert await take(staying, 1) == [b"x"]


async def test_after_the_close_subscriptions_end_and_nothing_is_published(bus: Bus) -> None:
    waiting = await standing(bus, "a")
    task = asyncio.ensure_future(_rest(waiting))
    await asyncio.sleep(0)
    await bus.close()
    async with asyncio.timeout(GUARD):
        assert await task == []
        assert not await bus.publish("a", b"x")
        assert set(await _rest(bus.subscribe("a"))) <= {b""}
    await until(lambda: not bus.connected)
    assert bus.reason


async def _rest(messages: AsyncIterator[bytes]) -> list[bytes]:
    return [payload async for payload in messages]
