"""A legacy server on the official SDK, over HTTP in the test's own loop, that can forget its sessions."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp_types import ToolAnnotations
from starlette.responses import PlainTextResponse


class Forgetful:
    """`status` is what it answers for a session that it does not know: 404, or 400 as many servers do."""

    def __init__(self, status: int) -> None:
        self.server = MCPServer("forgetful", log_level="ERROR")
        self.status = status
        self.url = ""
        self.begun: list[str] = []  # calls that were carried out
        self.release = asyncio.Event()
        self.counts: dict[str, int] = {}
        reads = ToolAnnotations(read_only_hint=True)
        self.server.add_tool(self.echo, annotations=reads)
        for tool in (self.write, self.count, self.wait):
            self.server.add_tool(tool)

    async def echo(self, text: str) -> str:
        self.begun.append(f"echo {text}")
        return text

    async def write(self, text: str) -> str:
        """Does something that must not happen twice."""
        self.begun.append(f"write {text}")
        return text

    async def count(self, ctx: Context[Any, Any]) -> str:
        """Counts the calls of its session."""
        session = ctx.headers["mcp-session-id"] if ctx.headers else ""
        self.counts[session] = self.counts.get(session, 0) + 1
        return str(self.counts[session])

    async def wait(self) -> str:
        self.begun.append("wait")
        await self.release.wait()
        return "waited"

    @property
    def sessions(self) -> dict[str, Any]:
        return self.server.session_manager._server_instances

    def forget(self) -> None:
        """Know no session any more; what is in flight goes on."""
        self.sessions.clear()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Forgetful]:
        inner = self.server.streamable_http_app()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            if (b"mcp-protocol-version", b"2026-07-28") in scope.get("headers", ()):
                await PlainTextResponse("legacy only", 400)(scope, receive, send)
                return

            async def sent(message: Any) -> None:
                if message["type"] == "http.response.start" and message["status"] == 404:
                    message["status"] = self.status
                await send(message)

            await inner(scope, receive, sent)

        listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
        config = uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        running = asyncio.create_task(server._serve([listener]))
        try:
            while not server.started:
                await asyncio.sleep(0.01)
            yield self
        finally:
            self.release.set()
            server.should_exit = True
            await running
