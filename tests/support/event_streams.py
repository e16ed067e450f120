"""Event streams as a client reads them: with ids, and cut wherever a test likes."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx

from support.stack import LegacySession


@dataclass(frozen=True)
class Event:
    kind: str
    id: str | None
    retry: str | None
    data: str

    @property
    def message(self) -> Any:
        return json.loads(self.data)


class Reader:
    """What comes on one connection."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()

    async def event(self) -> Event | None:
        """The next event, a priming one too; None at the stream's end."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(20):
            async for line in self._lines:
                if line and not line.startswith(":"):
                    name, _, value = line.partition(":")
                    fields[name] = value.removeprefix(" ")
                elif fields and not line:
                    return Event(
                        fields.get("event", "message"),
                        fields.get("id"),
                        fields.get("retry"),
                        fields.get("data", ""),
                    )
        return None

    async def message(self) -> Event:
        """The next event that is not a priming one."""
        while (event := await self.event()) is not None:
            if event.data:
                return event
        raise AssertionError("the stream has ended")

    async def rest(self) -> list[Event]:
        """Everything until the stream's end, but for priming events."""
        found = []
        while (event := await self.event()) is not None:
            if event.data:
                found.append(event)
        return found


@contextlib.asynccontextmanager
async def posting(session: LegacySession, message: dict[str, Any]) -> AsyncIterator[Reader]:
    """The answer to a POST as it comes; the connection is cut when the block ends."""
    headers = session.headers
    async with session.stack.http.stream("POST", session.url, headers=headers, json=message) as response:
        yield Reader(response)


@contextlib.asynccontextmanager
async def listening(session: LegacySession, last_event_id: str | None = None) -> AsyncIterator[Reader]:
    """A GET, after an event if one is given; the connection is cut when the block ends."""
    headers = session.headers | {"Accept": "text/event-stream"}
    if last_event_id is not None:
        headers["Last-Event-ID"] = last_event_id
    async with session.stack.http.stream("GET", session.url, headers=headers) as response:
        yield Reader(response)
