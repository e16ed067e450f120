"""A server on the last SDK of the legacy era, whose tool asks the user. `asking.py sse|streamable-http`.

It binds a free port of the loopback interface and prints its URL.
"""

import socket
import sys

import uvicorn
from mcp.server.fastmcp import Context, FastMCP
from pydantic import BaseModel

server = FastMCP("asking")


class Answer(BaseModel):
    name: str


@server.tool()
async def ask(ctx: Context) -> str:
    answer = await ctx.elicit("Who are you?", Answer)
    return f"hello {answer.data.name}"


if __name__ == "__main__":
    over_sse = sys.argv[1] == "sse"
    app, path = (server.sse_app(), "/sse") if over_sse else (server.streamable_http_app(), "/mcp")
    listener = socket.create_server(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{listener.getsockname()[1]}{path}", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="error")).run([listener])
