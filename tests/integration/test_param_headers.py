"""`Mcp-Param-*`: a modern client's are held against the body, and a modern HTTP server gets its own."""

import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.lane_rig import lane_rig
from support.scripted import answer, refuse
from support.stack import TOKEN, ModernClient, Stack, light, running, until

SDK_SERVER = Path(__file__).parents[1] / "support" / "sdk_server.py"
MIRRORED = {"Mcp-Param-Region": "eu"}


@pytest.fixture(scope="module")
def sdk() -> Iterator[str]:
    process = subprocess.Popen([sys.executable, str(SDK_SERVER)], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


class Client(ModernClient):
    """Sends what headers it is told to, beside those that every request has."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(stack, "/mcp", TOKEN)
        self.parameters: dict[str, str] = {}

    def routed(self, message: dict[str, Any]) -> dict[str, Any]:
        return super().routed(message) | self.parameters

    async def where(self, parameters: dict[str, Any], **arguments: Any) -> Any:
        self.parameters = parameters
        answer = await self.post(self.message("tools/call", {"name": "sdk__where", "arguments": arguments}))
        told = answer.json()
        if "error" in told:
            return answer.status_code, told["error"]["code"]
        return told["result"]["content"][0]["text"]


@pytest.mark.parametrize(
    ("parameters", "arguments", "told"),
    [
        ({"Mcp-Param-Region": "eu"}, {"region": "eu"}, "eu None"),
        ({"MCP-PARAM-REGION": "eu", "mcp-param-count": "7.0"}, {"region": "eu", "count": 7}, "eu 7"),
        ({"Mcp-Param-Region": "=?base64?w7w=?="}, {"region": "ü"}, "=?base64?w7w=?= None"),
        ({"Mcp-Param-Region": "", "Mcp-Param-Other": "x"}, {"region": ""}, " None"),
        ({}, {"region": None}, "None None"),
        ({}, {"region": "eu"}, (400, -32020)),
        ({"Mcp-Param-Region": "us"}, {"region": "eu"}, (400, -32020)),
        ({"Mcp-Param-Region": "eu", "Mcp-Param-Count": "8"}, {"region": "eu", "count": 7}, (400, -32020)),
        ({"Mcp-Param-Region": "=?base64?ZXU?="}, {"region": "eu"}, (400, -32020)),
        ({"Mcp-Param-Region": "null"}, {"region": None}, (400, -32020)),
    ],
)  # fmt: skip
async def test_a_modern_clients_headers_are_held_against_the_body(tmp_path, sdk, parameters, arguments, told):
    async with running(tmp_path, {"sdk": {"url": sdk}}) as stack:
        ada = Client(stack)
        for _ in range(3):  # the head may be a known one by then
            assert await ada.where(parameters, **arguments) == told


async def test_a_header_that_stands_twice_is_refused(tmp_path, sdk):
    async with running(tmp_path, {"sdk": {"url": sdk}}) as stack:
        ada = stack.modern()
        message = ada.message("tools/call", {"name": "sdk__where", "arguments": {"region": "eu"}})
        message["params"]["_meta"] = ada.meta
        headers = [*ada.routed(message).items(), *[("Mcp-Param-Region", "eu")] * 2]
        answer = await stack.http.post(ada.url, headers=headers, json=message)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, -32020)


async def test_a_legacy_client_need_not_know_of_them(tmp_path, sdk):
    async with running(tmp_path, {"sdk": {"url": sdk}}) as stack:
        session = await stack.session()
        for headers in ({}, {"Mcp-Name": "sdk__where", "Mcp-Param-Region": "us"}):
            session.headers |= headers
            assert await session.text("sdk__where", region="eu", count=3) == "eu 3"


async def test_calls_by_rest_carry_them_too(tmp_path, sdk):
    async with running(tmp_path, {"sdk": {"url": sdk}}) as stack:
        asked = {"name": "where", "arguments": {"region": "eu", "count": 3}}
        body = {"method": "tools/call", "params": asked, "server": "sdk"}
        answer = await stack.rest("POST", "/api/request", json=body)
        assert "eu 3" in answer.text, answer.text


async def test_clients_see_the_annotation(tmp_path, sdk):
    async with running(tmp_path, {"sdk": {"url": sdk}}) as stack:
        listed = await stack.modern().ask("tools/list")
        where = next(tool for tool in listed["result"]["tools"] if tool["name"] == "sdk__where")
        assert where["inputSchema"]["properties"]["region"]["x-mcp-header"] == "Region"


async def test_other_tools_get_no_such_headers_and_need_none(tmp_path, sdk):
    async with running(tmp_path, {"sdk": {"url": sdk}, "light": light()}) as stack:
        ada = Client(stack)
        ada.parameters = {"Mcp-Param-Name": "x"}
        assert await ada.text("sdk__header", name="mcp-param-name") == "absent"
        assert await ada.text("light__echo", text="x") == "x"


async def test_a_schema_that_is_old_is_read_again():
    """The server refuses headers that it would have accepted once: its lists are not what they were."""

    def script(message: dict[str, Any]) -> Iterable[dict[str, Any]]:
        about = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
        if message["method"] == "server/discover":
            capabilities = {"tools": {"listChanged": False}}
            versions = ["2026-07-28"]
            return [answer(message, supportedVersions=versions, capabilities=capabilities, **about)]
        if message["method"] == "tools/list":
            return [answer(message, tools=[{"name": "echo", "inputSchema": {}}], **about)]
        return [refuse(message, -32020, "The header Mcp-Param-X is missing")]

    async with lane_rig(script) as rig:
        listed = sum(sent["method"] == "tools/list" for sent in rig.link.sent)
        told = await rig.ask("modern", "tools/call", {"name": "s__echo"})
        assert told["error"]["code"] == -32020
        await until(lambda: sum(sent["method"] == "tools/list" for sent in rig.link.sent) == listed + 1)
