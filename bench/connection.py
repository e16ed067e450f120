"""A small MCP client over HTTP: one blocking connection, since its own time is in what it measures."""

from __future__ import annotations

import json
import socket
import time
from dataclasses import dataclass, replace
from typing import Any

import httptools

from bench.echo_stdio import PROTOCOL
from bench.processes import Program, StartError

READY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Access:
    """What a call to a contender needs: where it goes, the tool's name there, what authorises it."""

    port: int
    path: str = "/mcp"
    tool: str = "echo"
    token: str = ""
    session: str = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.path}"

    def head(self, method: str, length: int = 0) -> bytes:
        """The request's head, for a body of `length` bytes."""
        lines = [
            f"{method} {self.path} HTTP/1.1",
            f"Host: 127.0.0.1:{self.port}",
            "Accept: text/event-stream" if method == "GET" else "Accept: application/json, text/event-stream",
            f"MCP-Protocol-Version: {PROTOCOL}",
        ]
        if method == "POST":
            lines += ["Content-Type: application/json", f"Content-Length: {length}"]
        if self.token:
            lines.append(f"Authorization: Bearer {self.token}")
        if self.session:
            lines.append(f"Mcp-Session-Id: {self.session}")
        return "\r\n".join([*lines, "", ""]).encode()

    def get(self, path: str) -> bytes:
        """A request to the REST API."""
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: 127.0.0.1:{self.port}",
            "Accept: application/json",
            f"Authorization: Bearer {self.token}",
        ]
        return "\r\n".join([*lines, "", ""]).encode()


@dataclass(slots=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    def message(self) -> dict[str, Any]:
        """The JSON-RPC message, also out of an event stream that carries it last."""
        text = self.body.decode()
        if self.headers.get("content-type", "").startswith("text/event-stream"):
            text = [line[5:] for line in text.splitlines() if line.startswith("data:")][-1]
        message: dict[str, Any] = json.loads(text)
        return message


class ReplyReader:
    """Replies out of the bytes of one connection, whose calls go one after the other."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._begin()

    def feed(self, data: bytes) -> Reply | None:
        """The reply, once it is whole. Raises HttpParserError, and ConnectionError when `data` is the end."""
        if not data:
            msg = "the connection was closed before the answer"
            raise ConnectionError(msg)
        self._parser.feed_data(data)
        if not self._complete:
            return None
        reply = Reply(self._parser.get_status_code(), self._headers, self._body)
        self._begin()
        return reply

    def _begin(self) -> None:
        self._headers: dict[str, str] = {}
        self._body = b""
        self._complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self._complete = True


class Connection:
    """One connection; calls go one after the other."""

    def __init__(self, access: Access, timeout: float = 30.0) -> None:
        self.access = access  # may change between calls, for another session
        self._socket = socket.create_connection(("127.0.0.1", access.port), timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = ReplyReader()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def post(self, body: bytes) -> Reply:
        """Send one message and wait for the whole answer. Raises OSError when the connection is lost."""
        return self._ask(self.access.head("POST", len(body)) + body)

    def get(self, path: str) -> Reply:
        """Ask the REST API."""
        return self._ask(self.access.get(path))

    def _ask(self, request: bytes) -> Reply:
        self._socket.sendall(request)
        while (reply := self._reader.feed(self._socket.recv(1 << 16))) is None:
            pass
        return reply


def request(number: int, method: str, params: dict[str, Any] | None = None) -> bytes:
    """A request in the compact form that the SDKs send."""
    message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params or {}}
    return json.dumps(message, separators=(",", ":")).encode()


INITIALIZE = request(
    1,
    "initialize",
    {"protocolVersion": PROTOCOL, "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}},
)
INITIALIZED = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'


def open_session(access: Access) -> Access:
    """Shake hands as a client of the legacy era does. Raises StartError when it is refused."""
    with Connection(access) as connection:
        reply = connection.post(INITIALIZE)
    if reply.status != 200 or "result" not in reply.message():
        msg = f"initialize was answered with HTTP {reply.status}: {reply.body[:200]!r}"
        raise StartError(msg)
    access = replace(access, session=reply.headers.get("mcp-session-id", ""))
    with Connection(access) as connection:
        connection.post(INITIALIZED)
    return access


def has_tool(access: Access) -> bool:
    with Connection(access) as connection:
        tools = connection.post(request(2, "tools/list")).message().get("result", {}).get("tools", [])
    return any(tool["name"] == access.tool for tool in tools)


def when_ready(program: Program, access: Access) -> Access:
    """Wait until the program offers the tool, and return access with a session of its own."""
    deadline = time.monotonic() + READY_SECONDS
    problem = "its tool was not listed"
    while time.monotonic() < deadline:
        program.check()
        try:
            opened = open_session(access)
            if has_tool(opened):
                return opened
        except (OSError, StartError, ValueError, httptools.HttpParserError) as error:
            problem = str(error)
        time.sleep(0.1)
    msg = f"it was not ready after {READY_SECONDS:.0f} s ({problem}): {program.last_words()}"
    raise StartError(msg)
