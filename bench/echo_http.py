"""The echo backend over HTTP, as fast as Python can: `python -m bench.echo_http PORT`.

A raw asyncio protocol on uvloop that looks at no more of a request than it must and answers all requests of
one read in one write, so that what stands in front of it is what is measured.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import uvloop

from bench.echo_stdio import answer

_ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
_NO_STREAM = b"HTTP/1.1 405 Method Not Allowed\r\nAllow: POST\r\nContent-Length: 0\r\n\r\n"
_OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s"
_LENGTH = b"Content-Length: "
SESSION = b"bench" * 40  # as long as a sealed one


class Echo(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._rest = b""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        replies, start = replies_to(data)
        self._rest = data[start:]
        if replies:
            self._transport.write(b"".join(replies))


def replies_to(data: bytes) -> tuple[list[bytes], int]:
    """The responses to the whole requests in `data`, and where the first unfinished one starts."""
    replies = []
    start = 0
    while (end := data.find(b"\r\n\r\n", start)) >= 0:
        stop = end + 4
        if data.startswith(b"POST", start):
            body = stop
            stop += _content_length(data, start, end)
            if stop > len(data):
                break
            replies.append(_respond(data[body:stop]))
        else:
            replies.append(_NO_STREAM)
        start = stop
    return replies, start


def _content_length(data: bytes, start: int, end: int) -> int:
    """What the head between `start` and `end` declares; clients spell the header's name differently."""
    at = data.find(_LENGTH, start, end)
    if at < 0:
        at = data.lower().index(_LENGTH.lower(), start, end)
    stop = data.find(b"\r\n", at, end)
    return int(data[at + len(_LENGTH) : stop if stop >= 0 else end])


def _respond(body: bytes) -> bytes:
    reply = answer(body)
    if reply is None:
        return _ACCEPTED
    session = b"Mcp-Session-Id: " + SESSION + b"\r\n" if b'"initialize"' in body else b""
    return _OK % (session, len(reply), reply)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
