"""What a client hears unasked, kept as it comes: on a GET stream, or on a `subscriptions/listen`."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from support.stack import LegacySession, ModernClient, until

ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
UPDATED = "notifications/resources/updated"
SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"


class Heard:
    """`messages` in order. `opened` once the head of the answer is here."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.opened = asyncio.Event()

    def of(self, method: str) -> list[dict[str, Any]]:
        return [message.get("params", {}) for message in self.messages if message.get("method") == method]

    @property
    def updates(self) -> list[str]:
        return [params["uri"] for params in self.of(UPDATED)]

    async def until(self, condition: Any) -> None:
        await until(condition, lambda: str(self.messages))


@contextlib.asynccontextmanager
async def hearing(client: LegacySession, wanted: dict[str, Any] | None = None) -> AsyncIterator[Heard]:
    """A legacy client's GET stream, or a modern one's subscription to `wanted`, acknowledged."""
    heard = Heard()
    task = asyncio.create_task(_listen(client, wanted, heard))
    try:
        opened = asyncio.ensure_future(heard.opened.wait())
        await asyncio.wait((opened, task), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            opened.cancel()
            await task  # why it did not open
        if wanted is not None:
            await heard.until(lambda: heard.of(ACKNOWLEDGED))
        yield heard
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _listen(client: LegacySession, wanted: dict[str, Any] | None, heard: Heard) -> None:
    http = client.stack.http
    if isinstance(client, ModernClient):
        message = client.message("subscriptions/listen", {"notifications": wanted})
        message["params"]["_meta"] = client.meta
        stream = http.stream("POST", client.url, headers=client.routed(message), json=message, timeout=None)
    else:
        stream = http.stream("GET", client.url, headers=client.headers, timeout=None)
    async with stream as answer:
        assert answer.status_code == 200, await answer.aread()
        heard.opened.set()
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                heard.messages.append(json.loads(line[len("data: ") :]))
