from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from fairlead.buses import redis as module
from fairlead.buses.redis import RedisBus
from fairlead.model.errors import ProblemError
from support.servers import CuttableProxy, cuttable_proxy
from support.until import until

GUARD = 30.0  # s


@pytest.fixture
async def proxy(valkey_url: str) -> AsyncIterator[CuttableProxy]:
    async with cuttable_proxy(valkey_url) as proxy:
        yield proxy


@pytest.fixture
async def bus(proxy: CuttableProxy) -> AsyncIterator[RedisBus]:
    bus = RedisBus(proxy.url, "test")
    yield bus
    await bus.close()


async def take(messages: AsyncIterator[bytes], count: int = 1) -> list[bytes]:
    async with asyncio.timeout(GUARD):
        return [await anext(messages) for _ in range(count)]


@pytest.mark.parametrize("how", ["cut", "hang"])
async def test_it_goes_away_and_comes_back(bus: RedisBus, proxy: CuttableProxy, how: str) -> None:
    messages = bus.subscribe("a")
    assert await take(messages) == [b""]
    await bus.publish("a", b"1")
    assert await take(messages) == [b"1"]
    waiting = asyncio.ensure_future(take(messages))
    await (proxy.cut() if how == "cut" else asyncio.sleep(0, proxy.hang()))
    async with asyncio.timeout(GUARD):
        await until(lambda: not bus.connected)
        started = asyncio.get_running_loop().time()
        assert not await bus.publish("a", b"lost")
        assert asyncio.get_running_loop().time() - started < 0.5  # it is known to be away
    assert bus.reason
    assert not waiting.done()
    await proxy.heal()
    assert await waiting == [b""]
    assert bus.connected
    await bus.publish("a", b"2")
    assert await take(messages) == [b"2"]


async def test_publishing_to_one_that_hangs_is_bounded(bus: RedisBus, proxy: CuttableProxy) -> None:
    proxy.hang()
    async with asyncio.timeout(5):
        assert not await bus.publish("a", b"x")
    assert bus.reason
    await proxy.heal()
    assert await bus.publish("a", b"x")  # nobody subscribes, so it is tried each time


async def test_a_server_that_comes_later(valkey_url: str, proxy: CuttableProxy) -> None:
    await proxy.cut()
    bus = RedisBus(proxy.url, "test")
    messages = bus.subscribe("a")
    waiting = asyncio.ensure_future(take(messages))
    await until(lambda: "not connected yet" not in bus.reason)
    await proxy.heal()
    assert await waiting == [b""]
    await bus.close()


async def test_two_processes_and_two_services(valkey_url: str) -> None:
    one, other, foreign = (RedisBus(valkey_url, name) for name in ("test", "test", "foreign"))
    try:
        here, there = one.subscribe("a"), foreign.subscribe("a")
        assert await take(here) == await take(there) == [b""]
        await other.publish("a", b"x")
        assert await take(here) == [b"x"]
        await foreign.publish("a", b"y")
        assert await take(there) == [b"y"]
    finally:
        for bus in (one, other, foreign):
            await bus.close()


async def test_a_stream_is_bounded(valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT", 10)
    bus = RedisBus(valkey_url, "test")
    for number in range(500):
        await bus.publish("a", b"%d" % number)
    assert await bus._writer.xlen("fairlead:test:a") < 250
    await bus.close()


async def test_what_is_no_url_is_refused_without_repeating_it() -> None:
    with pytest.raises(ProblemError) as refused:
        RedisBus("http://user:hunter22@host", "test")
    assert "hunter22" not in str(refused.value)
    assert "redis://" in str(refused.value)


async def test_a_wrong_password_is_a_reason(valkey_url: str) -> None:
    bus = RedisBus(valkey_url.replace("//", "//user:hunter22@"), "test")
    assert not await bus.publish("a", b"x")
    assert bus.reason
    assert "hunter22" not in bus.reason + repr(bus)
    await bus.close()
