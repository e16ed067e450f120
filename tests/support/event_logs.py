"""An event log in memory, which passes the contract suite of the real ones, and can be away."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from itertools import dropwhile
from typing import Any

from fairlead.model.events import Event, EventType, StoredEvent
from fairlead.ports import StoreAwayError


class MemoryEventLog:
    """Implements `ports.EventLog`. While `away` is not empty every method fails with it.

    With `lose_answers` an append is carried out and then fails all the same, as when a connection breaks.
    """

    def __init__(self) -> None:
        self.kept: list[StoredEvent] = []
        self.latest = 0
        self.history = ""
        self.away = ""
        self.lose_answers = False
        self.pause = 0.0  # s that every method takes
        self.appends = 0

    async def _reach(self) -> None:
        await asyncio.sleep(self.pause)
        if self.away:
            raise StoreAwayError(self.away)

    async def append(self, events: Sequence[Event]) -> list[StoredEvent]:
        self.appends += 1
        await self._reach()
        known = {stored.event.id: stored for stored in self.kept}
        for event in events:
            if event.id not in known:
                self.latest += 1
                known[event.id] = StoredEvent(self.latest, event)
                self.kept.append(known[event.id])
        if self.lose_answers:
            raise StoreAwayError("the connection broke")
        return [known[event.id] for event in events]

    async def read(self, after: int, limit: int) -> list[StoredEvent]:
        await self._reach()
        return [stored for stored in self.kept if stored.sequence > after][:limit]

    async def bounds(self) -> tuple[int, int]:
        await self._reach()
        return (self.kept[0].sequence if self.kept else self.latest + 1), self.latest

    async def epoch(self) -> str:
        await self._reach()
        return self.history

    async def prune(self, before: float) -> int:
        await self._reach()
        stay = list(dropwhile(lambda stored: stored.event.time < before, self.kept))
        gone = len(self.kept) - len(stay)
        self.kept = stay
        return gone


def an_event(number: int, *, event_type: EventType = EventType.SERVER_SCALED) -> Event:
    """Its number is in its subject and, in seconds, its time."""
    return Event(event_type, "/test", str(number), {"number": number}, float(number), f"id-{number}")


class Noted:
    """A `ports.Recorder` that keeps what is noted."""

    def __init__(self) -> None:
        self.events: list[tuple[EventType, str, dict[str, Any]]] = []

    def note(self, event_type: EventType, subject: str, data: Mapping[str, Any]) -> None:
        self.events.append((event_type, subject, dict(data)))

    def of(self, *types: EventType) -> list[dict[str, Any]]:
        """The data of the events of these types."""
        return [data for event_type, _, data in self.events if event_type in types]

    @property
    def types(self) -> list[EventType]:
        return [event_type for event_type, _, _ in self.events]
