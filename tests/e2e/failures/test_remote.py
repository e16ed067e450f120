"""A server that is reached over HTTP goes away for a moment, under load."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from bench.echo_http import Echo

from fairlead.model.status import BreakerState, ServerState
from support.load import Load
from support.stack import free_port, light, running, until

BAD_GATEWAY = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"


class Remote:
    """An HTTP server of the test's own that can be away, or answer 502 to everything."""

    def __init__(self) -> None:
        self.port = free_port()
        self.broken = False
        self._transports: set[asyncio.Transport] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        remote = self

        class Connection(Echo):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                super().connection_made(transport)
                remote._transports.add(transport)  # type: ignore[arg-type]

            def data_received(self, data: bytes) -> None:
                if remote.broken:
                    self._transport.write(BAD_GATEWAY)
                else:
                    super().data_received(data)

        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(Connection, "127.0.0.1", self.port, backlog=1024)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for transport in self._transports:
            transport.abort()
        self._transports.clear()
        await self._server.wait_closed()


@pytest.mark.parametrize("how", ["away", "502"])
async def test_a_short_absence_costs_no_call_that_may_be_replayed(tmp_path: Path, how: str):
    remote = Remote()
    await remote.start()
    servers = {"remote": {"url": f"http://127.0.0.1:{remote.port}/mcp"}, "neighbour": light()}
    async with running(tmp_path, servers) as stack:
        async with Load(stack.port, "remote") as load, Load(stack.port, "neighbour", connections=4) as other:
            await load.more(300)
            calls = other.safe.ended
            if how == "away":
                await remote.stop()
            else:
                remote.broken = True
            await until(lambda: other.safe.ended >= calls + 200)
            if how == "away":
                await remote.start()
            else:
                remote.broken = False
            await load.more(600)
        load.check()
        other.check()
        await until(lambda: stack.system.fleet.server("remote").state is ServerState.READY)
        assert stack.system.fleet.server("remote").breaker is BreakerState.CLOSED
    await remote.stop()
