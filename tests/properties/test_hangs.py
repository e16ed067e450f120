"""Any hang is out of rotation and replaced within 30 s; a busy instance is not ended before its calls' time.

The pool, its keeper and the monitor are the real ones, over scripted servers in virtual time.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import looptime
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fairlead.core.lifecycle import ENDED
from fairlead.model.fleet import Scaling
from fairlead.model.status import Standing
from support.pool_rig import PoolRig
from support.scripted import legacy

BOUND = 30.0  # s
ROUNDING = 0.01  # s


@dataclass
class Life:
    """What happens until the first instance hangs, and how. Times in s from when it was ready."""

    hang: float
    calls: list[tuple[float, float]] = field(default_factory=list)  # those that hang with it: begin, timeout
    answered: list[float] = field(default_factory=list)  # when calls came that were answered at once
    instances: int = 1
    start: float = 0.0  # s that a start takes
    end: float = 0.0  # s that it takes to end a process
    sent_after: list[float] = field(default_factory=list)  # calls that it gets after that, s from the hang


LIVES = st.builds(
    Life,
    hang=st.floats(0, 70),
    calls=st.lists(st.tuples(st.floats(0, 75), st.floats(0.5, 120)), max_size=4),
    answered=st.lists(st.floats(0, 90), max_size=20),
    instances=st.integers(1, 3),
    start=st.floats(0, 5),
    end=st.floats(0, 5),
    sent_after=st.lists(st.floats(0, 30), max_size=3),
)


class Seen:
    """What became of the instance that hung."""

    def __init__(self):
        self.out = self.replaced = self.ended = None  # loop time
        self.too_early = []  # calls that failed before their deadlines


async def live(life: Life) -> Seen:
    usual = legacy()

    def script(message):
        params = message.get("params") or {}
        return [] if params.get("name") == "silent" else usual(message)

    scaling = Scaling(min_instances=life.instances, max_instances=life.instances)
    rig = PoolRig(script, ticking=True, scaling=scaling)
    rig.driver.delay, rig.driver.close_delay = life.start, life.end
    seen = Seen()
    async with rig:
        victim = (await rig.ready(life.instances))[0]
        loop, born = asyncio.get_running_loop(), rig.now
        hung_at = born + life.hang
        deadlines = []

        def call(name, timeout):
            if victim.state in ENDED or victim.health.standing is Standing.UNHEALTHY:
                return  # it gets no calls any more
            future = rig.send(victim, name=name, timeout=timeout)
            deadline = rig.now + timeout
            if name == "silent" or rig.now >= hung_at - ROUNDING:
                deadlines.append(deadline)
            future.add_done_callback(lambda done: judge(done, deadline))

        def judge(done, deadline):
            if not done.cancelled() and done.exception() is not None and rig.now < deadline:
                seen.too_early.append((rig.now, deadline, done.exception()))

        for begin, timeout in life.calls:
            loop.call_at(born + min(begin, life.hang), call, "silent", timeout)
        for moment in life.answered:
            if moment < life.hang:
                loop.call_at(born + moment, call, "echo", 60.0)
        for moment in life.sent_after:
            loop.call_at(hung_at + moment, call, "echo", 60.0)
        loop.call_at(hung_at, rig.link(victim).hang)
        others = set(rig.pool.instances) - {victim}
        while rig.now < hung_at + BOUND + life.start + 130:
            await asyncio.sleep(0.05 if rig.now < hung_at + 40 else 1.0)
            if rig.now < hung_at:
                assert victim in rig.pool.rotation, "a false alarm"
                continue
            if seen.out is None and victim not in rig.pool.rotation:
                seen.out = rig.now - hung_at
            serving = [i for i in rig.pool.members.ready() if i in rig.pool.rotation and i is not victim]
            if seen.replaced is None and len(serving) == life.instances:
                seen.replaced = rig.now - hung_at
            if seen.ended is None and victim.state in ENDED:
                seen.ended = rig.now
                seen.last_deadline = max([hung_at, *deadlines])
        assert others <= set(rig.pool.instances), "the others are left alone"
        assert rig.running == life.instances
    return seen


def lived(life: Life) -> Seen:
    with asyncio.Runner(loop_factory=lambda: looptime.new_event_loop(noop_cycles=4)) as runner:
        return runner.run(live(life))


@settings(max_examples=25, deadline=None)
@given(LIVES)
@example(Life(hang=0.0))
@example(Life(hang=29.99, answered=[29.98]))
@example(Life(hang=1.00001, instances=2, start=4.0, sent_after=[0.0, 0.0]))  # at once, but for rounding
@example(Life(hang=10.0, calls=[(9.0, 120.0)], instances=2, start=5.0))
@example(Life(hang=40.0, calls=[(0.0, 45.0), (39.9, 60.0)], end=5.0, sent_after=[1.0, 6.0]))
def test_any_hang_is_out_of_rotation_and_replaced_within_30_s_and_calls_have_their_time(life):
    seen = lived(life)
    assert seen.out is not None
    assert seen.out <= BOUND
    assert seen.replaced is not None
    assert seen.replaced <= BOUND + life.start + ROUNDING
    assert seen.too_early == []
    assert seen.ended is not None, "it does not stay for ever"
    assert seen.ended <= seen.last_deadline + BOUND + life.end + ROUNDING
