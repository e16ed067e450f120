"""A key is looked at as often as it must be, never twice at the same time, and never forgotten."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.kit.keyed_queue import LONGEST_PAUSE, SLOW, KeyedQueue

pytestmark = pytest.mark.looptime


class Work:
    """Takes a second for each look; fails for the keys that are told to."""

    def __init__(self, *, again: float | None = None) -> None:
        self.began: list[tuple[float, str]] = []
        self.now: Counter[str] = Counter()
        self.most = 0
        self.failing: set[str] = set()
        self.failures: list[str] = []
        self.again = again

    async def __call__(self, key: str) -> float | None:
        self.began.append((asyncio.get_running_loop().time(), key))
        self.now[key] += 1
        assert self.now[key] == 1
        self.most = max(self.most, self.now.total())
        try:
            await asyncio.sleep(1.0)
            if key in self.failing:
                msg = "no"
                raise OSError(msg)
        finally:
            self.now[key] -= 1
        return self.again

    def failed(self, key: str, error: Exception) -> None:
        assert isinstance(error, OSError)
        self.failures.append(key)

    def times(self, key: str) -> list[float]:
        return [at for at, each in self.began if each == key]


def queue_of(work: Work, *, workers: int = 2) -> KeyedQueue:
    return KeyedQueue(work, workers=workers, on_failure=work.failed, rng=lambda: 0.5)


async def test_a_key_that_is_added_often_is_looked_at_once():
    work = Work()
    queue = queue_of(work)
    for _ in range(5):
        queue.add("a")
    queue.add("b")
    queue.add("c")
    assert queue.statistics().waiting == 3
    await queue.idle()
    assert Counter(key for _, key in work.began) == {"a": 1, "b": 1, "c": 1}
    assert work.most == 2


async def test_what_is_added_while_it_is_looked_at_is_looked_at_again():
    work = Work()
    queue = queue_of(work)
    queue.add("a")
    await asyncio.sleep(0.5)
    queue.add("a")
    queue.add("a")
    await queue.idle()
    assert work.times("a") == [0.0, 1.0]


async def test_a_failure_is_tried_again_with_growing_pauses_and_hinders_nobody():
    work = Work()
    work.failing.add("a")
    queue = queue_of(work)
    queue.add("a")
    await asyncio.sleep(100_000)  # so often that a power of two would be too large
    times = work.times("a")
    pauses = [later - earlier - 1.0 for earlier, later in itertools.pairwise(times)]
    assert pauses[:6] == pytest.approx([1, 2, 4, 8, 16, 32])
    assert max(pauses) == pytest.approx(LONGEST_PAUSE)
    assert queue.statistics().failing == 1
    work.failing.clear()
    queue.add("a")  # does not wait for the pause
    await queue.idle()
    assert work.times("a")[-1] == pytest.approx(100_000, abs=1.1)
    assert queue.statistics().failing == queue.statistics().later == 0
    await queue.close()


async def test_it_looks_again_by_itself_when_it_wants_to():
    work = Work(again=10.0)
    queue = queue_of(work)
    queue.add("a")
    await asyncio.sleep(25)
    assert work.times("a") == pytest.approx([0, 11, 22])
    queue.forget("a")
    await asyncio.sleep(100)
    assert len(work.began) == 3
    await queue.close()


async def test_the_nearer_time_counts():
    work = Work()
    queue = queue_of(work)
    queue.add("a", after=10.0)
    queue.add("a", after=50.0)
    queue.add("a", after=5.0)
    await asyncio.sleep(100)
    assert work.times("a") == pytest.approx([5.0])


async def test_after_its_end_nothing_begins():
    work = Work(again=1.0)
    queue = queue_of(work)
    for key in "abc":
        queue.add(key)
    await asyncio.sleep(0.5)
    await queue.close()
    queue.add("d")
    await asyncio.sleep(10)
    assert [key for _, key in work.began] == ["a", "b"]


@given(st.lists(st.tuples(st.floats(0, 10), st.sampled_from("abcde")), max_size=30), st.integers(1, 4))
def test_every_key_is_looked_at_after_it_was_added_last(added: list[tuple[float, str]], workers: int):
    async def run() -> None:
        work = Work()
        queue = queue_of(work, workers=workers)
        loop = asyncio.get_running_loop()
        for at, key in added:
            loop.call_at(at, queue.add, key)
        await asyncio.sleep(11)
        await queue.idle()
        assert work.most <= workers
        for at, key in added:
            assert any(began >= at - 1e-9 for began in work.times(key))
        await queue.close()

    import looptime

    loop = looptime.new_event_loop(start=0.0)
    try:
        loop.run_until_complete(run())
    finally:
        loop.close()


async def test_slow_work_gives_its_worker_back():
    slow = asyncio.Event()
    began: list[str] = []

    async def work(key: str) -> None:
        began.append(key)
        if key.startswith("slow"):
            await slow.wait()

    queue = KeyedQueue(work, workers=2, on_failure=lambda key, error: None, rng=lambda: 0.5)
    for key in ("slow1", "slow2", "a", "b"):
        queue.add(key)
    await asyncio.sleep(SLOW / 2)
    assert began == ["slow1", "slow2"]
    queue.add("slow1")
    await asyncio.sleep(SLOW)
    assert began == ["slow1", "slow2", "a", "b"], "and a slow key is not worked on twice at a time"
    slow.set()
    await queue.idle()
    assert began[-1] == "slow1"
    assert queue.statistics().working == 0
    await queue.close()
