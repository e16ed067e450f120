"""What roles and grants let through, end to end: real HTTP, real servers of both eras, every endpoint."""

from __future__ import annotations

import asyncio
import json

import pytest

from fairlead.mcp.errors import FORBIDDEN
from fairlead.model.access import Effect, Grant, Role
from support.hearing import hearing
from support.stack import light, running, until

SERVERS = {"old": light("--watches"), "new": light("--watches", "--era", "modern")}
TOOLSETS = {
    "docs": {"servers": {"old": {"rename": {"echo": "say", "sleep": "wait"}}, "new": {}}},
    "find": {"mode": "search", "servers": "*"},
    "new-only": {"servers": {"new": {}}},
}
ERAS = pytest.mark.parametrize("era", ["legacy", "modern"])
ONE_SERVER = (Grant(servers=("old",)),)
ECHO = (Grant(servers=("old",), tools=("echo",)),)
ALL_BUT = (Grant(Effect.DENY, tools=("sleep",)), Grant(Effect.DENY, servers=("new",)))
BY_DOCS = (Grant(toolsets=("docs",), servers=("old",)),)
FORBIDDEN_STATUS = {"legacy": 200, "modern": 403}


async def client_of(stack, era, token, path="/mcp"):
    return await stack.session(path, token) if era == "legacy" else stack.modern(path, token)


async def names(client, kind="tools", member="name"):
    return [item[member] for item in (await client.ask(f"{kind}/list"))["result"][kind]]


async def unknown(client, method, **params):
    """It is refused in the words for what is not there."""
    error = (await client.ask(method, params))["error"]
    assert error["code"] == -32602, error
    return True


async def about(client, era):
    return client.about if era == "legacy" else (await client.ask("server/discover"))["result"]


@ERAS
async def test_only_what_was_granted_is_there(tmp_path, era):
    async with running(tmp_path, SERVERS, toolsets=TOOLSETS) as stack:
        client = await client_of(stack, era, await stack.key("ada", Role.DEVELOPER, *ONE_SERVER))
        tools = await names(client)
        assert "old__echo" in tools
        assert not any(name.startswith("new__") for name in tools)
        assert await names(client, "prompts") == ["old__greet"]
        assert all(uri.startswith("fairlead://old/") for uri in await names(client, "resources", "uri"))
        assert await client.text("old__echo", text="hi") == "hi"
        assert "new" not in (await about(client, era))["instructions"].replace("new__", "").split(".")[0]
        assert await unknown(client, "tools/call", name="new__echo", arguments={"text": "x"})
        assert await unknown(client, "prompts/get", name="new__greet", arguments={"name": "x"})
        assert await unknown(client, "resources/read", uri="fairlead://new/light://one")
        read = await client.ask("resources/read", {"uri": "fairlead://old/light://one"})
        assert read["result"]["contents"]
        for ref in (
            {"type": "ref/prompt", "name": "new__greet"},
            {"type": "ref/resource", "uri": "fairlead://new/light://item/{id}"},
            {"type": "ref/resource", "name": "old__greet", "uri": "fairlead://new/light://item/{id}"},
        ):
            assert await unknown(
                client, "completion/complete", ref=ref, argument={"name": "name", "value": ""}
            )


@ERAS
async def test_grants_of_tools_hold_on_every_endpoint_and_under_every_name(tmp_path, era):
    async with running(tmp_path, SERVERS, toolsets=TOOLSETS) as stack:
        token = await stack.key("ada", Role.DEVELOPER, *ECHO)
        expected = {"/mcp": "old__echo", "/servers/old/mcp": "echo", "/toolsets/docs/mcp": "say"}
        for path, name in expected.items():
            client = await client_of(stack, era, token, path)
            assert await names(client) == [name]
            assert await client.text(name, text="hi") == "hi"
            for other in ("old__sleep", "sleep", "wait", "new__echo", "old__say", "greet"):
                assert await unknown(client, "tools/call", name=other, arguments={"seconds": 0, "text": "x"})
            # Where grants choose tools, nothing but tools is there.
            assert await names(client, "prompts") == []
            assert await names(client, "resources", "uri") == []
            for prompt in ("greet", "old__greet"):
                assert await unknown(client, "prompts/get", name=prompt, arguments={"name": "x"})
            for uri in ("light://one", "fairlead://old/light://one"):
                assert await unknown(client, "resources/read", uri=uri)
                ref = {"type": "ref/resource", "uri": uri}
                argument = {"name": "id", "value": ""}
                assert await unknown(client, "completion/complete", ref=ref, argument=argument)


@ERAS
async def test_a_search_toolset_finds_and_calls_what_was_granted(tmp_path, era):
    async with running(tmp_path, SERVERS, toolsets=TOOLSETS) as stack:
        client = await client_of(
            stack, era, await stack.key("ada", Role.DEVELOPER, *ECHO), "/toolsets/find/mcp"
        )
        assert await names(client) == ["search_tools", "call_tool"]
        for query in ("", "sleep", "echo"):
            found = (await client.call("search_tools", query=query))["result"]["structuredContent"]
            assert [tool["name"] for tool in found["tools"]] == ["old__echo"] * bool(found["tools"])
            assert found["total"] == 1
        said = await client.call("call_tool", name="old__echo", arguments={"text": "hi"})
        assert said["result"]["content"][0]["text"] == "hi"
        for other in ("old__sleep", "new__echo"):
            wrapped = {"name": other, "arguments": {"seconds": 0, "text": "x"}}
            assert await unknown(client, "tools/call", name="call_tool", arguments=wrapped)


@ERAS
async def test_a_denial_wins(tmp_path, era):
    async with running(tmp_path, SERVERS, toolsets=TOOLSETS) as stack:
        client = await client_of(stack, era, await stack.key("ada", Role.ADMIN, *ALL_BUT))
        tools = await names(client)
        assert "old__echo" in tools
        assert "old__sleep" not in tools
        assert not any(name.startswith("new__") for name in tools)
        assert await unknown(client, "tools/call", name="old__sleep", arguments={"seconds": 0})
        assert await names(client, "prompts") == ["old__greet"]  # denials of tools say nothing of prompts


@ERAS
async def test_what_is_granted_by_a_toolset_is_there_and_nowhere_else(tmp_path, era):
    async with running(tmp_path, SERVERS, toolsets=TOOLSETS) as stack:
        token = await stack.key("ada", Role.DEVELOPER, *BY_DOCS)
        client = await client_of(stack, era, token, "/toolsets/docs/mcp")
        assert "say" in await names(client)
        assert await client.text("say", text="hi") == "hi"
        assert await names(await client_of(stack, era, token)) == []
        for path in ("/servers/old/mcp", "/servers/new/mcp", "/toolsets/find/mcp", "/toolsets/new-only/mcp"):
            answer = await stack.http.post(
                stack.url + path, headers=client.headers, json=client.message("ping")
            )
            assert answer.status_code == 404, path


async def test_endpoints_that_were_not_granted_are_as_if_they_were_not(tmp_path):
    async with running(tmp_path, SERVERS, toolsets=TOOLSETS) as stack:
        client = stack.modern(token=await stack.key("ada", Role.DEVELOPER, *ONE_SERVER))
        for kind, there in (("servers", "new"), ("toolsets", "new-only")):
            told = []
            for name in (there, "nonesuch"):
                answer = await stack.http.post(
                    f"{stack.url}/{kind}/{name}/mcp", headers=client.headers, json=client.message("ping")
                )
                assert answer.status_code == 404
                told.append(answer.json()["detail"].replace(repr(name), ""))
            assert told[0] == told[1]
            assert "new" not in told[0]


@ERAS
async def test_a_viewer_sees_lists_and_uses_nothing(tmp_path, era):
    async with running(tmp_path, SERVERS, toolsets=TOOLSETS) as stack:
        token = await stack.key("eve", Role.VIEWER)
        client = await client_of(stack, era, token)
        assert "new__echo" in await names(client)
        assert "old__greet" in await names(client, "prompts")
        find = await client_of(stack, era, token, "/toolsets/find/mcp")
        assert (await find.call("search_tools", query="echo"))["result"]["structuredContent"]["tools"]
        uses = [
            (client, "tools/call", {"name": "old__echo", "arguments": {"text": "x"}}),
            (client, "tools/call", {"name": "nonesuch", "arguments": {}}),
            (client, "prompts/get", {"name": "old__greet", "arguments": {"name": "x"}}),
            (client, "resources/read", {"uri": "fairlead://old/light://one"}),
            (client, "completion/complete", {"ref": {"type": "ref/prompt", "name": "old__greet"}}),
            (find, "tools/call", {"name": "call_tool", "arguments": {"name": "old__echo"}}),
        ]
        if era == "legacy":
            uses += [(client, "resources/subscribe", {"uri": "fairlead://old/light://one"})]
        for one, method, params in uses:
            for _ in range(2):  # the second time its head is a known one
                answer = await one.post(one.message(method, params))
                assert answer.status_code == FORBIDDEN_STATUS[era], method
                assert answer.json()["error"]["code"] == FORBIDDEN
                assert answer.json()["error"]["data"] == {"problem": "forbidden"}


async def test_a_viewer_hears_of_lists_alone(tmp_path):
    async with running(tmp_path, SERVERS) as stack:
        client = stack.modern(token=await stack.key("eve", Role.VIEWER))
        wanted = {
            "toolsListChanged": True,
            "resourceSubscriptions": ["fairlead://old/light://one"],
            "taskIds": ["x"],
        }
        async with hearing(client, wanted) as heard:
            await until(lambda: bool(heard.messages))
            assert heard.messages[0]["params"]["notifications"] == {"toolsListChanged": True}


@ERAS
async def test_nobody_hears_of_servers_that_were_not_granted(tmp_path, era):
    async with running(tmp_path, SERVERS) as stack:
        key = await stack.key("ada", Role.DEVELOPER, *ONE_SERVER)
        client = await client_of(stack, era, key)
        wanted = {
            "resourcesListChanged": True,
            "toolsListChanged": True,
            "resourceSubscriptions": ["fairlead://new/light://one", "fairlead://old/light://one"],
        }
        both = stack.modern()
        async with (
            hearing(both, wanted) as all_of_it,
            hearing(client, wanted if era == "modern" else None) as heard,
        ):
            if era == "modern":
                await until(lambda: bool(heard.messages))
                uris = heard.messages[0]["params"]["notifications"]["resourceSubscriptions"]
                assert uris == ["fairlead://old/light://one"]
            else:
                assert await unknown(client, "resources/subscribe", uri="fairlead://new/light://one")
            await both.call("new__add_resource", uri="light://added")
            await both.call("new__touch", uri="light://one")
            await until(lambda: sum("updated" in m["method"] for m in all_of_it.messages) == 1)
            await until(lambda: any("list_changed" in m["method"] for m in all_of_it.messages))
            await both.call("old__add_resource", uri="light://more")
            await until(lambda: any("list_changed" in m["method"] for m in heard.messages))
            assert [m["method"] for m in heard.messages if "acknowledged" not in m["method"]] == [
                "notifications/resources/list_changed"
            ]
            assert "fairlead://old/light://more" in await names(client, "resources", "uri")


async def test_a_session_is_of_one_choice_of_grants(tmp_path):
    """And of one principal: neither another person nor the same one with other rights takes it up."""
    async with running(tmp_path, SERVERS) as stack:
        session = await stack.session(token=await stack.key("ada", Role.DEVELOPER))
        eve = await stack.key("eve", Role.ADMIN)
        stolen = session.headers | {"Authorization": f"Bearer {eve}"}
        answer = await stack.http.post(session.url, headers=stolen, json=session.message("tools/list"))
        assert answer.status_code == 404
        assert "result" in await session.ask("tools/list")
        await stack.key("ada", Role.DEVELOPER, *ONE_SERVER)
        answer = await session.post(session.message("tools/list"))
        assert answer.status_code == 404  # it ended with the rights that it was opened with


async def test_grants_that_change_are_in_force_at_once(tmp_path):
    async with running(tmp_path, SERVERS, toolsets=TOOLSETS) as stack:
        client = stack.modern(token=await stack.key("ada", Role.DEVELOPER))
        assert await client.text("new__echo", text="hi") == "hi"
        async with hearing(client, {"toolsListChanged": True}) as heard:
            await until(lambda: bool(heard.messages))
            await stack.key("ada", Role.DEVELOPER, *ONE_SERVER)
            assert await unknown(client, "tools/call", name="new__echo", arguments={"text": "x"})
        assert await client.text("old__echo", text="hi") == "hi"
        await stack.key("ada", Role.VIEWER)
        answer = await client.post(client.message("tools/call", {"name": "old__echo", "arguments": {}}))
        assert answer.status_code == 403


async def test_servers_and_toolsets_that_come_and_go(tmp_path):
    """Views of what was granted follow the fleet, for heads that are known, too."""
    async with running(tmp_path, SERVERS, toolsets=TOOLSETS) as stack:
        client = stack.modern(token=await stack.key("ada", Role.DEVELOPER, Grant(servers=("n*",))))
        docs = stack.modern("/toolsets/docs/mcp", client.headers["Authorization"].partition(" ")[2])
        assert all(name.startswith("new__") for name in await names(client))
        assert "new__echo" in await names(docs)
        spec = json.loads(stack.fleet_file.read_text())
        spec["servers"]["next"] = light("--era", "modern")
        spec["toolsets"]["docs"]["servers"]["new"] = {"tools": ["echo"], "rename": {"echo": "sag"}}
        stack.fleet_file.write_text(json.dumps(spec))
        async with asyncio.timeout(20):
            while "next__echo" not in await names(client):
                await asyncio.sleep(0.05)
        assert await client.text("next__echo", text="hi") == "hi"
        assert await names(docs) == ["sag"]
        assert await docs.text("sag", text="hi") == "hi"
        del spec["servers"]["new"], spec["toolsets"]["docs"], spec["toolsets"]["new-only"]
        stack.fleet_file.write_text(json.dumps(spec))
        async with asyncio.timeout(20):
            while "new__echo" in await names(client):
                await asyncio.sleep(0.05)
        assert all(name.startswith("next__") for name in await names(client))
        answer = await docs.post(docs.message("tools/list"))
        assert answer.status_code == 404


async def test_callers_without_grants_share_the_endpoints_own_view(tmp_path):
    async with running(tmp_path, SERVERS) as stack:
        await names(stack.modern(token=await stack.key("bob", Role.DEVELOPER)))
        assert len(stack.system.gateway.endpoints.granted) == 0
        for person in ("ada", "eve"):
            await names(stack.modern(token=await stack.key(person, Role.DEVELOPER, *ONE_SERVER)))
        assert len(stack.system.gateway.endpoints.granted) == 1


async def test_rest_shows_and_routes_what_was_granted(tmp_path):
    async with running(tmp_path, SERVERS, toolsets=TOOLSETS) as stack:
        headers = {"Authorization": f"Bearer {await stack.key('ada', Role.OPERATOR, *ECHO)}"}

        async def status(method, path, body=None):
            return (await stack.rest(method, path, headers=headers, json=body)).status_code

        async def shown(path, member):
            return [each["id"] for each in (await stack.rest("GET", path, headers=headers)).json()[member]]

        def request(method, server=None, **params):
            target = {"server": server} if server else {"capability": "x"}
            return status("POST", "/api/request", {**target, "method": method, "params": params})

        assert await shown("/api/servers", "servers") == ["old"]
        assert await shown("/api/health/servers", "servers") == ["old"]
        assert {i.partition("-")[0] for i in await shown("/api/circuit-breakers", "breakers")} == {"old"}
        toolsets = (await stack.rest("GET", "/api/toolsets", headers=headers)).json()["toolsets"]
        assert {t["name"]: (t["servers"], t["tools"]) for t in toolsets} == {
            "docs": (["old"], 1),
            "find": (["old"], 1),
        }
        assert await status("GET", "/api/servers/old") == 200
        for name in ("new", "nonesuch"):
            assert await status("GET", f"/api/servers/{name}") == 403
            assert await status("POST", f"/api/servers/{name}/restart") == 403
            assert await status("GET", f"/api/metrics/servers/{name}") == 403
            assert await status("POST", f"/api/circuit-breakers/{name}/reset") == 403
        assert await status("POST", "/api/circuit-breakers/new-1/reset") == 403
        assert await status("POST", "/api/circuit-breakers/old-1/reset") == 200
        for path in (
            "/metrics",
            "/api/metrics/summary",
            "/api/config",
            "/api/fleet",
            "/api/load-balancer/status",
        ):
            assert await status("GET", path) == 403
        assert await status("POST", "/api/health/check", {}) == 403
        assert await status("POST", "/api/health/check", {"server": "new"}) == 403
        assert await status("POST", "/api/health/check", {"server": "old"}) == 200
        assert await request("tools/call", "old", name="echo", arguments={"text": "x"}) == 200
        assert await request("tools/call", "old", name="sleep", arguments={"seconds": 0}) == 403
        for method in ("prompts/list", "resources/list", "prompts/get", "resources/read"):
            assert await request(method, "old", name="greet", uri="light://one") == 403
        for method in ("tools/call", "tools/list", "ping"):
            assert await request(method, "new", name="echo") == 403
        listed = await stack.rest(
            "POST",
            "/api/request",
            headers=headers,
            json={"server": "old", "method": "tools/list", "params": {}},
        )
        assert [tool["name"] for tool in listed.json()["result"]["tools"]] == ["echo"]
