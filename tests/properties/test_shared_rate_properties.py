"""Buckets that several processes share: never much more than one process alone would let through, nor much
less, whatever the demand, the moments of telling, and outages of the centre. Simulated, event by event.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.core.ratelimit import RECENT, Gcra, Rate, settled

PERIOD = 0.1  # s, as in `limits.shared`
LAST = 60.0
RATES = st.sampled_from([Rate(60, 10), Rate(300, 50), Rate(1000, 166), Rate(3000, 20)])
SEEDS = st.integers(0, 2**32)
PROCESSES = st.integers(1, 6)


@dataclass
class Cluster:
    """Processes with a bucket each, and their centre. The centre's clock is ahead of theirs."""

    rate: Rate
    processes: int
    seed: int
    away: tuple[float, float] = (0.0, 0.0)
    admitted: list[float] = field(default_factory=list)

    def run(self, demand: Sequence[tuple[float, float, float]]) -> int:
        """`demand`: from when to when each process is asked, and how much; how many requests got through."""
        random_ = random.Random(self.seed)
        self._buckets = [Gcra(self.rate, share=1 / self.processes) for _ in range(self.processes)]
        self._used = [float("-inf")] * self.processes
        self._arrival = 0.0
        happens = [(random_.random() * PERIOD, 1, process) for process in range(self.processes)]
        for process, (since, until, times) in enumerate(demand):
            now = since
            while times and (now := now + random_.expovariate(times / self.rate.interval)) < min(until, LAST):
                happens.append((now, 0, process))
        heapq.heapify(happens)
        while happens and happens[0][0] < LAST:
            now, tells, process = heapq.heappop(happens)
            if not tells:
                if self._buckets[process].admit(now) == 0.0:
                    self.admitted.append(now)
                continue
            self._tell(process, now)
            heapq.heappush(happens, (now + PERIOD * (0.8 + 0.4 * random_.random()), 1, process))
        return len(self.admitted)

    def _tell(self, process: int, now: float) -> None:
        bucket = self._buckets[process]
        use = bucket.use(now)
        if use is None or self.away[0] <= now < self.away[1]:
            bucket.set_share(1 / self.processes)
            return
        clock = now + 1e6
        self._arrival = settled(self._arrival, use, clock)
        self._used[process] = now
        users = sum(now - used < RECENT for used in self._used)
        sharers = self.processes if bucket.fresh else users
        bucket.told(use, max(0.0, self._arrival - clock), 1 / sharers, now)

    @property
    def allowed(self) -> float:
        """What one bucket lets through from the start to the end."""
        return self.rate.burst + LAST / self.rate.interval


@settings(deadline=None, max_examples=40)
@given(RATES, PROCESSES, SEEDS, st.floats(1.0, 4.0))
def test_under_load_the_sum_is_that_of_one_bucket(rate, processes, seed, times):
    cluster = Cluster(rate, processes, seed)
    admitted = cluster.run([(0.0, LAST, times)] * processes)
    assert admitted <= cluster.allowed * 1.1 + processes
    assert admitted >= cluster.allowed * 0.8 - processes - 3 * cluster.allowed**0.5  # of chance arrivals


@settings(deadline=None, max_examples=30)
@given(RATES, PROCESSES, SEEDS)
def test_one_process_alone_can_use_nearly_all_of_it(rate, processes, seed):
    cluster = Cluster(rate, processes, seed)
    admitted = cluster.run([(0.0, LAST, 4.0)])
    assert cluster.allowed * 0.95 - 2 <= admitted <= cluster.allowed + 1


@settings(deadline=None, max_examples=40)
@given(RATES, PROCESSES, SEEDS, st.floats(0.0, 30.0), st.floats(0.0, 40.0))
def test_while_the_centre_is_away_the_sum_still_holds(rate, processes, seed, since, seconds):
    cluster = Cluster(rate, processes, seed, (since, since + seconds))
    admitted = cluster.run([(0.0, LAST, 3.0)] * processes)
    assert admitted <= cluster.allowed * 1.1 + 2 * processes


DEMANDS = st.lists(
    st.tuples(st.floats(0, LAST), st.floats(0, LAST), st.sampled_from([0.2, 1.0, 5.0, 50.0])), max_size=6
)


@settings(deadline=None, max_examples=60)
@given(RATES, st.integers(6, 8), SEEDS, DEMANDS)
def test_whoever_comes_when_adds_no_more_than_one_burst_that_is_owed(rate, processes, seed, demand):
    cluster = Cluster(rate, processes, seed)
    cluster.run(demand)
    for number, now in enumerate(cluster.admitted, 1):
        assert number <= 2 * rate.burst + now / rate.interval + processes


@pytest.mark.parametrize("processes", [2, 5])
def test_processes_that_come_one_after_the_other_hold_the_sum(processes):
    rate = Rate(1000, 166)
    cluster = Cluster(rate, processes, seed=1)
    admitted = cluster.run([(number * 5.0, LAST, 3.0) for number in range(processes)])
    assert cluster.allowed * 0.97 <= admitted <= cluster.allowed * 1.1
