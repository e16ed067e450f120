"""Whoever comes and goes, and whatever happens to instances: servers are asked for what is wanted, no more.

The pool, its keeper and the watch are the real ones, over scripted servers in virtual time.
"""

from __future__ import annotations

import asyncio
from collections import Counter

import looptime
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fairlead.mcp.errors import McpError
from fairlead.model.fleet import Scaling
from support.pool_rig import PoolRig
from support.watched import knows, listens, say, touch, watched

URIS = ["x://a", "x://b", "x://refused"]
URI = st.sampled_from(URIS)
STEP = st.one_of(
    st.tuples(st.just("want"), URI),
    st.tuples(st.just("want and wait"), URI),
    st.tuples(st.just("drop"), URI),
    st.tuples(st.just("touch"), URI),
    st.tuples(st.sampled_from(["die", "retire", "end listening", "hang", "restart", "change"]), st.just("")),
    st.tuples(st.just("time"), st.sampled_from(["0", "0.01", "0.3", "3"])),
)


class Story:
    """What a pool's clients want, while its instances live and die."""

    def __init__(self, rig: PoolRig) -> None:
        self.rig = rig
        self.wanted: Counter[str] = Counter()
        self.ever: set[str] = set()
        self.waiting: list[asyncio.Task] = []

    async def step(self, what: str, detail: str) -> None:
        watch, pool = self.rig.pool.watch, self.rig.pool
        links = [link for link in self.rig.driver.running if not link._hangs]
        match what:
            case "want" | "want and wait":
                self.wanted[detail] += 1
                self.ever.add(detail)
                watch.want(detail, None)
                if what == "want and wait":
                    self.waiting.append(asyncio.ensure_future(watch.kept(detail, None)))
            case "drop" if self.wanted[detail]:
                self.wanted[detail] -= 1
                watch.drop(detail, None)
            case "touch":
                for link in links:
                    touch(link, detail)
            case "die" if links:
                links[0].lose()
            case "hang" if links:
                links[0].hang()
            case "retire" if pool.members.ready():
                pool.retire(pool.members.ready()[0].id)
            case "end listening":
                for link in links:
                    for number in listens(link):
                        say(link, "notifications/cancelled", requestId=number)
                        link.sent.append(
                            {"method": "notifications/cancelled", "params": {"requestId": number}}
                        )
            case "restart":
                await pool.stop()
                pool.start()
            case "change" if pool.serves:
                new = self.rig.changed(args=(str(self.rig.now),))
                newcomers = await pool.prepare(new)
                pool.commit(new, pool._fleet, newcomers)
            case "time":
                await asyncio.sleep(float(detail))

    async def settle(self) -> None:
        await asyncio.sleep(150.0)
        for task in self.waiting:
            assert task.done()
            assert task.exception() is None or isinstance(task.exception(), McpError)

    def check(self) -> None:
        known = [uri for link in self.rig.driver.running for uri in knows(link)]
        assert sorted(known) == sorted(
            uri for uri, count in self.wanted.items() if count and "refused" not in uri
        )
        assert {uri for uri, _ in self.rig.listener.updates} <= self.ever - {"x://refused"}


async def live(era: str, steps: list[tuple[str, str]]) -> None:
    scaling = Scaling(min_instances=2, max_instances=3)
    async with PoolRig(watched(era), scaling=scaling, ticking=True) as rig:
        story = Story(rig)
        for step in steps:
            await story.step(*step)
        await story.settle()
        story.check()
        for uri in [uri for uri, count in story.wanted.items() for _ in range(count)]:
            await story.step("drop", uri)
        await story.settle()
        story.check()
        carriers = rig.pool.watch._carriers
        assert not carriers or not carriers[None].wanted


@pytest.mark.parametrize("era", ["legacy", "modern"])
@settings(max_examples=50, deadline=None)
@given(steps=st.lists(STEP, max_size=20))
@example(steps=[("time", "0.01"), ("want and wait", "x://refused"), ("hang", "")])
def test_servers_are_asked_for_what_is_wanted_and_for_nothing_else(era, steps):
    with asyncio.Runner(loop_factory=lambda: looptime.new_event_loop(noop_cycles=4)) as runner:
        runner.run(live(era, steps))
