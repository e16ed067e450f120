"""`python -m conformance.client ERA URL`: the gateway as the client of one of the suite's client scenarios.

The suite starts this with the URL of its server, the scenario's name in `MCP_CONFORMANCE_SCENARIO` and its
data in `MCP_CONFORMANCE_CONTEXT`. It runs an orchestrator whose only server is that URL, and drives the
scenario through it with an official SDK client of the era named.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import mcp
import mcp_types as types
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from support.stack import MODERN, TOKEN, running

SERVER = "suite"
MODES = {"legacy": "legacy", "modern": MODERN}


async def fill_in(_context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
    """The user accepts a form as it is: with its defaults, and a tick where there is none."""
    assert isinstance(params, types.ElicitRequestFormParams)
    fields = params.requested_schema["properties"]
    return types.ElicitResult(
        action="accept", content={name: field.get("default", True) for name, field in fields.items()}
    )


async def only_connect(client: mcp.Client) -> None:
    """Some of the suite's servers have nothing to list, and need not say it with an empty list."""
    try:
        await client.list_tools()
    except MCPError as error:
        if error.error.code != types.METHOD_NOT_FOUND:
            raise


async def add_numbers(client: mcp.Client) -> None:
    await client.list_tools()
    answer = await client.call_tool("add_numbers", {"a": 5, "b": 3})
    assert "8" in answer.content[0].text, answer


def call_once(tool: str) -> Callable[[mcp.Client], Awaitable[None]]:
    async def drive(client: mcp.Client) -> None:
        await client.list_tools()
        answer = await client.call_tool(tool, {})
        assert not answer.is_error, answer

    return drive


async def answer_rounds(client: mcp.Client) -> None:
    """One call waits for its answers while others are made."""
    await client.list_tools()
    tools = ("test_mrtr_echo_state", "test_mrtr_unrelated", "test_mrtr_no_state", "test_mrtr_no_result_type")
    answers = await asyncio.gather(*(client.call_tool(tool, {}) for tool in tools))
    said = [answer.content[0].text for answer in answers]
    assert said == ["echo-state-ok", "unrelated-ok", "no-state-ok", "no-result-type-test-ok"]


async def use_everything(client: mcp.Client) -> None:
    for tool in (await client.list_tools()).tools:
        await client.call_tool(tool.name, {})
    for resource in (await client.list_resources()).resources:
        await client.read_resource(resource.uri)
    for prompt in (await client.list_prompts()).prompts:
        await client.get_prompt(prompt.name)


async def call_as_told(client: mcp.Client) -> None:
    await client.list_tools()
    for call in json.loads(os.environ["MCP_CONFORMANCE_CONTEXT"])["toolCalls"]:
        answer = await client.call_tool(call["name"], call["arguments"])
        assert not answer.is_error, answer


async def call_all(client: mcp.Client) -> None:
    """Every tool that is listed, good or bad: those that must not be called must not be listed."""
    for tool in (await client.list_tools()).tools:
        fields = tool.input_schema.get("properties", {})
        await client.call_tool(tool.name, dict.fromkeys(fields, "x"))


async def echo_schema(client: mcp.Client) -> None:
    tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    echo = next(name for name, tool in tools.items() if "schema" in tool.input_schema.get("properties", {}))
    await client.call_tool(echo, {"schema": tools["json_schema_2020_12_tool"].input_schema})


SCENARIOS: dict[str, Callable[[mcp.Client], Awaitable[None]]] = {
    "initialize": only_connect,
    "request-metadata": only_connect,
    "json-schema-ref-no-deref": only_connect,
    "tools_call": add_numbers,
    "elicitation-sep1034-client-defaults": call_once("test_client_elicitation_defaults"),
    "sse-retry": call_once("test_reconnection"),
    "sep-2322-client-request-state": answer_rounds,
    "http-standard-headers": use_everything,
    "http-custom-headers": call_as_told,
    "http-invalid-tool-headers": call_all,
    "json-schema-2020-12-preservation": echo_schema,
}


async def drive(era: str, url: str, scenario: str) -> None:
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        async with (
            running(Path(folder), {SERVER: {"url": url}}) as stack,
            httpx2.AsyncClient(headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30) as http,
            mcp.Client(
                streamable_http_client(f"{stack.url}/servers/{SERVER}/mcp", http_client=http),
                mode=MODES[era],
                elicitation_callback=fill_in,
            ) as client,
        ):
            await SCENARIOS[scenario](client)


if __name__ == "__main__":
    asyncio.run(drive(sys.argv[1], sys.argv[2], os.environ["MCP_CONFORMANCE_SCENARIO"]))
