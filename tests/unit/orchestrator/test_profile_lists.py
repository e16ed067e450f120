"""What servers offer, by what their clients can be asked. All in virtual time."""

import asyncio

import pytest

from fairlead.mcp.profiles import NOBODY
from fairlead.model.fleet import Sharing
from support.exclusive_rig import (
    BOTH,
    ELICITS,
    FLEET,
    SAMPLES,
    Driver,
    ExclusiveRig,
    asking,
)
from support.pool_rig import problem
from support.scripted import answer, refuse

pytestmark = pytest.mark.looptime


def tools(catalogue):
    return [item.key for item in catalogue.items("tools")]


async def test_what_a_server_offers_depends_on_the_profile():
    async with ExclusiveRig() as rig:
        await rig.ready()
        pool = rig.pool
        assert tools(pool.catalogue) == ["echo"]
        assert pool.catalogue_for(NOBODY) is pool.catalogue
        assert pool.catalogue_for(BOTH) is None
        events = len(rig.listener.kinds)
        await asyncio.gather(*(pool.learn(BOTH, timeout=60) for _ in range(5)))
        assert tools(pool.catalogue_for(BOTH)) == ["echo", "elicitation", "sampling"]
        assert len(rig.exclusive) == 1
        assert len(rig.listener.kinds) == events, "nobody had been told otherwise"
        assert await rig.acquire(BOTH) in rig.exclusive
        await asyncio.sleep(1)
        assert len(rig.exclusive) == 1, "who learned has left it"


async def test_a_call_teaches_the_lists_as_well():
    async with ExclusiveRig() as rig:
        await rig.acquire(SAMPLES)
        assert tools(rig.pool.catalogue_for(SAMPLES)) == ["echo", "sampling"]


async def test_lists_that_are_the_same_are_the_same_object():
    capabilities = {"tools": {"listChanged": True}}

    def make():
        script = asking(capabilities=capabilities)

        def same(message):
            if message.get("method") == "tools/list":
                return [answer(message, tools=[{"name": "same"}])]
            return script(message)

        return same

    async with ExclusiveRig(make) as rig:
        await rig.ready()
        await rig.pool.learn(SAMPLES, timeout=60)
        assert rig.pool.catalogue_for(SAMPLES) is rig.pool.catalogue


async def test_lists_that_cannot_be_known_are_as_everybodys_until_an_instance_shows_them():
    async with ExclusiveRig() as rig:
        await rig.ready()
        rig.driver.refusals = [problem("start-failed")] * 9
        await rig.pool.learn(SAMPLES, timeout=60)
        assert rig.pool.catalogue_for(SAMPLES) is rig.pool.catalogue
        rig.driver.refusals = []
        await asyncio.sleep(30)
        rig.driver.delay = 30
        await rig.pool.learn(ELICITS, timeout=2)
        assert rig.pool.catalogue_for(ELICITS) is rig.pool.catalogue
        events = len(rig.listener.kinds)
        await asyncio.sleep(60)
        assert tools(rig.pool.catalogue_for(ELICITS)) == ["echo", "elicitation"]
        assert rig.listener.kinds[events:] == [frozenset({"tools"})]


async def test_changed_lists_are_read_from_who_says_so():
    extra = []

    def make():
        script = asking()

        def more(message):
            if message.get("method") == "tools/list":
                [listed] = script(message)
                listed["result"]["tools"] += [{"name": name} for name in extra]
                return [listed]
            return script(message)

        return more

    changed = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}
    async with ExclusiveRig(make) as rig:
        instance = await rig.acquire(SAMPLES)
        events = len(rig.listener.kinds)
        extra.append("more")
        for _ in range(3):
            rig.link(instance).say(changed)
        await asyncio.sleep(0.5)
        assert tools(rig.pool.catalogue_for(SAMPLES)) == ["echo", "sampling", "more"]
        assert tools(rig.pool.catalogue) == ["echo"], "the others have said nothing"
        assert rig.listener.kinds[events:] == [frozenset({"tools"})]
        assert len([m for m in rig.link(instance).sent if m["method"] == "tools/list"]) == 2
        rig.link(rig.shared[0]).say(changed)
        await asyncio.sleep(0.5)
        assert tools(rig.pool.catalogue) == ["echo", "more"]
        assert tools(rig.pool.catalogue_for(SAMPLES)) == ["echo", "sampling", "more"]
        rig.link(instance).lose()
        extra.clear()
        rig.link(rig.shared[0]).say(changed)
        await asyncio.sleep(0.5)
        assert rig.pool.catalogue_for(SAMPLES) is None, "nobody is left who could have said so"


async def test_a_new_version_is_learned_anew():
    async with ExclusiveRig() as rig:
        rig.launcher.versions["y"] = Driver(asking)
        await rig.ready()
        await rig.pool.learn(SAMPLES, timeout=60)
        events = len(rig.listener.kinds)
        spec = rig.changed(command="y")
        rig.pool.commit(spec, FLEET, await rig.pool.prepare(spec))
        assert rig.pool.catalogue_for(SAMPLES) is None
        assert frozenset({"tools"}) in rig.listener.kinds[events:]


async def test_only_so_many_profiles_are_kept():
    async with ExclusiveRig() as rig:
        await rig.ready()
        lists = rig.pool.exclusive.lists
        for number in range(40):
            lists.take_for_granted(f"p{number}")
            lists.of("p0")
        assert lists.of("p0") is not None
        assert [n for n in range(40) if lists.of(f"p{n}") is not None] == [0, *range(25, 40)]


CHANGED = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}


async def test_the_last_good_lists_stay_when_changed_ones_cannot_be_read():
    async with ExclusiveRig() as rig:
        instance = await rig.acquire(SAMPLES)
        usual = rig.link(instance).script
        rig.link(instance).script = lambda message: (
            [refuse(message, -32603)] if message.get("method") == "tools/list" else usual(message)
        )
        rig.link(instance).say(CHANGED)
        await asyncio.sleep(5)
        assert tools(rig.pool.catalogue_for(SAMPLES)) == ["echo", "sampling"]


async def test_who_has_ended_is_not_asked():
    async with ExclusiveRig() as rig:
        instance = await rig.acquire(SAMPLES)
        rig.link(instance).say(CHANGED)
        rig.link(instance).lose()
        await asyncio.sleep(5)
        assert tools(rig.pool.catalogue_for(SAMPLES)) == ["echo", "sampling"]


async def test_of_sessions_instances_the_last_one_that_came_up_speaks_for_all():
    async with ExclusiveRig(sharing=Sharing.SESSION) as rig:
        first, last = [await rig.acquire(SAMPLES, key=f"session:{name}") for name in "ab"]
        for instance, asked in ((first, 1), (last, 2)):
            rig.link(instance).say(CHANGED)
            await asyncio.sleep(5)
            assert len([m for m in rig.link(instance).sent if m["method"] == "tools/list"]) == asked
