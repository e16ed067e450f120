"""A proxy on the loopback interface that adds a bearer token: the suite cannot send one of its own.

It serves one request for each connection, which it says in both directions, so it need not know where a
body ends: behind the head, bytes are passed on as they come, event streams too. Who hangs up on one side is
hung up on the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator

_HOP = re.compile(rb"\r\n(connection|keep-alive):[^\r\n]*", re.IGNORECASE)


class Proxy:
    """`target` is the port that it leads to, set when it is known."""

    def __init__(self, token: str) -> None:
        self._headers = f"\r\nAuthorization: Bearer {token}\r\nConnection: close".encode()
        self.port = 0
        self.target = 0

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[Proxy]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await client.readuntil(b"\r\n\r\n")
            backend, to_backend = await asyncio.open_connection("127.0.0.1", self.target)
            to_backend.write(_HOP.sub(b"", head.removesuffix(b"\r\n\r\n")) + self._headers + b"\r\n\r\n")
            pumps = [
                asyncio.ensure_future(_pump(client, to_backend)),
                asyncio.ensure_future(_pump(backend, to_client)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
                to_backend.close()
        to_client.close()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await source.read(1 << 16):
            sink.write(data)
            await sink.drain()
