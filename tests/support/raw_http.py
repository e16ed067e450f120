"""A scripted HTTP server on raw streams, for answers that no well-behaved server gives."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field


@dataclass
class Request:
    method: str
    target: str
    headers: dict[str, str]  # names in lower case
    body: bytes
    connection: int  # the number of the connection that it came over, from 1
    raw_head: bytes = b""


class HangUp(Exception):  # noqa: N818 - an order, not an error
    """Raised by a script: close this connection."""


Script = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class RawServer:
    """Reads requests, lets `script` write whatever it likes. `async with`; then `url` is its address."""

    script: Script
    tls: ssl.SSLContext | None = None
    port: int = 0
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    open_connections: int = 0
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _closing: bool = False
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def url(self) -> str:
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}/mcp"

    async def __aenter__(self) -> RawServer:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, ssl=self.tls, limit=2**20, backlog=256
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing = True
        self._server.close()
        for writer in tuple(self._writers):
            writer.transport.abort()
        async with asyncio.timeout(10):
            await self.until(lambda: not self._writers)
            await self._server.wait_closed()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds; it is looked at whenever a request or a connection comes or goes."""
        async with asyncio.timeout(20), self._changed:
            await self._changed.wait_for(condition)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self.connections += 1
        self.open_connections += 1
        number = self.connections
        if self._closing:  # accepted in the moment of the end
            writer.transport.abort()
        try:
            while True:
                request = await _read(reader, number)
                self.requests.append(request)
                await self._notify()
                await self.script(request, writer)
                await writer.drain()
        except (HangUp, ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            self._writers.discard(writer)
            self.open_connections -= 1
            await self._notify()


async def _read(reader: asyncio.StreamReader, connection: int) -> Request:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    method, target, _ = first.split(" ")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        assert name.lower() not in headers, f"sent twice: {name}"
        headers[name.lower()] = value.strip()
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, target, headers, body, connection, head)


def respond(
    writer: asyncio.StreamWriter,
    status: int,
    body: bytes = b"",
    *,
    kind: str = "application/json",
    **headers: str,
) -> None:
    """A well-formed answer with a length."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}"]
    if body:
        lines.append(f"Content-Type: {kind}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)


def begin_stream(writer: asyncio.StreamWriter, **headers: str) -> None:
    """The head of an event stream in chunks."""
    extra = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n"
    writer.write(f"{head}{extra}\r\n".encode())


def chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    """One chunk; an empty one ends the answer."""
    writer.write(b"%x\r\n%b\r\n" % (len(data), data))
