"""Toolsets end to end: real HTTP, real child processes, both eras on both sides."""

import asyncio
import json

import httpx2
import pytest

from support.asking import asked
from support.stack import TOKEN, events, light, running, until

SERVERS = {"old": light(), "new": light("--era", "modern")}
DOCS = {
    "description": "For writing.",
    "servers": {
        "old": {
            "tools": ["echo", "sleep", "link", "count"],
            "hide": ["count"],
            "rename": {"echo": "say"},
            "descriptions": {"sleep": "Waits."},
        },
        "new": {"hide": ["echo"]},
    },
}
FIND = {"mode": "search", "servers": "*"}
TOOLSETS = {"docs": DOCS, "find": FIND}
ERAS = pytest.mark.parametrize("era", ["legacy", "modern"])


async def client_of(stack, era, toolset="docs"):
    path = f"/toolsets/{toolset}/mcp"
    return await stack.session(path) if era == "legacy" else stack.modern(path)


async def listed(client, kind="tools", member=None):
    return (await client.ask(f"{kind}/list"))["result"][member or kind]


async def names(client, kind="tools"):
    return [item["name"] for item in await listed(client, kind)]


@ERAS
async def test_it_shows_and_calls_what_was_chosen(tmp_path, era):
    async with running(tmp_path, SERVERS, toolsets=TOOLSETS) as stack:
        client = await client_of(stack, era)
        tools = {tool["name"]: tool for tool in await listed(client)}
        assert {name for name in tools if not name.startswith("new__")} == {"say", "old__sleep", "old__link"}
        assert "new__sleep" in tools
        assert "new__echo" not in tools
        assert tools["old__sleep"]["description"] == "Waits."
        assert await client.text("say", text="grüße") == "grüße"
        for hidden in ("old__count", "old__echo", "echo", "new__echo", "old__add"):
            answer = await client.call(hidden, text="x")
            assert (answer["error"]["code"], "Unknown tool" in answer["error"]["message"]) == (-32602, True)
        assert await names(client, "prompts") == ["new__greet"]
        unknown = await client.ask("prompts/get", {"name": "old__greet", "arguments": {"name": "Ada"}})
        assert unknown["error"]["code"] == -32602
        uris = [resource["uri"] for resource in await listed(client, "resources")]
        assert uris
        assert all(uri.startswith("fairlead://new/") for uri in uris)
        read = await client.ask("resources/read", {"uri": "fairlead://new/light://one"})
        assert read["result"]["contents"][0]["uri"] == "fairlead://new/light://one"
        refused = await client.ask("resources/read", {"uri": "fairlead://old/light://one"})
        assert refused["error"]["code"] == -32602
        linked = (await client.call("old__link"))["result"]["content"]
        assert linked[0]["uri"].startswith("fairlead://old/")


@ERAS
async def test_the_handshake_tells_what_it_is_for(tmp_path, era):
    async with running(tmp_path, SERVERS, toolsets=TOOLSETS) as stack:
        told = []
        for toolset in ("docs", "find"):
            client = await client_of(stack, era, toolset)
            about = client.about if era == "legacy" else (await client.ask("server/discover"))["result"]
            told.append(about["instructions"])
        assert told[0].startswith("For writing. ")
        assert "search_tools" not in told[0]
        assert "search_tools" in told[1]


@ERAS
async def test_a_search_finds_and_calls(tmp_path, era):
    async with running(tmp_path, SERVERS, toolsets=TOOLSETS) as stack:
        client = await client_of(stack, era, "find")
        two = await listed(client)
        assert [tool["name"] for tool in two] == ["search_tools", "call_tool"]
        assert "new__greet" in await names(client, "prompts")
        found = (await client.call("search_tools", query="echoes a text", limit=2))["result"]
        assert found.get("resultType") == ("complete" if era == "modern" else None)
        tools = found["structuredContent"]["tools"]
        assert {tool["name"] for tool in tools} == {"old__echo", "new__echo"}
        assert tools[0]["inputSchema"]["properties"]["text"]
        assert json.loads(found["content"][0]["text"]) == found["structuredContent"]
        assert found["structuredContent"]["total"] > 20
        assert await client.text("call_tool", name="old__echo", arguments={"text": "x"}) == "x"
        assert await client.text("new__echo", text="direct") == "direct", "a name that is known is good, too"
        failed = (await client.call("call_tool", name="old__fail"))["result"]
        assert failed["isError"] is True
        assert (await client.call("call_tool", name="old__error"))["error"]["code"] < 0
        unknown = (await client.call("call_tool", name="old__nothing"))["error"]
        assert (unknown["code"], "old__nothing" in unknown["message"]) == (-32602, True)
        inner = (await client.call("call_tool", name="call_tool", arguments={"name": "old__echo"}))["error"]
        assert inner["code"] == -32602


@pytest.mark.parametrize(
    "wrong", [{}, {"query": 1}, {"query": "x", "limit": 0}, {"query": "x", "limit": True}]
)
async def test_a_wrong_search_is_told_to_the_model(tmp_path, wrong):
    async with running(tmp_path, {"old": light()}, toolsets=TOOLSETS | {"docs": FIND}) as stack:
        client = await client_of(stack, "modern", "find")
        told = (await client.call("search_tools", **wrong))["result"]
        assert told["isError"] is True
        assert "search_tools: " in told["content"][0]["text"]
        one = (await client.call("search_tools", query="", limit=1.0))["result"]["structuredContent"]
        assert len(one["tools"]) == 1
        assert (await client.call("search_tools", query="zebra"))["result"]["structuredContent"][
            "tools"
        ] == []


@pytest.mark.parametrize("server", ["old", "new"])
@ERAS
async def test_a_wrapped_call_has_progress_and_can_be_cancelled(tmp_path, era, server):
    async with running(tmp_path, SERVERS, toolsets=TOOLSETS) as stack:
        client = await client_of(stack, era, "find")
        wrapped = {"name": f"{server}__sleep", "arguments": {"seconds": 0.2}}
        params = {"name": "call_tool", "arguments": wrapped, "_meta": {"progressToken": "mine"}}
        *progress, last = events((await client.post(client.message("tools/call", params))).text)
        assert {note["params"]["progressToken"] for note in progress} == {"mine"}
        assert "result" in last
        gateway = stack.system.gateway
        params["arguments"] = {"name": f"{server}__sleep", "arguments": {"seconds": 60}}
        message = client.message("tools/call", params)
        call = asyncio.create_task(client.post(message))
        await until(lambda: gateway.in_flight == 1)
        if era == "legacy":
            await client.note("notifications/cancelled", {"requestId": message["id"]})
            assert "cancelled" in (await call).text
        else:
            call.cancel()
        await until(lambda: gateway.in_flight == 0)


ASKING = {
    "old": light("--asks", clientRequests=["sampling", "elicitation", "roots"]),
    "new": light("--asks", "--era", "modern"),
}


@pytest.mark.parametrize("server", ASKING)
@ERAS
async def test_a_wrapped_call_may_ask_its_client(tmp_path, era, server):
    async with running(tmp_path, ASKING, toolsets=TOOLSETS) as stack:
        ada = await asked(stack, era, "ada", path="/toolsets/find/mcp")
        found = (await ada.call("search_tools", query=f"{server}__ask"))["result"]["structuredContent"]
        assert found["tools"][0]["name"] == f"{server}__ask"
        assert await ada.text("call_tool", name=f"{server}__ask", arguments={"text": "tea"}) == "ada on tea"
        elicited = await ada.text("call_tool", name=f"{server}__elicit", arguments={"text": "milk"})
        assert elicited == "accept:ada on milk"


async def test_who_can_be_asked_sees_more_of_the_same_choice(tmp_path):
    toolsets = {"few": {"servers": {"old": {"tools": ["echo", "ask"], "rename": {"ask": "inquire"}}}}}
    async with running(tmp_path, ASKING, toolsets=toolsets) as stack:
        for era in ("legacy", "modern"):
            mute = await asked(stack, era, "mute", capabilities={}, path="/toolsets/few/mcp")
            ada = await asked(stack, era, "ada", path="/toolsets/few/mcp")
            assert await names(mute) == ["old__echo"]
            assert await names(ada) == ["old__echo", "inquire"]
            assert await ada.text("inquire", text="tea") == "ada on tea"
            assert (await mute.call("inquire", text="tea"))["error"]["code"] == -32602


async def test_modern_headers_name_what_the_client_sees(tmp_path):
    async with running(tmp_path, SERVERS, toolsets=TOOLSETS) as stack:
        client = await client_of(stack, "modern")
        message = client.message("tools/call", {"name": "say", "arguments": {"text": "x"}})
        message["params"]["_meta"] = client.meta
        for name, status in (("say", 200), ("echo", 400), ("old__echo", 400)):
            headers = client.routed(message) | {"Mcp-Name": name}
            assert (await stack.http.post(client.url, headers=headers, json=message)).status_code == status


async def test_a_session_is_good_at_its_own_toolset_only(tmp_path):
    async with running(tmp_path, SERVERS, toolsets=TOOLSETS) as stack:
        session = await client_of(stack, "legacy")
        for path in ("/mcp", "/servers/old/mcp", "/toolsets/find/mcp"):
            session.url = stack.url + path
            assert (await session.post(session.message("ping"))).status_code == 404
        session.url = stack.url + "/toolsets/docs/mcp"
        assert (await session.ask("ping"))["result"] == {}


# -- changes while it runs -------------------------------------------------------------------------------


async def put(stack, change):
    answer = await stack.rest("GET", "/api/fleet")
    spec = answer.json()["spec"]
    change(spec)
    put = await stack.rest("PUT", "/api/fleet", headers={"If-Match": answer.headers["etag"]}, json=spec)
    assert put.status_code == 200, put.text
    return put.json()


async def test_toolsets_come_change_and_go_live(tmp_path):
    async with running(tmp_path, SERVERS) as stack:
        missing = await stack.modern("/toolsets/docs/mcp").post(
            {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        )
        assert missing.status_code == 404
        assert missing.json()["type"] == "urn:fairlead:problem:unknown-toolset"
        await put(stack, lambda spec: spec.update(toolsets=TOOLSETS))
        session, modern = await client_of(stack, "legacy"), await client_of(stack, "modern")
        assert "say" in await names(session)
        again = (await stack.rest("GET", "/api/fleet")).json()["spec"]["toolsets"]
        assert again["find"] == {"mode": "search", "servers": {"*": {}}}

        def only_echo(spec):
            spec["toolsets"]["docs"]["servers"] = {"old": {"tools": ["echo"]}}

        change = await put(stack, only_echo)
        assert change["kept"] == ["old", "new"], "no server is touched"
        assert await names(session) == await names(modern) == ["old__echo"]
        assert (await session.call("say", text="x"))["error"]["code"] == -32602

        await put(stack, lambda spec: spec["toolsets"].pop("docs"))
        gone = await session.post(session.message("tools/list"))
        assert (gone.status_code, gone.json()["detail"]) == (404, "no toolset 'docs'; there are: find")
        assert session.headers["Mcp-Session-Id"] not in {s.id for s in stack.system.gateway.sessions}
        assert (await modern.post(modern.message("tools/list"))).status_code == 404


async def test_who_listens_hears_of_changes_and_the_end(tmp_path):
    async with running(tmp_path, SERVERS, toolsets=TOOLSETS) as stack:
        modern = await client_of(stack, "modern")
        session = await client_of(stack, "legacy")
        message = modern.message("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
        message["params"]["_meta"] = modern.meta
        heard = {"modern": [], "legacy": []}

        async def listen(kind, answer):
            async for line in answer.aiter_lines():
                if line.startswith("data: {"):
                    heard[kind].append(json.loads(line[6:]).get("method"))

        async with (
            stack.http.stream("POST", modern.url, headers=modern.routed(message), json=message) as first,
            stack.http.stream("GET", session.url, headers=session.headers) as second,
        ):
            tasks = [
                asyncio.create_task(listen("modern", first)),
                asyncio.create_task(listen("legacy", second)),
            ]
            await until(lambda: len(heard["modern"]) == 1)
            await put(
                stack, lambda spec: spec["toolsets"]["docs"].update(servers={"old": {"tools": ["echo"]}})
            )
            changed = "notifications/tools/list_changed"
            await until(lambda: changed in heard["modern"] and changed in heard["legacy"], lambda: str(heard))
            await put(stack, lambda spec: spec["toolsets"].pop("docs"))
            await asyncio.wait_for(asyncio.gather(*tasks), 20)
        assert heard["modern"][-1] is None, "the result ends the subscription"


async def test_a_server_that_goes_leaves_its_toolsets(tmp_path):
    async with running(tmp_path, SERVERS, toolsets=TOOLSETS) as stack:
        client = await client_of(stack, "modern")
        await put(
            stack, lambda spec: (spec["servers"].pop("old"), spec["toolsets"]["docs"]["servers"].pop("old"))
        )
        assert all(name.startswith("new__") for name in await names(client))
        refused = await stack.rest("GET", "/api/fleet")
        spec = refused.json()["spec"]
        spec["toolsets"]["docs"]["servers"]["nobody"] = {}
        answer = await stack.rest(
            "PUT", "/api/fleet", headers={"If-Match": refused.headers["etag"]}, json=spec
        )
        assert answer.status_code == 422
        assert "toolsets.docs.servers.nobody: there is no such server" in answer.json()["detail"]


async def test_rest_tells_what_each_shows(tmp_path):
    toolsets = TOOLSETS | {"odd": {"servers": {"old": {"tools": ["echo", "ecko"]}}}}
    async with running(tmp_path, SERVERS, toolsets=toolsets) as stack:
        docs, find, odd = (await stack.rest("GET", "/api/toolsets")).json()["toolsets"]
        client = await client_of(stack, "modern")
        assert docs["tools"] == len(await listed(client))
        assert (docs["name"], docs["path"], docs["servers"]) == ("docs", "/toolsets/docs/mcp", ["old", "new"])
        assert (docs["prompts"], docs["templates"], docs["problems"]) == (1, 1, [])
        assert find["mode"] == "search"
        assert odd["problems"] == ["old: tools: nothing there is named 'ecko'"]


async def test_a_client_that_comes_early_waits_for_the_servers_of_its_toolset(tmp_path):
    toolsets = {"one": {"servers": {"late": {"rename": {"echo": "say"}}}}, "find": FIND}
    async with running(tmp_path, {"late": light()}, wait=(), toolsets=toolsets) as stack:
        one, find = await client_of(stack, "modern", "one"), await client_of(stack, "modern", "find")
        listing, said, called = await asyncio.gather(
            names(one),
            one.text("say", text="x"),
            find.text("call_tool", name="late__echo", arguments={"text": "y"}),
        )
        assert "say" in listing
        assert (said, called) == ("x", "y")


async def test_a_search_that_comes_early_finds_all(tmp_path):
    async with running(tmp_path, SERVERS, wait=(), toolsets=TOOLSETS) as stack:
        client = await client_of(stack, "modern", "find")
        found = (await client.call("search_tools", query="echo"))["result"]["structuredContent"]["tools"]
        assert {"old__echo", "new__echo"} <= {tool["name"] for tool in found}


async def test_the_official_client_uses_a_toolset(tmp_path):
    """The SDK validates what it gets: structured content against the output schema, say."""
    from mcp.client.session import ClientSession
    from mcp.client.streamable_http import streamable_http_client

    async with running(tmp_path, SERVERS, toolsets=TOOLSETS) as stack:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with (
            httpx2.AsyncClient(headers=headers) as http,
            streamable_http_client(f"{stack.url}/toolsets/find/mcp", http_client=http) as (read, write, *_),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            assert [tool.name for tool in (await session.list_tools()).tools] == ["search_tools", "call_tool"]
            found = await session.call_tool("search_tools", {"query": "echo"})
            assert found.structured_content["tools"][0]["name"].endswith("__echo")
            said = await session.call_tool("call_tool", {"name": "old__echo", "arguments": {"text": "x"}})
            assert said.content[0].text == "x"


@ERAS
async def test_a_reference_to_a_resource_is_no_way_to_a_hidden_prompt(tmp_path, era):
    shown = {"docs": {"servers": {"old": {"prompts": [], "resources": True}}}}
    async with running(tmp_path, {"old": light()}, toolsets=shown) as stack:
        client = await client_of(stack, era)
        uri = (await listed(client, "resources/templates", "resourceTemplates"))[0]["uriTemplate"]
        argument = {"name": "name", "value": "A"}
        hidden = {"type": "ref/prompt", "name": "greet"}
        for reference in (hidden, hidden | {"name": "old__greet"}, hidden | {"uri": uri}):
            answer = await client.ask("completion/complete", {"ref": reference, "argument": argument})
            assert answer["error"]["code"] == -32602, reference
        seen = {"ref": {"type": "ref/resource", "uri": uri}, "argument": {"name": "id", "value": ""}}
        assert (await client.ask("completion/complete", seen))["result"]["completion"]["values"]
