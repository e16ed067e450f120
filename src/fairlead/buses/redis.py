"""The bus of a service that is several processes: streams of Redis or Valkey.

Each topic is a stream that holds the latest messages. A subscriber waits for what comes after the last entry
it has seen, with a request of its own that blocks for a second at most, so that a server that is gone without
a word is noticed, too. After an outage it begins anew at the end of the stream, and says so.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any, Final

import structlog
from redis.exceptions import RedisError

from fairlead.kit.redis import redis_client
from fairlead.kit.tasks import require_running

KEPT: Final = 1000  # messages of a topic, about
AT_ONCE: Final = 100  # messages
BLOCK: Final = 1.0  # s
LATE: Final = 2.0  # s that an answer may come later than that
PUBLISH: Final = 1.0  # s
PAUSES: Final = (0.05, 0.1, 0.2, 0.5)  # s; then the last one again and again
_PAYLOAD: Final = b"p"

LOG = structlog.get_logger("fairlead.bus")
_AWAY: Final = (RedisError, OSError)  # TimeoutError is an OSError


class RedisBus:
    """Implements `ports.Bus`."""

    def __init__(self, url: str, prefix: str) -> None:
        """`url` is `redis://`, `rediss://` (TLS) or `unix://`; `prefix` keeps services apart.

        Connects later, and again and again. Raises ProblemError for what is no such URL.
        """
        self._writer = redis_client(url, "fairlead", connect=PUBLISH, answer=PUBLISH)
        self._reader = redis_client(url, "fairlead", connect=PUBLISH, answer=BLOCK + LATE)
        self._prefix = prefix
        self._connected = False
        self._reason = "not connected yet"
        self._subscribers = 0
        self._closed = False

    def __repr__(self) -> str:
        return f"<RedisBus connected={self._connected} subscribers={self._subscribers}>"

    @property
    def connected(self) -> bool:
        return self._connected

    @property
    def reason(self) -> str:
        return "" if self._connected else self._reason

    async def publish(self, topic: str, payload: bytes) -> bool:
        if self._closed or (self._subscribers and not self._connected):
            return False  # they find out when it is back
        try:
            async with asyncio.timeout(PUBLISH):
                await self._writer.xadd(self._key(topic), {_PAYLOAD: payload}, maxlen=KEPT, approximate=True)
        except _AWAY as away:
            require_running()
            self._is_away(away)
            return False
        require_running()
        self._is_back()
        return True

    async def subscribe(self, topic: str) -> AsyncIterator[bytes]:
        key = self._key(topic)
        pauses = iter(PAUSES)
        self._subscribers += 1
        try:
            while not self._closed:
                try:
                    last = await self._end(key)
                    require_running()
                    self._is_back()
                    pauses = itertools.chain(PAUSES, itertools.repeat(PAUSES[-1]))
                    yield b""
                    while True:
                        for entry, payload in await self._after(key, last):
                            last = entry
                            yield payload
                except _AWAY as away:
                    require_running()
                    if not self._closed:
                        self._is_away(away)
                        await asyncio.sleep(next(pauses, PAUSES[-1]))
        finally:
            self._subscribers -= 1

    async def close(self) -> None:
        """Every subscription ends."""
        self._closed = True
        self._connected, self._reason = False, "closed"
        await self._writer.aclose()
        await self._reader.aclose()

    def _key(self, topic: str) -> str:
        return f"fairlead:{self._prefix}:{topic}"

    async def _end(self, key: str) -> bytes:
        """The id of the last entry."""
        found: Any = await self._reader.xrevrange(key, count=1)
        return found[0][0] if found else b"0-0"

    async def _after(self, key: str, last: bytes) -> list[tuple[bytes, bytes]]:
        """The next entries: their ids and payloads. None, when there was none for a while."""
        found: Any = await self._reader.xread({key: last}, count=AT_ONCE, block=int(BLOCK * 1000))
        require_running()
        self._is_back()
        return [(entry, fields.get(_PAYLOAD, b"")) for _, entries in found for entry, fields in entries]

    def _is_away(self, error: BaseException) -> None:
        if self._connected or self._reason == "not connected yet":
            LOG.error("the bus is away", reason=str(error) or type(error).__name__)
        self._connected, self._reason = False, str(error) or type(error).__name__

    def _is_back(self) -> None:
        if not self._connected:
            LOG.info("the bus is there")
        self._connected = not self._closed
