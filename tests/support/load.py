"""Load that checks itself: connections that call one tool after the other, each with a text of its own.

`Load` keeps so many connections busy with `echo`, which is marked read-only, so that a call may be replayed:
its text must come back exactly. Further connections make calls that are not marked (`count`, `sleep`): those
may fail in one way only, with an error that says "not replayed" and why. Half of the connections are legacy
sessions, the others speak the modern era. Raw streams instead of a client library, since the load shares its
event loop with the gateway that it is for.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Self

from support.stack import ACCEPT, LEGACY, MODERN, TOKEN, until

NOT_REPLAYED = re.compile(
    r"not replayed.*(annotated|times already|replays lately|in time)|in time.*not replayed"
)
PAUSE = 0.02  # s after a failure, so that a service which refuses is not stormed
GUARD = 60.0  # s, against hanging
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
}


class CallFailedError(Exception):
    """No result: an error, another status than 200, or no answer at all."""


class Caller:
    """One connection to the merged endpoint, and the calls on it, one after the other."""

    def __init__(self, port: int, *, modern: bool) -> None:
        self.port = port
        self.modern = modern
        self._numbers = itertools.count(1)
        self._head = (
            f"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {TOKEN}\r\n"
            f"Accept: {ACCEPT}\r\nContent-Type: application/json\r\n"
        )

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self.port)
        if self.modern:
            self._head += f"MCP-Protocol-Version: {MODERN}\r\n"
            return
        about = {
            "protocolVersion": LEGACY,
            "capabilities": {},
            "clientInfo": {"name": "load", "version": "0"},
        }
        head = await self._post({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": about})
        session = _header(head[0], b"mcp-session-id").decode()
        self._head += f"Mcp-Session-Id: {session}\r\nMCP-Protocol-Version: {LEGACY}\r\n"
        await self._post({"jsonrpc": "2.0", "method": "notifications/initialized"})

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """The result of a call. Raises CallFailedError; AssertionError for another call's answer."""
        number: int | str = next(self._numbers)
        key = f"call-{number}" if number % 2 else number
        params: dict[str, Any] = {"name": tool, "arguments": arguments}
        extra = ""
        if self.modern:
            params["_meta"] = META
            extra = f"Mcp-Method: tools/call\r\nMcp-Name: {tool}\r\n"
        message = {"jsonrpc": "2.0", "id": key, "method": "tools/call", "params": params}
        head, body = await self._post(message, extra)
        if not head.startswith(b"HTTP/1.1 200 "):
            raise CallFailedError(f"{head.splitlines()[0].decode()}: {body[:300].decode()}")
        answer = json.loads(body)
        assert answer["id"] == key, f"asked {key!r}, got the answer to {answer['id']!r}"
        if "error" in answer:
            raise CallFailedError(answer["error"]["message"])
        return answer["result"]

    async def text(self, tool: str, **arguments: Any) -> str:
        result = await self.call(tool, **arguments)
        return result["content"][0]["text"]

    async def _post(self, message: dict[str, Any], extra: str = "") -> tuple[bytes, bytes]:
        body = json.dumps(message).encode()
        self._writer.write(f"{self._head}{extra}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
            return head, await self._reader.readexactly(int(_header(head, b"content-length")))
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            raise CallFailedError(f"the connection ended: {error!r}") from error


def _header(head: bytes, name: bytes) -> bytes:
    found = re.search(rb"\r\n%b: *([^\r]*)" % name, head, re.IGNORECASE)
    return found[1] if found else b"0"


@dataclass
class Tally:
    """How calls of one kind ended."""

    answered: int = 0
    wrong: list[str] = field(default_factory=list)  # somebody else's answer
    not_replayed: int = 0
    failures: Counter[str] = field(default_factory=Counter)

    @property
    def ended(self) -> int:
        return self.answered + len(self.wrong) + self.not_replayed + self.failures.total()


Call = Callable[[Caller, int, int], Awaitable[None]]  # made by a connection's number, for its n-th time


class Load:
    """`async with Load(...)`: the connections call until the block ends, and then finish their last calls.

    `connections` of them call `echo`, `unsafe` more call what must not be repeated.
    """

    def __init__(self, port: int, server: str, *, connections: int = 32, unsafe: int = 0) -> None:
        self.port = port
        self.server = server
        self.safe = Tally()
        self.unsafe = Tally()
        self._connections = connections
        self._unsafe = unsafe
        self._counts: set[tuple[int, int]] = set()  # pid and number of all counted calls
        self._going = True
        self._tasks: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        return f"<Load {self.server} safe={self.safe} unsafe={self.unsafe}>"

    async def __aenter__(self) -> Self:
        for number in range(self._connections + self._unsafe):
            safe = number < self._connections
            call, tally = (self._echo, self.safe) if safe else (self._change_things, self.unsafe)
            self._tasks.append(asyncio.create_task(self._keep_calling(number, call, tally)))
        return self

    async def __aexit__(self, failed: type[BaseException] | None, *_: object) -> None:
        self._going = False
        _, hanging = await asyncio.wait(self._tasks, timeout=1.0 if failed else GUARD)
        for task in hanging:
            task.cancel()
        ends = await asyncio.gather(*self._tasks, return_exceptions=True)
        if failed is None:
            assert not hanging, f"{len(hanging)} calls got no answer: {self}"
            assert not any(ends), ends

    async def more(self, calls: int) -> None:
        """Wait until so many more calls of `echo` have ended, however they did."""
        goal = self.safe.ended + calls
        await until(lambda: self.safe.ended >= goal, lambda: f"{goal} calls: {self}", guard=GUARD)

    def check(self, *, may_lose: bool = True) -> None:
        """Every call that may be replayed was answered, every answer was the caller's own.

        `may_lose`: calls that may not be replayed may have failed, each saying so.
        """
        assert self.safe.answered, self
        assert not self.safe.wrong, self
        assert not self.unsafe.wrong, self
        assert not self.safe.not_replayed, self
        assert not self.safe.failures, self
        assert not self.unsafe.failures, self
        assert not self._unsafe or self.unsafe.answered, self
        assert may_lose or not self.unsafe.not_replayed, self

    async def _keep_calling(self, number: int, call: Call, tally: Tally) -> None:
        caller = Caller(self.port, modern=bool(number % 2))
        await caller.open()
        try:
            for turn in itertools.count():
                if not self._going:
                    return
                try:
                    await call(caller, number, turn)
                    tally.answered += 1
                except AssertionError as error:
                    tally.wrong.append(str(error))
                except CallFailedError as error:
                    if NOT_REPLAYED.search(str(error)):
                        tally.not_replayed += 1
                    else:
                        tally.failures[str(error)[:300]] += 1
                    await asyncio.sleep(PAUSE)
        finally:
            await caller.close()

    async def _echo(self, caller: Caller, number: int, turn: int) -> None:
        text = f"{self.server} {number} {turn} é\n" + "x" * (turn % 5 * 150)
        told = await caller.text(f"{self.server}__echo", text=text)
        assert told == text, f"said {text!r}, heard {told!r}"

    async def _change_things(self, caller: Caller, number: int, turn: int) -> None:
        if turn % 2:
            seconds = 0.02 + number / 1e4 + turn / 1e8
            told = await caller.text(f"{self.server}__sleep", seconds=seconds)
            assert told == f"slept {seconds} s", f"asked for {seconds} s, {told}"
        else:
            counted = (await caller.call(f"{self.server}__count"))["structuredContent"]
            count = (counted["pid"], counted["count"])
            assert count not in self._counts, f"{count} was told twice"
            self._counts.add(count)
