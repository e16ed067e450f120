"""Subscriptions to resources and changes of lists, end to end: real HTTP, real servers of both eras."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.hearing import ACKNOWLEDGED, SUBSCRIPTION, UPDATED, hearing
from support.stack import fleet, light, running, until

SERVERS = {"old": light("--watches"), "new": light("--watches", "--era", "modern")}
ONE = "light://one"
SDK_SERVER = Path(__file__).parents[1] / "support" / "sdk_server.py"


def wrapped(server, uri=ONE):
    return f"fairlead://{server}/{uri}"


@contextlib.asynccontextmanager
async def subscribed(stack, era, *uris, path="/mcp"):
    """A client of an era that hears of these resources."""
    if era == "modern":
        client = stack.modern(path)
        async with hearing(client, {"resourceSubscriptions": list(uris)}) as heard:
            yield client, heard
        return
    client = await stack.session(path)
    for uri in uris:
        assert (await client.ask("resources/subscribe", {"uri": uri})).get("result") == {}
    async with hearing(client) as heard:
        yield client, heard


async def watched(client, tool="watched"):
    """What the server is subscribed for."""
    return (await client.call(tool))["result"]["structuredContent"]["uris"]


async def until_watched(client, expected, tool):
    async with asyncio.timeout(20):
        while await watched(client, tool) != expected:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("server", ["old", "new"])
@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_in_every_cell_a_client_hears_of_what_it_subscribed_to_and_of_nothing_else(
    tmp_path, era, server
):
    async with running(tmp_path, SERVERS) as stack:
        uri = wrapped(server)
        async with subscribed(stack, era, uri) as (client, heard), hearing(await stack.session()) as other:
            await client.call(f"{server}__touch", uri="light://blob")
            await client.call(f"{server}__touch", uri=ONE)
            await heard.until(lambda: heard.updates)
            assert heard.updates == [uri]
            if era == "modern":
                acknowledged = heard.of(ACKNOWLEDGED)[0]
                assert acknowledged["notifications"] == {"resourceSubscriptions": [uri]}
                assert {m["params"]["_meta"][SUBSCRIPTION] for m in heard.messages} == {client.number - 2}
            read = await client.ask("resources/read", {"uri": uri})
            assert "changed 1 times" in read["result"]["contents"][0]["text"]
            await client.call(f"{server}__touch", uri=ONE + "/part")
            await heard.until(lambda: len(heard.updates) == 2)
            assert heard.updates[1] == uri + "/part"
            assert other.messages == []


@pytest.mark.parametrize("server", ["old", "new"])
async def test_the_server_is_asked_once_for_all_and_no_more_after_the_last(tmp_path, server):
    async with running(tmp_path, SERVERS) as stack:
        tool, uri = f"{server}__watched", wrapped(server)
        asker = stack.modern()
        session = await stack.session()
        async with subscribed(stack, "legacy", uri) as (first, _), subscribed(stack, "modern", uri):
            assert await watched(asker, tool) == [ONE]
            await first.ask("resources/unsubscribe", {"uri": uri})
            await session.ask("resources/subscribe", {"uri": uri})
            assert await watched(asker, tool) == [ONE]
        assert await watched(asker, tool) == [ONE]
        assert (await stack.http.delete(session.url, headers=session.headers)).status_code == 204
        await until_watched(asker, [], tool)
        assert stack.system.gateway.metrics.subscriptions == 0


@pytest.mark.parametrize("server", ["old", "new"])
@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_a_subscription_outlives_the_instance_and_what_was_missed_is_told(tmp_path, era, server):
    async with running(tmp_path, SERVERS) as stack:
        uri = wrapped(server)
        async with subscribed(stack, era, uri) as (client, heard):
            about = (await client.call(f"{server}__watched"))["result"]["structuredContent"]
            os.kill(about["pid"], signal.SIGKILL)
            await heard.until(lambda: heard.updates == [uri])
            await until_watched(client, [ONE], f"{server}__watched")
            await client.call(f"{server}__touch", uri=ONE)
            await heard.until(lambda: heard.updates == [uri, uri])


@pytest.mark.parametrize("server", ["old", "new"])
async def test_what_a_server_refuses_or_does_not_offer(tmp_path, server):
    servers = SERVERS | {"deaf": light("--era", "modern" if server == "new" else "legacy")}
    async with running(tmp_path, servers) as stack:
        session = await stack.session()
        refused, none = wrapped(server, "light://refused"), wrapped("deaf")
        for uri in (refused, none, "fairlead://nobody/x", "x://1", 7):
            error = (await session.ask("resources/subscribe", {"uri": uri}))["error"]
            assert error["code"] in (-32602, -32601), error
        assert (
            "does not tell of updates"
            in (await session.ask("resources/subscribe", {"uri": none}))["error"]["message"]
        )
        assert "error" in await session.ask("resources/unsubscribe", {"uri": none})
        assert (await session.ask("resources/unsubscribe", {"uri": refused}))["result"] == {}
        uris = [none, refused, wrapped(server), "x://1"]
        wanted = {"resourceSubscriptions": uris, "toolsListChanged": True, "promptsListChanged": False}
        async with hearing(stack.modern(), wanted) as heard:
            honoured = {"resourceSubscriptions": [wrapped(server)], "toolsListChanged": True}
            assert heard.of(ACKNOWLEDGED)[0]["notifications"] == honoured
        client = stack.modern()
        for bad in ("x", [1], {"a": 1}, ["x"] * 1001):
            answer = await client.ask(
                "subscriptions/listen", {"notifications": {"resourceSubscriptions": bad}}
            )
            assert answer["error"]["code"] == -32602
        assert stack.system.gateway.metrics.subscriptions == 0


async def test_a_single_endpoint_says_what_its_server_offers_and_has_the_servers_own_uris(tmp_path):
    async with running(tmp_path, SERVERS | {"deaf": light()}) as stack:
        deaf, old = await stack.session("/servers/deaf/mcp"), await stack.session("/servers/old/mcp")
        assert "subscribe" not in deaf.about["capabilities"]["resources"]
        assert old.about["capabilities"]["resources"]["subscribe"] is True
        async with subscribed(stack, "legacy", ONE, path="/servers/old/mcp") as (client, heard):
            await client.call("touch", uri=ONE)
            await heard.until(lambda: heard.updates == [ONE])


async def test_what_is_updated_while_there_is_no_stream_is_told_when_there_is_one(tmp_path):
    async with running(tmp_path, SERVERS) as stack:
        session = await stack.session()
        await session.ask("resources/subscribe", {"uri": wrapped("old")})
        for _ in range(3):
            await session.call("old__touch", uri=ONE)
            await session.call("old__touch", uri=ONE + "/part")
        [found] = stack.system.gateway.sessions
        await until(lambda: bool(found.updated) and stack.system.gateway.subscriptions._timer is None)
        async with hearing(session) as heard:
            await heard.until(lambda: heard.updates)
            assert heard.updates == [wrapped("old")]


@pytest.mark.parametrize("server", ["old", "new"])
async def test_a_session_hears_of_its_own_instance_alone(tmp_path, server):
    servers = {"mine": SERVERS[server] | {"sharing": "session", "scaling": {"minInstances": 1}}}
    async with running(tmp_path, servers) as stack:
        uri = wrapped("mine")
        async with (
            subscribed(stack, "legacy", uri) as (first, first_heard),
            subscribed(stack, "legacy", uri) as (second, second_heard),
            subscribed(stack, "modern", uri) as (third, third_heard),
        ):
            clients = [first, second, third]
            pids = {(await c.call("mine__watched"))["result"]["structuredContent"]["pid"] for c in clients}
            assert len(pids) == 3
            await second.call("mine__touch", uri=ONE)
            await second_heard.until(lambda: second_heard.updates == [uri])
            await third.call("mine__touch", uri=ONE)
            await third_heard.until(lambda: third_heard.updates == [uri])
            assert first_heard.updates == []
            # Its own instance dies: it gets another one, with the subscription, and is told.
            with contextlib.suppress(KeyError):
                await first.call("mine__exit", code=1)
            await first_heard.until(lambda: first_heard.updates == [uri])
            assert second_heard.updates == [uri]
            await until_watched(first, [ONE], "mine__watched")


@pytest.mark.parametrize("server", ["old", "new"])
async def test_one_that_is_switched_off_and_on_again_is_asked_anew(tmp_path, server):
    async with running(tmp_path, SERVERS) as stack:
        uri = wrapped(server)
        async with subscribed(stack, "legacy", uri) as (client, heard):
            await stack.rest("POST", f"/api/servers/{server}/stop")
            refused = await (await stack.session()).ask("resources/subscribe", {"uri": uri})
            assert "stopped" in refused["error"]["message"]
            await stack.rest("POST", f"/api/servers/{server}/start")
            await heard.until(lambda: heard.updates == [uri])
            await until_watched(client, [ONE], f"{server}__watched")


@pytest.mark.parametrize("server", ["old", "new"])
async def test_a_server_that_shares_its_instances_from_now_on_and_no_more(tmp_path, server):
    own = SERVERS[server] | {"sharing": "session", "scaling": {"minInstances": 1}}
    async with running(tmp_path, {"it": own}) as stack:
        uri = wrapped("it")
        async with subscribed(stack, "legacy", uri) as (client, heard):
            for generation, sharing in enumerate(("shared", "session"), 2):
                stack.fleet_file.write_text(fleet({"it": own | {"sharing": sharing}}))
                await until(lambda g=generation: stack.system.fleet.generation == g)
                await until_watched(client, [ONE], "it__watched")
                heard.messages.clear()
                await client.call("it__touch", uri=ONE)
                await heard.until(lambda: heard.updates == [uri])
            assert stack.system.gateway.metrics.subscriptions == 1


async def test_listening_at_a_server_ends_when_it_is_removed(tmp_path):
    """It would never hear of the server that takes its place one day."""
    async with running(tmp_path, SERVERS) as stack:
        one = hearing(stack.modern("/servers/new/mcp"), {"toolsListChanged": True})
        async with one as heard, hearing(stack.modern(), {"toolsListChanged": True}) as other:
            stack.fleet_file.write_text(fleet({"old": SERVERS["old"]}))
            await heard.until(lambda: "result" in heard.messages[-1])
            assert heard.messages[-1]["result"]["resultType"] == "complete"
            await other.until(lambda: other.of("notifications/tools/list_changed"))
            assert all("result" not in message for message in other.messages)


async def test_changes_of_a_modern_servers_lists_are_heard_of(tmp_path):
    async with running(tmp_path, {"new": SERVERS["new"]}) as stack:
        session = await stack.session()
        wanted = {"toolsListChanged": True, "resourcesListChanged": True}
        async with hearing(stack.modern(), wanted) as modern, hearing(session) as legacy:
            await session.call("new__add_resource", uri="light://added")
            for heard in (modern, legacy):
                await heard.until(lambda heard=heard: heard.of("notifications/resources/list_changed"))
                assert not heard.of("notifications/tools/list_changed")
        resources = (await session.ask("resources/list"))["result"]["resources"]
        assert wrapped("new", "light://added") in [each["uri"] for each in resources]


async def test_servers_that_change_at_once_are_one_notification(tmp_path):
    servers = {name: light() for name in ("a", "b", "c")}
    async with running(tmp_path, servers) as stack:
        session = await stack.session()
        async with hearing(stack.modern(), {"toolsListChanged": True}) as modern, hearing(session) as legacy:
            pools = [stack.system.gateway.endpoints.merged.pools[name] for name in servers]
            for pool in pools:
                stack.system.gateway.catalogue_changed(pool, frozenset({"tools", "prompts"}))
            for heard, methods in ((modern, ["tools"]), (legacy, ["prompts", "tools"])):
                await heard.until(lambda heard=heard: heard.of("notifications/tools/list_changed"))
                told = [m["method"] for m in heard.messages if "list_changed" in m["method"]]
                assert told == [f"notifications/{kind}/list_changed" for kind in methods]


async def test_listening_holds_up_nobody(tmp_path):
    """It is no call: it neither fills an instance nor keeps one from draining."""
    servers = {"new": SERVERS["new"] | {"limits": {"callsPerInstance": 1}, "scaling": {"maxInstances": 1}}}
    async with (
        running(tmp_path, servers) as stack,
        subscribed(stack, "modern", wrapped("new")) as (client, heard),
    ):
        assert await client.text("new__echo", text="x") == "x"
        status = stack.system.fleet.server("new")
        assert status.instances[0].calls_in_flight == 0
        old = status.instances[0].id
        await stack.rest("POST", "/api/servers/new/restart")
        await until(lambda: old not in [i.id for i in stack.system.fleet.server("new").instances])
        await heard.until(lambda: heard.updates == [wrapped("new")])
        assert json.loads(json.dumps(heard.of(UPDATED)))[0]["uri"] == wrapped("new")


@contextlib.contextmanager
def sdk_server():
    """A modern server on the official SDK, over HTTP: its URL and its process."""
    process = subprocess.Popen([sys.executable, str(SDK_SERVER)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_a_modern_server_over_http_is_listened_to(tmp_path, era):
    with sdk_server() as (url, _):
        async with running(tmp_path, {"far": {"url": url}}) as stack:
            uri = "fairlead://far/x://a"
            async with (
                subscribed(stack, era, uri) as (client, heard),
                hearing(await stack.session()) as other,
            ):
                await client.call("far__touch", uri="x://b")
                await client.call("far__touch", uri="x://a")
                await heard.until(lambda: heard.updates == [uri])
                await client.call("far__grow")
                await other.until(lambda: other.of("notifications/tools/list_changed"))
                assert other.updates == []
                names = [tool["name"] for tool in (await client.ask("tools/list"))["result"]["tools"]]
                assert any(name.startswith("far__grown") for name in names)
            another = await stack.session()
            assert (await another.ask("resources/subscribe", {"uri": uri}))["result"] == {}
            async with hearing(another) as heard:
                await another.call("far__touch", uri="x://a")
                await heard.until(lambda: heard.updates == [uri])
