"""The light fixture speaks MCP as the official SDK understands it, in each era."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from mcp import Client, MCPError
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp_types import EmbeddedResource, PromptReference, ResourceLink

from fairlead.ports import Link
from support.light import LIGHT, Processes
from support.recorder import Recorder, call, notify, request
from support.until import until

ERAS = [
    ("legacy", "auto", "2025-11-25"),
    ("both", "legacy", "2025-11-25"),
    ("both", "auto", "2026-07-28"),
    ("modern", "auto", "2026-07-28"),
]
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


@asynccontextmanager
async def connected(*flags: str, mode: str = "auto") -> AsyncIterator[Client]:
    command, *arguments = (*LIGHT, *flags)
    async with Client(
        stdio_client(StdioServerParameters(command=command, args=arguments)), mode=mode
    ) as client:
        yield client


@pytest.mark.parametrize(("era", "mode", "version"), ERAS)
async def test_everything_it_offers_is_understood_by_the_sdk(era, mode, version):
    async with connected("--era", era, mode=mode) as client:
        assert client.protocol_version == version
        assert client.server_info.name == "light"
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert len(tools) == 13
        assert tools["echo"].annotations.read_only_hint
        assert (await client.call_tool("echo", {"text": "ä"})).content[0].text == "ä"
        assert (await client.call_tool("add", {"a": 1, "b": 2})).content[0].text == "3"
        assert (await client.call_tool("count", {})).structured_content["count"] == 1
        assert (await client.call_tool("count", {})).structured_content["count"] == 2
        assert (await client.call_tool("fail", {})).is_error
        with pytest.raises(MCPError, match="always answers with an error"):
            await client.call_tool("error", {})
        link, embedded = (await client.call_tool("link", {})).content
        assert isinstance(link, ResourceLink)
        assert isinstance(embedded, EmbeddedResource)
        assert (await client.read_resource(link.uri)).contents[0].text == "the text of light://one"
        assert (await client.read_resource("light://blob")).contents[0].blob.startswith("AAEC")
        assert (await client.read_resource("light://item/7")).contents[0].text == "the text of light://item/7"
        with pytest.raises(MCPError, match="Resource not found"):
            await client.read_resource("light://none")
        assert len((await client.list_resources()).resources) == 2
        assert (await client.list_resource_templates()).resource_templates[
            0
        ].uri_template == "light://item/{id}"
        assert (await client.list_prompts()).prompts[0].name == "greet"
        assert (await client.get_prompt("greet", {"name": "Bo"})).messages[0].content.text == "Hello, Bo!"
        greet = PromptReference(type="ref/prompt", name="greet")
        completion = await client.complete(greet, {"name": "name", "value": "A"})
        assert completion.completion.values == ["Ada", "Alan"]


async def test_pages_and_a_bad_cursor():
    async with connected("--page", "5") as client:
        names, cursor = [], None
        for _ in range(3):
            page = await client.list_tools(cursor=cursor)
            names += [tool.name for tool in page.tools]
            cursor = page.next_cursor
        assert cursor is None
        assert len(set(names)) == 13
        with pytest.raises(MCPError, match="Invalid cursor"):
            await client.list_tools(cursor="x")


@pytest.fixture
async def light(tmp_path: Path) -> AsyncIterator[Processes]:
    processes = Processes(tmp_path)
    yield processes
    await processes.driver.close()


async def test_sleep_tells_progress_overlaps_and_can_be_cancelled(light):
    link, heard = await light.open()
    call(link, 1, "sleep", {"progressToken": "p"}, seconds=0.2)
    call(link, 2, "sleep", {"progressToken": "q"}, seconds=60)
    call(link, 3, "echo", text="at once")
    await heard.answered(3)
    assert heard.answer(1) is None
    notify(link, "notifications/cancelled", {"requestId": 2})
    await heard.answered(1)
    told = [
        message["params"] for message in heard.messages if message.get("method") == "notifications/progress"
    ]
    assert told == [{"progressToken": "p", "progress": step, "total": 4} for step in (1, 2, 3, 4)]


async def changes(link: Link, heard: Recorder, meta: dict) -> list[dict]:
    """The notifications that a change brings, and whether the list then has the new tool."""
    call(link, 8, "change", meta)
    await heard.answered(8)
    request(link, 9, "tools/list", {"_meta": meta})
    assert (await heard.answered(9))["result"]["tools"][-1]["name"] == "extra-1"
    call(link, 10, "extra-1", meta)
    await heard.answered(10)
    return [message for message in heard.messages if message.get("method", "").endswith("list_changed")]


async def test_a_change_is_told_in_the_legacy_era(light):
    link, heard = await light.open()
    assert len(await changes(link, heard, {})) == 1


async def test_a_change_is_told_to_those_who_listen_in_the_modern_era(light):
    link, heard = await light.open("--era", "modern")
    for number, wanted in ((1, {"toolsListChanged": True}), (2, {"promptsListChanged": True})):
        request(link, number, "subscriptions/listen", {"_meta": META, "notifications": wanted})
    (told,) = await changes(link, heard, META)
    assert told["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"] == 1
    acknowledged = [
        m["params"]["notifications"] for m in heard.messages if m.get("method", "").endswith("acknowledged")
    ]
    assert acknowledged == [{"toolsListChanged": True}, {}]


@pytest.mark.parametrize(
    ("era", "method", "params", "code"),
    [
        ("legacy", "server/discover", {"_meta": META}, -32601),
        ("legacy", "no/such", {}, -32601),
        ("modern", "initialize", {"protocolVersion": "2025-11-25"}, -32022),
        ("modern", "tools/list", {}, -32602),
        (
            "modern",
            "tools/list",
            {"_meta": META | {"io.modelcontextprotocol/protocolVersion": "2099-01-01"}},
            -32022,
        ),
        ("modern", "ping", {"_meta": META}, -32601),
        ("both", "server/discover", {}, -32601),
        ("legacy", "tools/call", {"name": "no-such-tool"}, -32602),
    ],
)
async def test_what_it_refuses(light, era, method, params, code):
    link, heard = await light.open("--era", era)
    request(link, 0, method, params)
    assert (await heard.answered(0))["error"]["code"] == code


async def test_it_survives_what_is_no_request(light):
    link, heard = await light.open()
    for line in (b"{", b"[]", b"7", b'"x"', b'{"id":1,"result":{}}', b"[" * 100_000):
        link.send(line, "", None, None)
    request(link, 1, "ping")
    assert (await heard.answered(1))["result"] == {}
    assert [message["error"]["code"] for message in heard.messages[:-1]] == [
        -32700,
        -32600,
        -32600,
        -32600,
        -32700,
    ]


async def test_it_may_stay_silent_at_the_handshake(light):
    link, heard = await light.open("--no-initialize-answer")
    request(link, 1, "initialize", {"protocolVersion": "2025-11-25"})
    request(link, 2, "ping")
    await heard.answered(2)
    assert heard.answer(1) is None


LONGER = {"long-line": 100, "stderr": 1000, "notifications": 300}
SPOILS = {  # what one answer becomes, as frames with the ids of those that are answers
    "garbage": [None, None, None, None, 2],
    "half-lines": [None, 2],
    "half-answers": [None],
    "pieces": [2],
    "twice": [2, 2],
    "unknown-ids": [1_000_002, -3, "2", 2.5, True, None, [2], {"id": 2}, 10**30, 2],
    "wrong-ids": [1_000_002],
}


def id_of(frame: bytes) -> object:
    try:
        return json.loads(frame)["id"]
    except (ValueError, TypeError, KeyError):
        return None


@pytest.mark.parametrize("kind", SPOILS)
async def test_it_spoils_as_many_answers_as_it_is_told(light, tmp_path, kind):
    link, heard = await light.open("--misbehaves")
    call(link, 1, "misbehave", kind=kind, times=1, done=str(tmp_path / "done"))
    assert (await heard.answered(1))["result"]["structuredContent"]["pid"]
    call(link, 2, "echo", text="spoiled")
    call(link, 3, "echo", text="as ever")
    await heard.answered(3)
    assert [id_of(frame) for frame in heard.frames[1:]] == [*SPOILS[kind], 3]
    assert (tmp_path / "done").exists()


@pytest.mark.parametrize("kind", ["cut-off", "half-hang"])
async def test_it_ends_or_hangs_in_the_middle_of_an_answer(light, tmp_path, kind):
    link, heard = await light.open("--misbehaves", stop_grace=0.1)
    call(link, 1, "misbehave", kind=kind, times=1, done=str(tmp_path / "done"))
    await heard.answered(1)
    call(link, 2, "echo", text="spoiled")
    if kind == "half-hang":
        await link.close()
    assert (await heard.ended()).exit_code == (1 if kind == "cut-off" else -15)
    assert len(heard.frames) == 1


@pytest.mark.parametrize("kind", LONGER)
async def test_it_floods(light, tmp_path, kind):
    link, heard = await light.open("--misbehaves")
    call(link, 1, "misbehave", kind=kind, times=LONGER[kind], done=str(tmp_path / "done"))
    await until((tmp_path / "done").exists)
    request(link, 2, "ping")
    await heard.answered(2)
    assert len(heard.frames) == {"long-line": 3, "stderr": 2, "notifications": 302}[kind]


async def test_a_call_is_held_until_the_file_is_there(light, tmp_path):
    link, heard = await light.open("--misbehaves")
    call(link, 1, "hold", text="mine", file=str(tmp_path / "gate"))
    request(link, 2, "ping")
    await heard.answered(2)
    assert heard.answer(1) is None
    assert (tmp_path / "gate.held").read_text().endswith(" mine\n")
    (tmp_path / "gate").touch()
    assert (await heard.answered(1))["result"]["content"][0]["text"] == "mine"


@pytest.mark.parametrize("there", [True, False])
async def test_it_may_be_bad_only_while_a_file_is_there(light, tmp_path, there):
    if there:
        (tmp_path / "bad").touch()
    starts = tmp_path / "starts"
    flags = ("--only-if", str(tmp_path / "bad"), "--exit-at-once", "3", "--starts", str(starts))
    link, heard = await light.open(*flags, "--label", "9")
    if there:
        assert (await heard.ended()).exit_code == 3
    else:
        request(link, 1, "initialize", {"protocolVersion": "2025-11-25"})
        assert (await heard.answered(1))["result"]["serverInfo"]["version"] == "9"
    assert float(starts.read_text()) > 0
