"""Whatever bytes clients and servers send: each request gets one answer, and nothing stays behind."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from fairlead.mcp.eras import META_CAPABILITIES, META_VERSION
from support.http_answers import read_answer
from support.lane_rig import Rig, lane_rig, request
from support.mutations import FACTOR, almost
from support.scripted import INFO, Script, answer
from support.virtual_time import run_virtually

EVERYTHING: dict[str, Any] = {
    "tools": {},
    "prompts": {},
    "resources": {"subscribe": True},
    "completions": {},
    "logging": {},
}
LISTS = {
    "tools/list": {"tools": [{"name": "echo", "inputSchema": {"type": "object"}}]},
    "prompts/list": {"prompts": [{"name": "greet"}]},
    "resources/list": {"resources": [{"uri": "file:///a", "name": "a"}]},
    "resources/templates/list": {"resourceTemplates": [{"uriTemplate": "file:///{x}", "name": "t"}]},
}
ABLE = {
    "sampling": {},
    "elicitation": {"form": {}, "url": {}},
    "roots": {},
    "extensions": {"io.modelcontextprotocol/tasks": {}},
}
CALLS: dict[str, Any] = {
    "tools/call": {"name": "s__echo", "arguments": {"a": "é"}},
    "prompts/get": {"name": "s__greet", "arguments": {"n": "x"}},
    "resources/read": {"uri": "fairlead://s/file:///a"},
    "completion/complete": {
        "ref": {"type": "ref/prompt", "name": "s__greet"},
        "argument": {"name": "n", "value": ""},
    },
}
OTHERS: dict[str, Any] = {
    "tools/list": {"cursor": "x"},
    "resources/templates/list": {},
    "ping": {},
    "logging/setLevel": {"level": "info"},
    "resources/subscribe": {"uri": "fairlead://s/file:///a"},
    "resources/unsubscribe": {"uri": "fairlead://s/file:///a"},
    "server/discover": {},
    "tasks/get": {"taskId": "x"},
    "initialize": {
        "protocolVersion": "2025-11-25",
        "capabilities": ABLE,
        "clientInfo": {"name": "t", "version": "0"},
    },
}
MODERN_META = {META_VERSION: "2026-07-28", META_CAPABILITIES: ABLE, "progressToken": "p"}
ERAS = st.sampled_from(["legacy", "modern"])


def server(era: str, silent: bool = False) -> Script:
    modern = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"} if era == "modern" else {}

    def script(message: dict[str, Any]) -> list[dict[str, Any]]:
        method = message.get("method")
        if "id" not in message or method is None:
            return []
        if method == "initialize" and era == "legacy":
            told = {"protocolVersion": "2025-11-25", "capabilities": EVERYTHING, "serverInfo": INFO}
            return [answer(message, **told)]
        if method == "server/discover" and era == "modern":
            return [answer(message, supportedVersions=["2026-07-28"], capabilities=EVERYTHING, **modern)]
        if method in LISTS:
            return [answer(message, **LISTS[method], **modern)]
        if method in CALLS:
            return [] if silent else [answer(message, content=[], **modern)]
        if method in ("ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"):
            return [answer(message)]
        return [{"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32601, "message": "no"}}]

    return script


def said(out: bytes) -> list[Any]:
    return read_answer(out).messages


def post(rig: Rig, body: bytes, headers: dict[str, str], path: str = "/mcp") -> Any:
    lane, wire = rig.connect()
    lane.data_received(request(body, headers, path))
    return lane, wire


def modern_headers(message: Any) -> dict[str, str]:
    """The headers that a client would send with a body, as far as it says something."""
    method = message.get("method") if isinstance(message, dict) else None
    params = message.get("params") if isinstance(message, dict) else None
    params = params if isinstance(params, dict) else {}
    named = params.get("uri" if method == "resources/read" else "taskId" if method == "tasks/get" else "name")
    headers = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": method if isinstance(method, str) else "x"}
    headers |= {"Mcp-Name": named} if isinstance(named, str) else {}
    return {name: value for name, value in headers.items() if value.isascii() and value.isprintable()}


def messages_of(era: str) -> list[Any]:
    meta = {"progressToken": 7} if era == "legacy" else MODERN_META
    methods = CALLS | OTHERS
    requests = [
        {"jsonrpc": "2.0", "id": number, "method": method, "params": {**params, "_meta": meta}}
        for number, (method, params) in enumerate(methods.items())
    ]
    return [
        *requests,
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 0}},
        {"jsonrpc": "2.0", "id": "fairlead-1", "result": {"action": "accept"}},
    ]


@settings(max_examples=100 * FACTOR, deadline=None)
@given(data=st.data(), upstream=ERAS, downstream=ERAS, path=st.sampled_from(["/mcp", "/servers/s/mcp"]))
def test_whatever_a_client_posts_gets_one_answer(data, upstream, downstream, path):
    found = data.draw(st.lists(almost(messages_of(downstream)), min_size=1, max_size=4), label="bodies")

    async def run() -> None:
        async with lane_rig(server(upstream)) as rig:
            session = await rig.session(path)
            for body in found:
                try:
                    tree = json.loads(body)
                except (ValueError, RecursionError):
                    tree = None
                headers = session if downstream == "legacy" else modern_headers(tree)
                _, wire = post(rig, body, headers, path)
                for _ in range(20):
                    await asyncio.sleep(0)
                told = said(wire.out)
                assert len(told) <= 1
                assert not told or told[0].get("error", {}).get("code") != -32603, told
                if told and isinstance(tree, dict) and "id" in tree and told[0]["id"] is not None:
                    assert told[0]["id"] == tree["id"]
            assert rig.gateway.in_flight == 0
            assert all(pool.calls_held == 0 for pool in rig.gateway.endpoints.merged.pools.values())

    with capture_logs() as logs:
        run_virtually(run())
    assert [entry for entry in logs if entry["log_level"] == "error"] == []


RESULTS = [
    {"content": [{"type": "resource_link", "uri": "file:///a", "name": "a"}], "isError": False},
    {
        "messages": [
            {"role": "user", "content": {"type": "resource", "resource": {"uri": "file:///b", "text": "b"}}}
        ]
    },
    {
        "contents": [{"uri": "file:///a", "text": "a"}],
        "ttlMs": 5,
        "cacheScope": "public",
        "resultType": "complete",
    },
    {"resultType": "task", "taskId": "t", "status": "working", "ttlMs": 1000},
    {
        "resultType": "input_required",
        "inputRequests": {
            "a": {
                "method": "elicitation/create",
                "params": {"mode": "url", "message": "m", "url": "https://x"},
            },
            "b": {"method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 1}},
        },
        "requestState": "s",
    },
]
NOTES = [
    ("notifications/progress", {"progressToken": 0, "progress": 0.5, "total": 1, "message": "m"}),
    ("notifications/message", {"level": "error", "data": {"a": 1}}),
    ("notifications/cancelled", {"requestId": 0}),
    ("notifications/elicitation/complete", {"elicitationId": "e"}),
    ("notifications/resources/updated", {"uri": "file:///a"}),
    ("notifications/tools/list_changed", {}),
    ("notifications/tasks", {"taskId": "t", "_meta": {"io.modelcontextprotocol/subscriptionId": 0}}),
    ("notifications/subscriptions/acknowledged", {"_meta": {"io.modelcontextprotocol/subscriptionId": 0}}),
]
QUESTIONS = [
    ("elicitation/create", {"message": "m", "requestedSchema": {"type": "object", "properties": {}}}),
    ("elicitation/create", {"mode": "url", "message": "m", "url": "https://x", "elicitationId": "e"}),
    ("sampling/createMessage", {"messages": [], "maxTokens": 1}),
    ("roots/list", {}),
    ("ping", {}),
]


def frames_for(number: int) -> list[Any]:
    """What a server may say while it works on a request with this number."""
    about = json.loads(json.dumps(NOTES).replace(": 0", f": {number}"))
    errors = [
        {"code": -32042, "message": "m", "data": {"elicitations": [{"url": "x", "elicitationId": "e"}]}},
        {"code": -32002, "message": "m"},
    ]
    return [
        *({"jsonrpc": "2.0", "id": number, "result": result} for result in RESULTS),
        *({"jsonrpc": "2.0", "id": number, "error": error} for error in errors),
        *({"jsonrpc": "2.0", "method": method, "params": params} for method, params in about),
        *({"jsonrpc": "2.0", "id": 99, "method": method, "params": params} for method, params in QUESTIONS),
    ]


@settings(max_examples=100 * FACTOR, deadline=None)
@given(
    data=st.data(), upstream=ERAS, downstream=ERAS, method=st.sampled_from(sorted(CALLS)), able=st.booleans()
)
def test_whatever_a_server_says_its_client_gets_one_answer(data, upstream, downstream, method, able):
    async def run() -> None:
        servers = {"s": {"command": "x", "client_requests": ["sampling", "elicitation", "roots"]}}
        async with lane_rig(server(upstream, silent=True), **servers) as rig:
            headers = await session(rig, ABLE if able else {}) if downstream == "legacy" else {}
            meta = {"progressToken": "p"}
            if downstream == "modern":
                meta |= MODERN_META | {META_CAPABILITIES: ABLE if able else {}}
            message = {
                "jsonrpc": "2.0",
                "id": 5,
                "method": method,
                "params": {**CALLS[method], "_meta": meta},
            }
            headers = headers or modern_headers(message)
            _, wire = post(rig, json.dumps(message).encode(), headers)
            link = await sent(rig, method)
            for _ in range(data.draw(st.integers(1, 4), label="frames")):
                number = next(one["id"] for one in reversed(link.sent) if one.get("method") == method)
                frame = data.draw(almost(frames_for(number)), label="frame")
                link.listener.frame_received(frame.replace(b"\n", b" ").replace(b"\r", b" "))
                await asyncio.sleep(0)
            await asyncio.sleep(1)  # what was asked is presented
            await all_answered(rig, method, wire, headers)
            told = said(wire.out)
            for one in told[:-1]:
                assert "method" in one
                assert (one.get("params") or {}).get("progressToken", "p") == "p"
            last = told[-1]
            assert last["id"] == 5
            assert ("result" in last) != ("error" in last)
            assert last.get("error", {}).get("code") != -32603
            await asyncio.sleep(700)
            rig.gateway.tick(asyncio.get_running_loop().time())
            for pool in rig.gateway.endpoints.merged.pools.values():
                assert pool.calls_held == rig.gateway.in_flight == 0

    with capture_logs() as logs:
        run_virtually(run())
    assert [entry for entry in logs if entry["log_level"] == "error"] == []


async def session(rig: Rig, capabilities: dict[str, Any]) -> dict[str, str]:
    hello = {
        "protocolVersion": "2025-11-25",
        "capabilities": capabilities,
        "clientInfo": {"name": "t", "version": "0"},
    }
    message = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello}
    _, wire = post(rig, json.dumps(message).encode(), {})
    line = next(line for line in wire.out.decode().split("\r\n") if line.startswith("mcp-session-id"))
    return {"Mcp-Session-Id": line.split(": ")[1], "MCP-Protocol-Version": "2025-11-25"}


async def all_answered(rig: Rig, method: str, wire: Any, headers: dict[str, str]) -> None:
    """The client answers whatever it was asked, and the server all calls."""
    heard = set()
    for _ in range(40):
        for one in said(wire.out):
            if "method" in one and "id" in one and one["id"] not in heard:
                heard.add(one["id"])
                back = {"jsonrpc": "2.0", "id": one["id"], "result": {"action": "accept"}}
                post(rig, json.dumps(back).encode(), headers)
        await asyncio.sleep(0.01)
        for link in rig.driver.links:
            for call in [one for one in link.sent if one.get("method") == method]:
                link.listener.frame_received(json.dumps(answer(call, content=[])).encode())
        await asyncio.sleep(0.01)
        if (told := said(wire.out)) and "method" not in told[-1]:
            return


async def sent(rig: Rig, method: str) -> Any:
    """The link on which a call went out."""
    async with asyncio.timeout(10):
        while True:
            for link in rig.driver.links:
                if link.sent and link.sent[-1].get("method") == method:
                    return link
            await asyncio.sleep(0.001)
