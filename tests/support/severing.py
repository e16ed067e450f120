"""A TCP proxy whose connections can be cut all at once, as a bad network does it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator


class Severing:
    """Between clients, who connect to `port`, and the service at `target`."""

    def __init__(self) -> None:
        self.port = 0
        self.target = 0
        self.cuts = 0
        self._writers: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        self.cuts += 1
        for writer in self._writers:
            writer.transport.abort()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[Severing]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
            self._writers |= {writer, far_writer}
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
            self._writers -= {writer, far_writer}

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            while self._writers:
                self.cut()
                await asyncio.sleep(0.01)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
