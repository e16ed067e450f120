"""Limits that several processes share by way of a real Valkey, which may go away and come back."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable

import pytest
from redis.asyncio import Redis

from fairlead.core.accounts import Account, AccountLimits, Accounts
from fairlead.core.ratelimit import Rate, Use, settled
from fairlead.limits.shared import RECENT, SharedLimits
from fairlead.model.errors import ProblemError
from support.servers import cuttable_proxy

SLOW = Rate(60, 100)  # nothing comes in while a test runs


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def sharing(
    url: str, name: str, *, rate: Rate | None = SLOW, calls: int | None = None
) -> AsyncIterator[tuple[Accounts, SharedLimits]]:
    accounts = Accounts()
    accounts.set_limits(AccountLimits(rate, calls))
    limits = SharedLimits(url, accounts, service="test", process=name)
    limits.start()
    try:
        yield accounts, limits
    finally:
        await limits.close()


def spend(account: Account, many: int = 1000) -> int:
    """How many of so many requests at once are admitted."""
    now = asyncio.get_running_loop().time()
    return sum(account.admit(now) == 0.0 for _ in range(many))


async def spend_all(account: Account, seconds: float) -> int:
    loop, admitted = asyncio.get_running_loop(), 0
    end = loop.time() + seconds
    while loop.time() < end:
        admitted += spend(account, 5)
        await asyncio.sleep(0.005)
    return admitted


async def test_the_centre_decides_as_the_core_does(valkey_url):
    chance = random.Random(7)
    rate = Rate(600, 50)
    async with Redis.from_url(valkey_url) as redis:
        accounts = Accounts()
        limits = SharedLimits(valkey_url, accounts, service="test", process="p")
        told: dict[str, tuple[float, int]] = {}
        accounts.told = lambda uses, news, now: told.update(news)  # type: ignore[method-assign]
        arrivals = dict.fromkeys(("one", "other"), 0.0)
        for _ in range(60):
            uses = {
                name: Use(rate, chance.choice([0, 1, 5, 90]), chance.choice([0.0, 0.1, 3.0]))
                for name in arrivals
            }
            before = time.monotonic()
            await limits.tell(uses)
            arrivals = {name: settled(arrivals[name], use, before) for name, use in uses.items()}
            for name, arrival in arrivals.items():
                backlog, users = told[name]
                assert users == 1
                assert backlog == pytest.approx(max(0.0, arrival - before), abs=0.2)
            await asyncio.sleep(0.002)
        assert 0 < await redis.pttl("fairlead:test:limits:bucket:one") <= (70 + RECENT) * 1000
        await limits.close()


async def test_two_processes_use_one_burst_together(valkey_url):
    async with sharing(valkey_url, "a") as (here, _), sharing(valkey_url, "b") as (there, _):
        await until(lambda: here.processes == there.processes == 2)
        spent = await asyncio.gather(spend_all(here.of("p"), 1.0), spend_all(there.of("p"), 1.0))
        assert 95 <= sum(spent) <= 105
        assert min(spent) > 20


async def test_the_sum_over_processes_holds_at_a_steady_rate(valkey_url):
    rate = Rate(6000, 20)
    async with contextlib.AsyncExitStack() as stack:
        all_ = [
            (await stack.enter_async_context(sharing(valkey_url, str(n), rate=rate)))[0] for n in range(3)
        ]
        await until(lambda: all(accounts.processes == 3 for accounts in all_))
        started = time.monotonic()
        spent = await asyncio.gather(*(spend_all(accounts.of("p"), 3.0) for accounts in all_))
        allowed = 20 + 100 * (time.monotonic() - started)
        assert allowed * 0.85 <= sum(spent) <= allowed * 1.1


async def test_one_process_alone_gets_all_and_what_another_owes_holds_here(valkey_url):
    async with sharing(valkey_url, "a") as (here, _), sharing(valkey_url, "b") as (there, _):
        await until(lambda: here.processes == there.processes == 2)
        assert 95 <= await spend_all(here.of("p"), 1.5) <= 102
        spend(there.of("p"))  # on the credit of a newcomer
        await until(lambda: there.of("p").owes(asyncio.get_running_loop().time() + 99))
        assert await spend_all(there.of("p"), 0.3) == 0
        assert spend(there.of("other")) == 50  # others have a bucket of their own


async def test_calls_in_flight_are_shared_by_the_processes_that_a_principal_uses(valkey_url):
    async with (
        sharing(valkey_url, "a", rate=None, calls=8) as (here, _),
        sharing(valkey_url, "b", rate=None, calls=8) as (there, _),
    ):
        await until(lambda: here.processes == there.processes == 2)
        assert here.of("p").most == 4
        here.of("p").calls = 3
        await until(lambda: here.of("p").most == 8)
        there.of("p").calls = 1
        await until(lambda: here.of("p").most == there.of("p").most == 4)
        there.of("p").calls = 0
        await until(lambda: here.of("p").most == 8)


async def test_a_process_that_leaves_is_not_counted_any_more(valkey_url):
    async with sharing(valkey_url, "a") as (here, _):
        async with sharing(valkey_url, "b"):
            await until(lambda: here.processes == 2)
        await until(lambda: here.processes == 1)


@pytest.mark.parametrize("how", ["cut", "hang"])
async def test_while_the_centre_is_away_each_has_its_fair_share_and_then_it_heals(valkey_url, how):
    async with (
        cuttable_proxy(valkey_url) as proxy,
        sharing(proxy.url, "a") as (here, limits),
        sharing(valkey_url, "b") as (there, _),
    ):
        await until(lambda: here.processes == there.processes == 2)
        here.of("p")
        if how == "cut":
            await proxy.cut()
        else:
            proxy.hang()
        await until(lambda: not limits.connected)
        assert limits.reason
        assert here.processes == 2
        started = time.monotonic()
        assert spend(here.of("p")) == 50
        assert time.monotonic() - started < 0.5  # nobody waits
        await proxy.heal()
        await until(lambda: limits.connected)
        assert limits.reason == ""
        await until(lambda: here.of("p").use(asyncio.get_running_loop().time()) is None)
        assert spend(there.of("p")) == 50  # on credit, since it has not used it yet
        await until(lambda: there.of("p").use(asyncio.get_running_loop().time()) is None)
        spent = await asyncio.gather(spend_all(here.of("p"), 0.3), spend_all(there.of("p"), 0.3))
        assert sum(spent) <= 60


async def test_a_start_without_the_centre(valkey_url):
    async with cuttable_proxy(valkey_url) as proxy:
        await proxy.cut()
        async with sharing(proxy.url, "a") as (here, limits):
            await until(lambda: limits.reason != "not connected yet")
            assert spend(here.of("p")) == 100
            await proxy.heal()
            await until(lambda: limits.connected)
            assert "connected=True" in repr(limits)
            assert spend(here.of("p")) <= 2


async def test_it_can_be_closed_at_any_moment(valkey_url):
    chance = random.Random(3)
    async with cuttable_proxy(valkey_url) as proxy:
        for number in range(60):
            async with asyncio.timeout(20), sharing(proxy.url, str(number)):
                await asyncio.sleep(chance.random() * 0.004)
                if number % 2:
                    await proxy.cut()
            await proxy.heal()


async def test_very_many_buckets_are_told_in_turns(valkey_url):
    async with sharing(valkey_url, "a") as (here, limits), sharing(valkey_url, "b") as (there, _):
        await until(lambda: here.processes == there.processes == 2)
        for number in range(1000):
            spend(here.of(f"p{number}"))
        now = asyncio.get_running_loop().time
        await until(lambda: not here.uses(now()))
        assert limits.connected
        there.of("p999").admit(now())
        await until(lambda: spend(there.of("p999")) == 0)


@pytest.mark.parametrize("url", ["http://user:hunter2@127.0.0.1", "hunter2", "redis://:hunter2@127.0.0.1:x"])
def test_what_is_no_such_url_is_refused_without_showing_it(url):
    with pytest.raises(ProblemError, match=r"redis://") as refused:
        SharedLimits(url, Accounts(), service="test", process="p")
    assert "hunter2" not in str(refused.value)
