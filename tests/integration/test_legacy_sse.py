"""The transport of 2024-11-05 downstream: raw, and with the official SDK."""

import asyncio
import contextlib
import json

import httpx
import pytest
from mcp.client.session import ClientSession
from mcp.client.sse import sse_client
from mcp_types import CreateMessageResult, TextContent

from support.event_streams import Reader
from support.stack import TOKEN, light, running, until

SERVERS = {"old": light(), "new": light("--era", "modern")}
HEADERS = {"Authorization": f"Bearer {TOKEN}", "Accept": "text/event-stream"}
HELLO = {"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}}


class OldClient:
    """A client at the level of messages."""

    def __init__(self, stack, reader, endpoint):
        self.stack, self.reader, self.endpoint = stack, reader, endpoint
        self.number = 0

    async def post(self, message, **headers):
        return await self.stack.http.post(
            self.stack.url + self.endpoint,
            headers={"Authorization": f"Bearer {TOKEN}"} | headers,
            json={"jsonrpc": "2.0"} | message,
        )

    async def send(self, method, params=None):
        self.number += 1
        answer = await self.post({"id": self.number, "method": method, "params": params or {}})
        assert (answer.status_code, answer.content) == (202, b"")
        return self.number

    async def ask(self, method, params=None):
        number = await self.send(method, params)
        told = (await self.reader.message()).message
        assert told["id"] == number
        return told

    async def call(self, tool, **arguments):
        told = await self.ask("tools/call", {"name": tool, "arguments": arguments})
        return told["result"]["content"][0]["text"]


@contextlib.asynccontextmanager
async def connected(stack, path="/sse", headers=HEADERS):
    async with stack.http.stream("GET", stack.url + path, headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/event-stream"
        reader = Reader(response)
        first = await reader.event()
        assert (first.kind, first.id) == ("endpoint", None)
        assert first.data.startswith("/messages?session_id=")
        yield OldClient(stack, reader, first.data)


@contextlib.asynccontextmanager
async def initialized(stack, path="/sse", hello=HELLO):
    async with connected(stack, path) as client:
        about = await client.ask("initialize", hello)
        assert about["result"]["protocolVersion"] == "2024-11-05"
        note = await client.post({"method": "notifications/initialized"})
        assert note.status_code == 202
        yield client


@pytest.mark.parametrize("server", ["old", "new"])
async def test_a_whole_conversation(tmp_path, server):
    async with running(tmp_path, SERVERS) as stack, initialized(stack) as client:
        tools = (await client.ask("tools/list"))["result"]["tools"]
        assert f"{server}__echo" in {tool["name"] for tool in tools}
        assert await client.call(f"{server}__echo", text="x") == "x"
        assert (await client.ask("ping"))["result"] == {}
        read = await client.ask("resources/read", {"uri": "nonsense"})
        assert "error" in read
        assert (await client.ask("no/such"))["error"]["code"] == -32601
        assert (await client.ask("tools/call", {"name": "nobody"}))["error"]["code"] == -32602


async def test_answers_come_as_they_are_ready_and_progress_before_them(tmp_path):
    async with running(tmp_path, SERVERS) as stack, initialized(stack) as client:
        slow = {"name": "old__sleep", "arguments": {"seconds": 0.6}, "_meta": {"progressToken": "t"}}
        first = await client.send("tools/call", slow)
        second = await client.send("tools/call", {"name": "old__echo", "arguments": {"text": "x"}})
        told = [(await client.reader.message()).message for _ in range(6)]
        assert [m["id"] for m in told if "id" in m] == [second, first]
        steps = [m["params"] for m in told if m.get("method") == "notifications/progress"]
        assert [(s["progressToken"], s["progress"]) for s in steps] == [("t", n) for n in range(1, 5)]


async def test_a_call_is_cancelled_with_a_note(tmp_path):
    async with running(tmp_path, SERVERS) as stack, initialized(stack) as client:
        number = await client.send("tools/call", {"name": "old__sleep", "arguments": {"seconds": 100}})
        await client.post({"method": "notifications/cancelled", "params": {"requestId": number}})
        assert (await client.reader.message()).message["error"]["code"] == -32800
        assert stack.system.gateway.in_flight == 0


async def test_a_server_asks_its_client(tmp_path):
    servers = {"old": light("--asks", clientRequests=["sampling"])}
    hello = HELLO | {"capabilities": {"sampling": {}}}
    async with running(tmp_path, servers) as stack, initialized(stack, hello=hello) as client:
        number = await client.send("tools/call", {"name": "old__ask", "arguments": {"text": "tea"}})
        asked = (await client.reader.message()).message
        assert asked["method"] == "sampling/createMessage"
        result = {"role": "assistant", "model": "m", "content": {"type": "text", "text": "green"}}
        answer = await client.post({"id": asked["id"], "result": result})
        assert answer.status_code == 202
        told = (await client.reader.message()).message
        assert (told["id"], told["result"]["content"][0]["text"]) == (number, "green")


async def test_changed_lists_are_told(tmp_path):
    async with running(tmp_path, SERVERS) as stack, initialized(stack) as client:
        await client.send("tools/call", {"name": "old__change", "arguments": {}})
        told = [(await client.reader.message()).message for _ in range(2)]
        assert {m.get("method") for m in told} == {None, "notifications/tools/list_changed"}


async def test_each_stream_is_a_session_that_ends_with_it(tmp_path):
    async with running(tmp_path, {"keeps": light(sharing="session", scaling={"maxInstances": 4})}) as stack:
        gateway = stack.system.gateway
        async with initialized(stack) as ada, initialized(stack) as bob:
            assert ada.endpoint != bob.endpoint
            counts = [json.loads(await c.call("keeps__count"))["count"] for c in (ada, ada, bob)]
            assert counts == [1, 2, 1]
            assert (len(gateway.sessions), gateway.metrics.streams) == (2, 2)
            await ada.send("tools/call", {"name": "keeps__sleep", "arguments": {"seconds": 100}})
            await until(lambda: gateway.in_flight == 1)
        await until(lambda: len(gateway.sessions) == 0)
        assert (gateway.in_flight, gateway.metrics.streams) == (0, 0)
        pool = gateway.endpoints.at(b"/mcp").pools["keeps"]
        await until(lambda: not pool.leases)
        assert (await ada.post({"id": 9, "method": "ping"})).status_code == 404


@pytest.mark.parametrize("path", ["/servers/old/sse", "/toolsets/few/sse"])
async def test_other_endpoints_have_it_too(tmp_path, path):
    toolsets = {"few": {"servers": {"old": {"tools": ["echo"]}}}}
    async with running(tmp_path, SERVERS, toolsets=toolsets) as stack, initialized(stack, path) as client:
        tools = {tool["name"] for tool in (await client.ask("tools/list"))["result"]["tools"]}
        if path.startswith("/servers"):
            assert "add" in tools
            assert await client.call("echo", text="x") == "x"
        else:
            assert len(tools) == 1
            assert await client.call(*tools, text="x") == "x"


async def test_it_is_initialized_once(tmp_path):
    async with running(tmp_path, SERVERS) as stack, initialized(stack) as client:
        assert "error" in await client.ask("initialize", HELLO)


async def test_who_may_post_where(tmp_path):
    async with running(tmp_path, SERVERS) as stack, initialized(stack) as client:
        guest = await stack.key("guest")
        session_id = client.endpoint.partition("=")[2]
        ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        about = {"Authorization": f"Bearer {TOKEN}"}

        async def status(method, path, headers=about, **body):
            return (await stack.http.request(method, stack.url + path, headers=headers, **body)).status_code

        assert await status("POST", client.endpoint, {"Authorization": f"Bearer {guest}"}, json=ping) == 404
        assert await status("POST", client.endpoint, {}, json=ping) == 401
        assert await status("POST", "/messages", json=ping) == 400
        assert await status("POST", "/messages?session_id=", json=ping) == 400
        assert await status("POST", "/messages?session_id=x", json=ping) == 404
        assert await status("POST", f"{client.endpoint}&session_id=x", json=ping) == 400
        assert await status("GET", client.endpoint) == 405
        assert await status("DELETE", client.endpoint) == 405
        assert await status("POST", "/sse", json=ping) == 405
        assert await status("GET", "/sse", {}) == 401
        assert await status("GET", "/servers/nobody/sse") == 404
        assert await status("GET", "/sse/") == 404
        assert await status("GET", "/messages/") == 404
        foreign = about | {"Origin": "https://evil.example"}
        assert await status("POST", client.endpoint, foreign, json=ping) == 403
        assert await status("POST", client.endpoint, about | {"Host": "evil.example"}, json=ping) == 421
        assert await status("GET", "/sse", about | {"Accept": "application/json"}) == 406
        streamable = about | {"Mcp-Session-Id": session_id, "Accept": "application/json, text/event-stream"}
        assert await status("POST", "/mcp", streamable, json=ping) == 404
        assert await status("DELETE", "/mcp", streamable) == 404
        streamed = await stack.session()
        elsewhere = f"/messages?session_id={streamed.headers['Mcp-Session-Id']}"
        assert await status("POST", elsewhere, json=ping) == 404
        assert (await client.ask("ping"))["result"] == {}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"nonsense", 400),
        (b"[]", 400),
        (b'{"jsonrpc":"2.0","id":1}', 400),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":"\xff"}', 400),
        (b'{"jsonrpc":"2.0","id":{},"method":"ping"}', 400),
    ],
)
async def test_a_broken_message_is_refused_where_it_was_posted(tmp_path, body, status):
    async with running(tmp_path, SERVERS) as stack, initialized(stack) as client:
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        answer = await stack.http.post(stack.url + client.endpoint, headers=headers, content=body)
        assert answer.status_code == status
        headers["Content-Type"] = "text/plain"
        answer = await stack.http.post(stack.url + client.endpoint, headers=headers, content=b"{}")
        assert answer.status_code == 415
        assert (await client.ask("ping"))["result"] == {}


async def test_the_rate_is_bounded_and_told_on_the_stream(tmp_path):
    limits = {"resourceLimits": {"rateLimiting": {"requestsPerMinute": 60}}}
    async with running(tmp_path, SERVERS, security=limits) as stack, initialized(stack) as client:
        told = [await client.ask("ping") for _ in range(12)]
        refused = [m["error"] for m in told if "error" in m]
        assert refused
        assert refused[0]["data"]["retryAfter"] >= 1
        note = await client.post({"method": "notifications/initialized"})
        assert (note.status_code, "retry-after" in note.headers) == (429, True)


async def test_a_modern_version_header_changes_nothing(tmp_path):
    async with running(tmp_path, SERVERS) as stack, initialized(stack) as client:
        modern = {"MCP-Protocol-Version": "2026-07-28"}
        answer = await client.post({"id": 7, "method": "ping"}, **modern)
        assert answer.status_code == 202
        assert (await client.reader.message()).message == {"jsonrpc": "2.0", "id": 7, "result": {}}


async def test_sessions_are_bounded(tmp_path):
    bounds = {"sessions": {"max_sessions": 1}}
    async with running(tmp_path, SERVERS, settings=bounds) as stack, initialized(stack):
        answer = await stack.http.get(stack.url + "/sse", headers=HEADERS)
        assert answer.status_code == 429
        assert "retry-after" in answer.headers


async def test_a_revoked_token_ends_the_stream(tmp_path):
    async with running(tmp_path, SERVERS) as stack:
        guest = await stack.key("guest")
        theirs = HEADERS | {"Authorization": f"Bearer {guest}"}
        async with connected(stack, headers=theirs) as client:
            await stack.remove("guest")
            assert await client.reader.rest() == []


async def test_a_service_that_stops_ends_the_stream(tmp_path):
    async with httpx.AsyncClient(timeout=60) as http, contextlib.AsyncExitStack() as opened:
        async with running(tmp_path, SERVERS) as stack:
            stream = http.stream("GET", stack.url + "/sse", headers=HEADERS)
            reader = Reader(await opened.enter_async_context(stream))
            await reader.event()
        assert await reader.rest() == []


async def test_a_service_that_stops_gives_the_answers_that_are_on_their_way(tmp_path):
    async with httpx.AsyncClient(timeout=60) as http, contextlib.AsyncExitStack() as opened:
        async with running(tmp_path, SERVERS) as stack:
            stream = http.stream("GET", stack.url + "/sse", headers=HEADERS)
            reader = Reader(await opened.enter_async_context(stream))
            client = OldClient(stack, reader, (await reader.event()).data)
            await client.ask("initialize", HELLO)
            number = await client.send("tools/call", {"name": "old__sleep", "arguments": {"seconds": 1.0}})
            await until(lambda: stack.system.gateway.in_flight == 1)
        assert [event.message["id"] for event in await reader.rest()] == [number]


async def test_the_official_sdk(tmp_path):
    async def sampled(context, params):
        content = TextContent(type="text", text=f"on {params.messages[0].content.text}")
        return CreateMessageResult(role="assistant", model="m", content=content)

    servers = {"old": light("--asks", clientRequests=["sampling"])}
    async with running(tmp_path, servers) as stack:
        steps = []

        async def step(progress, total, message):
            steps.append(progress)

        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with (
            sse_client(stack.url + "/sse", headers=headers) as (read, write),
            ClientSession(read, write, sampling_callback=sampled) as client,
        ):
            await client.initialize()
            assert "old__echo" in {tool.name for tool in (await client.list_tools()).tools}
            told = await client.call_tool("old__echo", {"text": "x"})
            assert told.content[0].text == "x"
            await client.call_tool("old__sleep", {"seconds": 0.2}, progress_callback=step)
            assert steps == [1, 2, 3, 4]
            told = await client.call_tool("old__ask", {"text": "tea"})
            assert told.content[0].text == "on tea"
            calls = (client.call_tool("old__echo", {"text": str(n)}) for n in range(50))
            told = await asyncio.gather(*calls)
            assert [t.content[0].text for t in told] == [str(n) for n in range(50)]
        await until(lambda: len(stack.system.gateway.sessions) == 0)
