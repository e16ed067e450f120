"""The bus of a service that is one process."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Final

HELD: Final = 1000  # messages that one subscriber may lag


class MemoryBus:
    """Implements `ports.Bus`. Never away; a subscriber that lags too far is told to look for itself."""

    def __init__(self) -> None:
        self._queues: defaultdict[str, set[asyncio.Queue[bytes | None]]] = defaultdict(set)
        self._closed = False

    def __repr__(self) -> str:
        subscribers = {topic: len(queues) for topic, queues in self._queues.items()}
        return f"<MemoryBus {subscribers}>"

    @property
    def connected(self) -> bool:
        return not self._closed

    @property
    def reason(self) -> str:
        return "closed" if self._closed else ""

    async def publish(self, topic: str, payload: bytes) -> bool:
        for queue in self._queues[topic]:
            _put(queue, payload)
        return not self._closed

    def subscribe(self, topic: str) -> AsyncIterator[bytes]:
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        queue.put_nowait(b"")
        if self._closed:
            queue.put_nowait(None)
        self._queues[topic].add(queue)
        return self._messages(topic, queue)

    async def _messages(self, topic: str, queue: asyncio.Queue[bytes | None]) -> AsyncIterator[bytes]:
        try:
            while (payload := await queue.get()) is not None:
                yield payload
        finally:
            self._queues[topic].discard(queue)

    async def close(self) -> None:
        """Every subscription ends."""
        self._closed = True
        for queues in self._queues.values():
            for queue in queues:
                queue.put_nowait(None)


def _put(queue: asyncio.Queue[bytes | None], payload: bytes) -> None:
    if queue.qsize() >= HELD:
        while not queue.empty():
            queue.get_nowait()
        payload = b""
    queue.put_nowait(payload)
