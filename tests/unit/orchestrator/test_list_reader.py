"""Lists that cannot be read, or may not be kept: the last good ones stay for a while. In virtual time."""

import asyncio

import pytest

from fairlead.mcp.caching import CacheHint
from fairlead.model.fleet import Lists
from fairlead.model.status import ServerState
from fairlead.orchestrator.catalogue import ListHint
from support.pool_rig import PoolRig
from support.scripted import answer, legacy, refuse
from support.watched import asked, say, watched

pytestmark = pytest.mark.looptime


class Server:
    """Tools and prompts of a legacy server; the lists in `broken` cannot be read."""

    def __init__(self):
        self.broken = set()
        self.prompts = ["p"]

    def __call__(self, message):
        method = message.get("method")
        if method == "initialize":
            capabilities = {"tools": {"listChanged": True}, "prompts": {"listChanged": True}}
            return [answer(message, protocolVersion="2025-11-25", capabilities=capabilities)]
        if method in self.broken:
            return [refuse(message, -32603, "boom")]
        if method == "prompts/list":
            return [answer(message, prompts=[{"name": name} for name in self.prompts])]
        return legacy()(message)


def counts(rig):
    return [len(rig.pool.catalogue.items(kind)) for kind in ("tools", "prompts")]


async def test_a_kind_that_cannot_be_read_loses_no_other_and_is_read_again():
    server = Server()
    server.broken.add("prompts/list")
    async with PoolRig(server) as rig:
        await rig.ready()
        assert rig.pool.state is ServerState.READY
        assert counts(rig) == [1, 0]
        server.broken.clear()
        await asyncio.sleep(5.0)
        assert counts(rig) == [1, 1]
        reads = len(asked(rig.driver.links[0], "prompts/list"))
        await asyncio.sleep(500.0)
        assert len(asked(rig.driver.links[0], "prompts/list")) == reads, "all is well now"


async def test_the_last_good_list_of_a_kind_stays_for_the_grace_period_even_over_a_restart():
    server = Server()
    async with PoolRig(server, lists=Lists(grace=100.0), ticking=True) as rig:
        await rig.ready()
        server.broken.add("prompts/list")
        rig.driver.links[0].lose()
        await asyncio.sleep(90.0)
        assert counts(rig) == [1, 1]
        rig.listener.kinds.clear()
        await asyncio.sleep(15.0)
        assert counts(rig) == [1, 0]
        assert rig.listener.kinds == [frozenset({"prompts"})]
        server.broken.clear()
        await asyncio.sleep(61.0)
        assert counts(rig) == [1, 1]
        assert rig.listener.kinds == [frozenset({"prompts"})] * 2


async def test_a_change_is_read_at_once_though_something_else_rests():
    server = Server()
    server.broken.add("tools/list")
    async with PoolRig(server) as rig:
        await rig.ready()
        await asyncio.sleep(300.0)
        server.prompts = ["p", "q"]
        say(rig.driver.links[0], "notifications/prompts/list_changed")
        await asyncio.sleep(0.5)
        assert counts(rig) == [0, 2]


async def test_without_grace_it_goes_at_once():
    server = Server()
    async with PoolRig(server, lists=Lists(grace=0.001), ticking=True) as rig:
        await rig.ready()
        server.broken |= {"prompts/list", "tools/list"}
        say(rig.driver.links[0], "notifications/prompts/list_changed")
        await asyncio.sleep(1.5)
        assert counts(rig) == [0, 0]


# -- servers that are away ---------------------------------------------------------------------------------


async def test_one_that_cannot_come_back_is_shown_for_the_grace_period_and_again_when_it_is_back():
    async with PoolRig(legacy(), lists=Lists(grace=50.0), ticking=True) as rig:
        await rig.ready()
        rig.driver.script = lambda message: [refuse(message, -32603)]
        rig.listener.kinds.clear()
        rig.driver.links[0].lose()
        await asyncio.sleep(48.0)
        assert (rig.pool.listed, rig.listener.kinds) == (True, [])
        await asyncio.sleep(4.0)
        assert (rig.pool.listed, rig.listener.kinds) == (False, [frozenset({"tools"})])
        assert counts(rig) == [1, 0], "calls still find their way, and say what is wrong"
        rig.driver.script = legacy()
        await asyncio.sleep(200.0)
        assert (rig.pool.listed, rig.listener.kinds) == (True, [frozenset({"tools"})] * 2)


async def test_one_that_is_stopped_is_shown_no_more_and_one_that_is_idle_is():
    async with PoolRig(legacy()) as rig:
        await rig.ready()
        await rig.pool.stop()
        assert not rig.pool.listed
        rig.pool.start()
        assert not rig.pool.listed
        await rig.ready()
        assert rig.pool.listed
        rig.pool.scale_to(0, "nobody calls")
        await asyncio.sleep(1.0)
        assert rig.pool.state is ServerState.IDLE
        assert rig.pool.listed


# -- lists that may be kept for a while --------------------------------------------------------------------


def modern(capabilities, **hint):
    usual = watched("modern", capabilities)

    def script(message):
        found = list(usual(message))
        if message.get("method") == "tools/list":
            found[0]["result"] |= hint
        return found

    return script


async def test_what_a_modern_server_says_of_its_lists():
    script = modern({"tools": {}}, ttlMs=20_000, cacheScope="public")
    async with PoolRig(script) as rig:
        await rig.ready()
        read_at = rig.now
        assert rig.pool.catalogue.hints["tools"].kept == CacheHint(20.0, public=True)
        assert rig.pool.catalogue.hints["tools"].until == pytest.approx(read_at + 20.0, abs=0.1)
    async with PoolRig(modern({"tools": {"listChanged": True}}, ttlMs=20_000, cacheScope="public")) as rig:
        await rig.ready()
        assert rig.pool.catalogue.hints == {"tools": ListHint(CacheHint(20.0, public=True))}
    async with PoolRig(modern({"tools": {}})) as rig:
        await rig.ready()
        assert rig.pool.catalogue.hints == {}


async def test_a_list_whose_time_is_over_is_read_again_when_somebody_asks_and_not_too_often():
    async with PoolRig(modern({"tools": {}}, ttlMs=1000, cacheScope="private")) as rig:
        await rig.ready()
        link = rig.driver.links[0]
        await asyncio.sleep(100.0)
        assert len(asked(link, "tools/list")) == 1, "nobody asks"
        rig.pool.revalidate(rig.now)
        rig.pool.revalidate(rig.now)
        await asyncio.sleep(0.5)
        assert len(asked(link, "tools/list")) == 2
        assert rig.pool.catalogue.hints["tools"].until > rig.now
        assert rig.listener.kinds[-1] == frozenset(), "nothing has changed but its time"
        for _ in range(10):
            rig.pool.revalidate(rig.now)
            await asyncio.sleep(1.0)
        assert len(asked(link, "tools/list")) <= 4
