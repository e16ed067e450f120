"""The conversation between a test and a client program: one JSON line for each step, one for each outcome.

A step is `{"id": 1, "connection": "a", "do": "call", ...}`; its outcome is `{"id": 1, "result": ...}` or
`{"id": 1, "error": {"kind", "message", "code"}}`. Steps run side by side, so that a test can hold one call
open and go on. `connect` opens a connection and `close` ends it; each lives in a task of its own, because an
SDK's context must be left in the task that entered it. With `answers_as`, a connection declares that it can
answer what servers ask of clients, and does so in that name (`answers.py`). Only the standard library is used
here: this file runs in the environment of every Python SDK. The TypeScript programs speak the same
(`ts/conversation.mjs`).
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol


class Client(Protocol):
    """One open connection: `seen` is what `connect` answers, each verb is a step."""

    seen: dict[str, Any]
    verbs: dict[str, Callable[..., Awaitable[Any]]]


Connect = Callable[..., AbstractAsyncContextManager[Client]]


class Notifications:
    """What a connection was told, in order of arrival."""

    def __init__(self) -> None:
        self._all: list[dict[str, Any]] = []
        self._more = asyncio.Condition()

    async def add(self, method: str, params: Any) -> None:
        async with self._more:
            self._all.append({"method": method, "params": params})
            self._more.notify_all()

    async def wait_for(self, method: str) -> list[dict[str, Any]]:
        """Wait for one of `method`; answers all notifications so far and forgets them."""
        async with self._more:
            await self._more.wait_for(lambda: any(one["method"] == method for one in self._all))
            got, self._all = self._all, []
            return got


class _Connection:
    def __init__(self) -> None:
        self.client: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        self.closing = asyncio.Event()
        self.closed = asyncio.Event()

    async def live(self, context: AbstractAsyncContextManager[Client]) -> None:
        try:
            async with context as client:
                self.client.set_result(client)
                await self.closing.wait()
        except Exception as error:  # noqa: BLE001 - the step that waits for the connection reports it
            if not self.client.done():
                self.client.set_exception(error)
        finally:
            self.closed.set()


def _told(error: BaseException) -> dict[str, Any]:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return {
        "kind": type(error).__name__,
        "message": str(error),
        "code": getattr(getattr(error, "error", error), "code", None),
    }


async def _converse(connect: Connect) -> None:
    lines = asyncio.StreamReader(limit=2**24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    connections: dict[str, _Connection] = {}

    async def take(tasks: asyncio.TaskGroup, name: str, verb: str, arguments: dict[str, Any]) -> Any:
        if verb == "connect":
            connections[name] = connection = _Connection()
            tasks.create_task(connection.live(connect(**arguments)))
            return (await connection.client).seen
        if verb == "close":
            connection = connections.pop(name)
            connection.closing.set()
            return await connection.closed.wait()
        return await connections[name].client.result().verbs[verb](**arguments)

    async def answer(tasks: asyncio.TaskGroup, step: dict[str, Any]) -> None:
        number, name, verb = step.pop("id"), step.pop("connection"), step.pop("do")
        try:
            outcome = {"id": number, "result": await take(tasks, name, verb, step)}
        except Exception as error:  # noqa: BLE001 - every failure is an outcome for the test to judge
            outcome = {"id": number, "error": _told(error)}
        print(json.dumps(outcome), flush=True)

    async with asyncio.TaskGroup() as tasks:
        while line := await lines.readline():
            tasks.create_task(answer(tasks, json.loads(line)))
        for connection in connections.values():
            connection.closing.set()


def converse(connect: Connect) -> None:
    """Take steps from stdin until it ends."""
    asyncio.run(_converse(connect))
