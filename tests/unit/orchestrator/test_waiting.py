"""Those who wait: in order, bounded in time, and nobody's turn gets lost."""

import asyncio
import random

import pytest

from fairlead.orchestrator.waiting import WaitingRoom

pytestmark = pytest.mark.looptime


class Visitors:
    """People who wait in a room; `served` are those whose turn came, in order."""

    def __init__(self):
        self.room = WaitingRoom()
        self.served = []
        self.tasks = {}
        self.numbers = {}

    def enter(self, name, *, timeout=100.0):
        self.tasks[name] = asyncio.create_task(self._visit(name, timeout))

    async def _visit(self, name, timeout):  # noqa: ASYNC109
        now = asyncio.get_running_loop().time()
        number = self.numbers.setdefault(name, self.room.number())
        await self.room.wait(now + timeout, since=now, number=number)
        self.served.append(name)

    async def settle(self):
        for _ in range(5):
            await asyncio.sleep(0)


async def visitors(*names, **kwargs):
    made = Visitors()
    for name in names:
        made.enter(name, **kwargs)
    await made.settle()
    return made


async def test_first_come_first_served():
    here = await visitors(*"abcd")
    assert len(here.room) == 4
    here.room.call(2)
    assert here.room.called == 2
    await here.settle()
    assert here.served == ["a", "b"]
    here.room.call_all()
    await here.settle()
    assert here.served == list("abcd")
    assert (len(here.room), here.room.called) == (0, 0)


async def test_a_call_into_an_empty_room_is_for_nobody():
    here = await visitors()
    here.room.call(3)
    here.room.call_all()
    here.enter("a")
    await here.settle()
    assert here.served == []
    here.room.call(1)
    await here.settle()
    assert here.served == ["a"]


@pytest.mark.parametrize("count", [0, -1])
async def test_no_room_calls_nobody(count):
    here = await visitors("a")
    here.room.call(count)
    await here.settle()
    assert (here.served, len(here.room)) == ([], 1)
    here.tasks["a"].cancel()


async def test_those_who_were_called_and_found_nothing_keep_their_order():
    here = await visitors(*"abcd")
    here.room.call(3)
    await here.settle()
    here.enter("e")
    await here.settle()
    for name in ("b", "a", "c"):  # back in any order
        here.enter(name)
        await here.settle()
    here.served.clear()
    for _ in range(5):
        here.room.call(1)
        await here.settle()
    assert here.served == list("abcde")


async def test_who_waits_too_long_is_told_and_leaves_nothing(looptime):
    here = await visitors("a", timeout=2)
    with pytest.raises(TimeoutError):
        await here.tasks["a"]
    assert looptime == 2
    assert (len(here.room), here.room.called) == (0, 0)


async def test_who_comes_too_late_is_told_at_once(looptime):
    room = WaitingRoom()
    with pytest.raises(TimeoutError):
        await room.wait(-1.0, since=-2.0, number=room.number())
    assert looptime == 0
    assert (len(room), room.called) == (0, 0)


async def test_who_is_called_and_goes_away_at_once_passes_the_turn_on():
    here = await visitors(*"ab")
    here.room.call(1)
    here.tasks["a"].cancel()  # called, but not yet awake
    await here.settle()
    assert here.served == ["b"]
    assert here.room.called == 0


async def test_who_went_away_before_the_call_gets_none():
    here = await visitors(*"abc")
    here.tasks["a"].cancel()
    here.room.call(1)
    await here.settle()
    assert here.served == ["b"]
    assert (len(here.room), here.room.called) == (1, 0)
    here.tasks["c"].cancel()


async def test_a_turn_that_comes_with_the_timeout_is_not_lost():
    here = await visitors("a", timeout=2)
    here.enter("b")
    loop = asyncio.get_running_loop()
    loop.call_at(2, here.room.call, 1)
    await asyncio.sleep(3)
    assert len(here.served) == 1, "one of them had the turn"
    assert here.room.called == 0
    here.tasks["b"].cancel()
    await asyncio.gather(*here.tasks.values(), return_exceptions=True)


async def test_how_long_the_first_one_has_waited():
    room = WaitingRoom()
    assert room.longest(7.0) == 0.0
    waiting = asyncio.create_task(room.wait(100.0, since=1.0, number=room.number()))
    await asyncio.sleep(0)
    assert room.longest(7.0) == 6.0
    assert repr(room) == "<WaitingRoom 1>"
    waiting.cancel()


@pytest.mark.parametrize("seed", range(20))
async def test_turns_are_neither_lost_nor_made_up_whatever_happens(seed):
    rng = random.Random(seed)
    here = Visitors()
    gone, calls = 0, 0
    for step in range(300):
        match rng.randrange(5):
            case 0 | 1:
                here.enter(step, timeout=rng.choice([0.5, 3, 50]))
            case 2:
                running = [task for task in here.tasks.values() if not task.done()]
                if running:
                    rng.choice(running).cancel()
            case 3:
                count = rng.randrange(3)
                waiting = sum(not future.done() for *_, future in here.room.queue)
                here.room.call(count)
                calls += min(count, waiting)
            case 4:
                await asyncio.sleep(rng.choice([0, 0.1, 1]))
    await here.settle()
    await asyncio.sleep(60)
    results = await asyncio.gather(*here.tasks.values(), return_exceptions=True)
    gone = sum(isinstance(result, BaseException) for result in results)
    assert (len(here.room), here.room.called) == (0, 0)
    assert len(here.served) + gone == len(here.tasks)
    assert len(here.served) <= calls
