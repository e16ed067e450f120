"""One conversation over HTTP+SSE (2024-11-05) with the last official Python SDK of the legacy era.

`python old_sse.py URL TOKEN TOOL TEXT` calls a tool of one argument `text`, then one with progress.
"""

import asyncio
import json
import sys

from mcp import ClientSession
from mcp.client.sse import sse_client


async def main(url: str, token: str, tool: str, text: str) -> None:
    steps: list[float] = []

    async def step(progress: float, total: float | None, message: str | None) -> None:
        steps.append(progress)

    async with (
        sse_client(url, headers={"Authorization": f"Bearer {token}"}) as (read, write),
        ClientSession(read, write) as client,
    ):
        opened = await client.initialize()
        tools = [tool.name for tool in (await client.list_tools()).tools]
        told = await client.call_tool(tool, {"text": text})
        await client.call_tool(tool.replace("echo", "sleep"), {"seconds": 0.2}, progress_callback=step)
        said = {
            "version": opened.protocolVersion,
            "tools": tools,
            "text": told.content[0].text,
            "steps": steps,
        }
    print(json.dumps(said))


asyncio.run(main(*sys.argv[1:]))
