"""An MCP server on the official SDK, over HTTP: what the remote driver must get along with.

`python sdk_server.py [sse] [json] [stateless] [events]` binds a free port of the loopback interface and
prints its URL. `events` keeps an event store, so that streams can be taken up again.
"""

import asyncio
import socket
import sys
from typing import Annotated

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.streamable_http import EventMessage, EventStore
from pydantic import BaseModel, WithJsonSchema


class Events(EventStore):
    """Every event of every stream, in order; its id is its index."""

    def __init__(self):
        self.events = []

    async def store_event(self, stream_id, message):
        self.events.append((stream_id, message))
        return str(len(self.events) - 1)

    async def replay_events_after(self, last_event_id, send_callback):
        stream = self.events[int(last_event_id)][0]
        for index in range(int(last_event_id) + 1, len(self.events)):
            stream_id, message = self.events[index]
            if stream_id == stream and message is not None:
                await send_callback(EventMessage(message, str(index)))
        return stream


class Answer(BaseModel):
    name: str


server = MCPServer("sdk", log_level="WARNING")
state = {"cancelled": 0}


@server.tool()
async def echo(text: str) -> str:
    return text


@server.tool()
async def steps(count: int, ctx: Context) -> str:
    for step in range(count):
        await ctx.report_progress(step, count)
    return "done"


@server.tool()
async def wait(ctx: Context) -> str:
    """Waits until it is cancelled."""
    await ctx.report_progress(0, 1)
    try:
        await asyncio.Event().wait()
    finally:
        state["cancelled"] += 1
    return "never"


@server.tool()
async def cancelled() -> str:
    return str(state["cancelled"])


@server.tool()
async def ask(ctx: Context) -> str:
    answer = await ctx.elicit("Who are you?", Answer)
    return f"hello {answer.data.name}"


@server.tool()
async def announce(ctx: Context) -> str:
    """Says something that belongs to no request."""
    await ctx.session.send_tool_list_changed()
    return "announced"


@server.tool()
async def touch(uri: str, ctx: Context) -> str:
    """Tells those who listen (modern era) that a resource has changed."""
    await ctx.notify_resource_updated(uri)
    return "touched"


@server.tool()
async def grow(ctx: Context) -> str:
    """Adds a tool, and tells those who listen."""
    server.add_tool(cancelled, name=f"grown{len(await server.list_tools())}")
    await ctx.notify_tools_changed()
    return "grown"


@server.tool()
async def poll(ctx: Context) -> str:
    """Closes its own stream before it answers: the client must come back for the answer.

    It answers before the client can be back, since the SDK loses what comes between replay and live stream.
    """
    await ctx.report_progress(0, 1)
    await ctx.close_sse_stream()
    return "polled"


@server.tool()
async def where(
    region: Annotated[str | None, WithJsonSchema({"type": "string", "x-mcp-header": "Region"})],
    ctx: Context,
    count: Annotated[int | None, WithJsonSchema({"type": "integer", "x-mcp-header": "Count"})] = None,
) -> str:
    """Gives the headers that repeat its arguments."""
    headers = ctx.headers or {}
    return f"{headers.get('mcp-param-region')} {headers.get('mcp-param-count')}"


@server.tool()
async def header(name: str, ctx: Context) -> str:
    return (ctx.headers or {}).get(name, "absent")


def main(flags):
    if "sse" in flags:
        app, path = server.sse_app(), "/sse"
    else:
        app = server.streamable_http_app(
            json_response="json" in flags,
            stateless_http="stateless" in flags,
            event_store=Events() if "events" in flags else None,
            retry_interval=50 if "events" in flags else None,
        )
        path = "/mcp"
    sock = socket.create_server(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{sock.getsockname()[1]}{path}", flush=True)
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
    uvicorn.Server(config).run(sockets=[sock])


if __name__ == "__main__":
    main(sys.argv[1:])
