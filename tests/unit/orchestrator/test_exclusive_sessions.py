"""Sessions that lease instances of their profile, and lives of both kinds of servers. All in virtual time."""

import asyncio
import random

import pytest

from fairlead.core.lifecycle import InstanceState
from fairlead.mcp.profiles import NOBODY
from fairlead.model.errors import ProblemError
from fairlead.model.fleet import CircuitBreaker, ClientRequest, Sharing
from fairlead.model.status import Standing
from support.exclusive_rig import (
    BOTH,
    ELICITS,
    FLEET,
    ROOTED,
    SAMPLES,
    ExclusiveRig,
)

pytestmark = pytest.mark.looptime


def stateful(maximum=3, **spec):
    return ExclusiveRig(sharing=Sharing.SESSION, maximum=maximum, **spec)


async def test_a_session_leases_one_that_was_told_of_its_profile():
    async with stateful() as rig:
        await rig.ready()
        mine = await rig.acquire(ROOTED, key="session:a")
        assert rig.told(mine) == {"roots": {"listChanged": True}, "sampling": {}}
        assert mine.leased_to == "session:a"
        assert rig.pool.leases == ("session:a",)
        assert rig.pool.pick("session:a") is mine, "a session may have many calls"
        assert await rig.acquire(NOBODY, key="session:a") is mine
        assert not rig.exclusive
        rig.link(mine).say({"jsonrpc": "2.0", "id": 9, "method": "roots/list"})
        await rig.pool.release("session:a")
        await asyncio.sleep(1)
        assert mine.state is InstanceState.STOPPED
        assert rig.pool.leases == ()


async def test_calls_of_one_session_at_a_time_lease_one_instance():
    async with stateful() as rig:
        instances = await asyncio.gather(*(rig.acquire(key="session:a") for _ in range(5)))
        assert len(set(instances)) == 1
        assert rig.pool.leases == ("session:a",)
        await asyncio.sleep(1)
        assert rig.running == 2, "with the spare one"


async def test_a_principal_has_one_call_at_a_time():
    async with stateful() as rig:
        mine = await rig.acquire(key="principal:p")
        second = rig.acquire(key="principal:p")
        await asyncio.sleep(5)
        assert not second.done()
        rig.answer(mine)
        assert await second is mine
        rig.pool.adjust(rig.spec, FLEET)
        assert mine.limit == 1


async def test_leases_are_bounded_by_the_maximum_and_the_spare_one_makes_room():
    async with stateful(maximum=2) as rig:
        await rig.ready()
        await rig.acquire(key="session:a")
        await rig.acquire(key="session:b")
        assert (rig.running, rig.driver.most) == (2, 2)
        with pytest.raises(ProblemError, match="belong to others"):
            await rig.acquire(key="session:c")
        await rig.pool.release("session:a")
        await rig.acquire(key="session:c")
        assert rig.pool.leases == ("session:b", "session:c")
        assert rig.driver.most == 2


async def test_who_waits_for_a_lease_when_all_are_taken_is_told():
    async with stateful(maximum=1) as rig:
        await rig.ready()
        first, second = rig.acquire(key="session:a"), rig.acquire(key="session:b", timeout=40)
        await first
        with pytest.raises(ProblemError):
            await second


async def test_sessions_lease_in_the_order_of_their_first_call():
    async with stateful(maximum=2) as rig:
        await rig.acquire(key="session:x")
        await rig.acquire(key="session:y")
        await rig.pool.release("session:x")
        rig.driver.delay = 3.0
        calls = [rig.acquire(key=f"session:{name}") for name in "abab"]
        await calls[0]
        assert rig.pool.leases == ("session:y", "session:a")
        await calls[2]
        for call in (calls[1], calls[3]):
            with pytest.raises(ProblemError, match="belong to others"):
                await call


# -- a life ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("sharing", Sharing)
async def test_whatever_happens_there_are_never_too_many_and_nobody_is_forgotten(seed, sharing):
    rng = random.Random(seed)
    maximum = rng.choice([1, 2, 4])
    rig = ExclusiveRig(
        maximum=maximum,
        sharing=sharing,
        client_requests=tuple(ClientRequest),
        circuit_breaker=CircuitBreaker(enabled=False),
    )
    most = maximum if sharing is Sharing.SESSION else max(2, maximum)
    async with rig:
        await rig.ready()
        calls = []
        for step in range(150):
            members = list(rig.pool.members)
            match rng.randrange(8):
                case 0 if members and rng.random() < 0.3:
                    rig.link(rng.choice(members)).lose()
                case 1 if members:
                    rig.link(rng.choice(members)).hang()
                case 2 if calls:
                    rng.choice(calls).cancel()
                case 3 if sharing is Sharing.SESSION and rig.pool.leases:
                    await rig.pool.release(rng.choice(rig.pool.leases))
                case 4:
                    rig.pool.scale_to(rng.randint(1, maximum), "test")
                case 5 | 6:
                    profile = rng.choice([SAMPLES, ELICITS, BOTH, ROOTED])
                    key = f"session:{rng.choice('abc')}"
                    calls.append(rig.acquire(profile, key=key, timeout=rng.choice([1, 20, 90])))
                case 7:
                    for one in [i for i in members if i.calls_in_flight]:
                        rig.answer(one)
            rig.driver.delay = rng.choice([0.0, 0.5, 3.0])
            await asyncio.sleep(rng.choice([0.0, 0.01, 0.5, 2.0, 6.0]))
            counted = [
                i for i in rig.pool.members if i.health.standing is not Standing.UNHEALTHY and not i.retiring
            ]
            assert len(counted) <= most, step
            assert rig.driver.most <= 2 * most
            assert all(i.calls_in_flight <= 1 for i in rig.exclusive)
        for link in rig.driver.running:
            link.go_on()
        done = asyncio.gather(*calls, return_exceptions=True)
        while not done.done():
            for one in [i for i in rig.pool.members if i.calls_in_flight]:
                rig.answer(one)
            await asyncio.sleep(0.5)
        kinds = {type(one.exception()) for one in calls if not one.cancelled()}
        assert kinds <= {ProblemError, type(None)}
        assert type(None) in kinds
        assert rig.pool.calls_waiting == 0
        for one in [i for i in rig.pool.members if i.calls_in_flight]:
            rig.answer(one)
        for key in rig.pool.leases:
            await rig.pool.release(key)
        rig.pool.scale_to(1, "test")
        await asyncio.sleep(200)
        assert rig.exclusive == []
        assert rig.running == len(rig.shared) == 1, "it comes to rest"
