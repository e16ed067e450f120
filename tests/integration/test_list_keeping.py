"""Lists and reads that are kept, by us and by clients, end to end."""

import asyncio

import pytest

from support.hearing import hearing
from support.stack import light, running, until

ONE = "fairlead://new/light://one"


def modern(*flags, **server):
    return light("--era", "modern", "--watches", *flags, **server)


async def listed(client, kind="tools"):
    found = (await client.ask(f"{kind}/list"))["result"][kind]
    return {
        (item.get("uri") or item["name"]).removeprefix("fairlead://").partition("__")[0] for item in found
    }


async def hints(client, method, params=None):
    found = (await client.ask(method, params))["result"]
    return found["ttlMs"], found["cacheScope"]


async def test_a_stopped_server_is_in_no_list_until_it_is_back_and_its_calls_say_why(tmp_path):
    async with running(tmp_path, {"a": light(), "b": light()}) as stack:
        client = stack.modern()
        async with hearing(client, {"toolsListChanged": True}) as heard:
            assert await listed(client) == {"a", "b"}
            await stack.rest("POST", "/api/servers/b/stop")
            assert await listed(client) == {"a"}
            assert "stopped" in (await client.call("b__echo", text="x"))["error"]["message"]
            await heard.until(lambda: len(heard.messages) == 2)
            await stack.rest("POST", "/api/servers/b/start")
            await stack.ready("b")
            assert await listed(client) == {"a", "b"}
            await heard.until(lambda: len(heard.messages) == 3)
            assert await client.text("b__echo", text="x") == "x"


async def test_a_server_that_cannot_come_back_is_shown_for_a_while(tmp_path):
    switch = tmp_path / "broken"
    server = light("--only-if", str(switch), "--exit-at-once", "3", lists={"grace": "1s"})
    async with running(tmp_path, {"a": light(), "b": server}) as stack:
        client = stack.modern()
        async with hearing(client, {"toolsListChanged": True}) as heard:
            switch.touch()
            await client.call("b__exit", code=1)
            assert await listed(client) == {"a", "b"}
            await heard.until(lambda: len(heard.messages) == 2)
            assert await listed(client) == {"a"}
            assert (await client.call("b__echo", text="x"))["error"]["code"] != -32602
            switch.unlink()
            await stack.rest("POST", "/api/servers/b/restart")
            await stack.ready("b")
            assert await listed(client) == {"a", "b"}


async def test_what_cannot_be_listed_loses_nothing_else(tmp_path):
    switch = tmp_path / "unreadable"
    switch.touch()
    async with running(tmp_path, {"new": modern("--unreadable", str(switch))}) as stack:
        client = stack.modern()
        assert await listed(client) == {"new"}
        assert await listed(client, "resources") == set()
        async with hearing(client, {"resourcesListChanged": True}) as heard:
            switch.unlink()
            await heard.until(lambda: len(heard.messages) > 1)
        assert "new/light://one" in await listed(client, "resources")


async def test_how_long_and_by_whom_results_may_be_kept(tmp_path):
    servers = {
        "short": modern("--ttl", "5000", "--scope", "public"),
        "long": modern("--ttl", "9000", "--scope", "public"),
    }
    lists = ("tools/list", "prompts/list", "resources/list", "resources/templates/list")
    async with running(tmp_path, servers | {"old": light()}) as stack:
        merged, single = stack.modern(), stack.modern("/servers/long/mcp")
        for method in lists:
            ttl, scope = await hints(single, method)
            assert 0 < ttl <= 9000
            assert scope == "public"
            ttl, scope = await hints(merged, method)
            assert 0 < ttl <= 5000
            assert scope == "private", "the legacy server did not say that everybody sees the same"
        assert await hints(single, "server/discover") == (9000, "public")
        assert await hints(merged, "server/discover") == (30000, "private")
        assert await hints(single, "resources/read", {"uri": "light://one"}) == (9000, "public")
        old = stack.modern("/servers/old/mcp")
        assert await hints(old, "resources/read", {"uri": "light://one"}) == (0, "private")
        assert await hints(old, "tools/list") == (30000, "private")
        legacy = await stack.session()
        for method in (*lists, "resources/read"):
            found = (await legacy.ask(method, {"uri": "fairlead://long/light://one"}))["result"]
            assert not found.keys() & {"ttlMs", "cacheScope", "resultType"}


async def test_a_list_that_nobody_tells_of_is_read_again_when_its_time_is_over(tmp_path, monkeypatch):
    monkeypatch.setattr("fairlead.orchestrator.list_reader.OFTENEST", 0.05)
    server = modern("--no-list-changed", "--ttl", "100")
    async with running(tmp_path, {"new": server}) as stack:
        client = await stack.session()
        before = (await client.ask("tools/list"))["result"]["tools"]
        await client.call("new__change")
        async with hearing(client) as heard, asyncio.timeout(20):
            while len((await client.ask("tools/list"))["result"]["tools"]) == len(before):
                await asyncio.sleep(0.02)
            await heard.until(lambda: heard.messages)


async def reads(client):
    return (await client.call("new__watched"))["result"]["structuredContent"]["reads"]


async def test_what_is_public_is_read_once_for_all(tmp_path):
    server = modern("--ttl", "60000", "--scope", "public")
    async with running(tmp_path, {"new": server}) as stack:
        client, session = stack.modern(), await stack.session()
        first = (await client.ask("resources/read", {"uri": ONE}))["result"]
        second = (await client.ask("resources/read", {"uri": ONE}))["result"]
        assert second["contents"] == first["contents"]
        assert second["contents"][0]["uri"] == ONE
        assert 0 < second["ttlMs"] <= first["ttlMs"] == 60000
        old = (await session.ask("resources/read", {"uri": ONE}))["result"]
        assert old["contents"] == first["contents"]
        assert "ttlMs" not in old
        single = await stack.modern("/servers/new/mcp").ask("resources/read", {"uri": "light://one"})
        assert single["result"]["contents"][0]["uri"] == "light://one"
        assert await reads(client) == 1
        metrics = (await stack.rest("GET", "/metrics")).text
        assert 'fairlead_read_cache_total{outcome="hit"} 3.0' in metrics
        for _ in range(2):
            missing = await client.ask("resources/read", {"uri": "fairlead://new/light://none"})
            assert missing["error"]["code"] == -32602
        assert await reads(client) == 3, "errors are not kept"


async def test_word_of_an_update_voids_what_was_kept(tmp_path):
    server = modern("--ttl", "60000", "--scope", "public")
    async with running(tmp_path, {"new": server}) as stack:
        client = stack.modern()
        async with hearing(client, {"resourceSubscriptions": [ONE]}) as heard:
            await client.ask("resources/read", {"uri": ONE})
            await client.call("new__touch", uri="light://one")
            await heard.until(lambda: heard.updates)
            read = (await client.ask("resources/read", {"uri": ONE}))["result"]
            assert "changed 1 times" in read["contents"][0]["text"]
            await client.call("new__add_resource", uri="light://two")
            await until(lambda: len(stack.system.gateway.reads) == 0)


@pytest.mark.parametrize("flags", [("--ttl", "60000"), ("--scope", "public")], ids=["private", "no-ttl"])
async def test_what_is_private_or_has_no_time_is_read_each_time(tmp_path, flags):
    async with running(tmp_path, {"new": modern(*flags)}) as stack:
        client = stack.modern()
        for _ in range(3):
            await client.ask("resources/read", {"uri": ONE})
        assert await reads(client) == 3
