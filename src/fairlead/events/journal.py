"""Journal: what happened in this process, on its way into the log.

`note` puts an event into a bounded spool and returns; one writer takes batches from the head of the spool and
appends them to the log, in order, and only what is committed is told, to this process's feed and to the bus.
While the store is away the spool fills up and the writer tries again, with growing pauses; that may append a
batch twice, which the log does not mind, since it knows events by their ids. Once the spool is full, the
oldest stay and what is new is dropped and counted; the first batch that gets through is followed by one event
that says how many were lost, and when.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import structlog

from fairlead.events.feed import TOPIC, Feed, encode
from fairlead.model.event_data import EventsLost
from fairlead.model.events import Event, EventType, StoredEvent
from fairlead.ports import Bus, EventLog, StoreAwayError

CAPACITY: Final = 10_000  # events that wait
BATCH: Final = 200  # events at a time
FIRST_PAUSE: Final = 0.1  # s
LONGEST_PAUSE: Final = 2.0  # s
FLUSH: Final = 3.0  # s for what waits when the service stops

LOG = structlog.get_logger("fairlead.events")


@dataclass(frozen=True, slots=True)
class JournalStatistics:
    """`reason` says why the store is away, and is empty while it is not."""

    waiting: int
    written: int
    lost: int
    reason: str


@dataclass(slots=True)
class _Waiting:
    """An event in the spool; `done` is there once somebody waits until nothing more can be done for it."""

    event: Event
    done: asyncio.Future[None] | None = None

    def release(self) -> None:
        if self.done is not None:
            self.done.set_result(None)
            self.done = None


class Journal:
    """Writes the events of one process and service. Implements `ports.Recorder`; `run` it as a task."""

    def __init__(
        self,
        log: EventLog,
        feed: Feed,
        bus: Bus,
        source: str,
        *,
        conceal: Callable[[str], str] = str,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`source` is a URI of the service and node; `conceal` takes known secrets out of a text.

        `now` gives Unix time, s.
        """
        self._log = log
        self._feed = feed
        self._bus = bus
        self._source = source
        self._conceal = conceal
        self._now = now
        self._spool: deque[_Waiting] = deque()
        self._waiting = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._reason = ""
        self._written = self._lost = 0
        self._losing: EventsLost | None = None  # not told yet

    def __repr__(self) -> str:
        return f"<Journal waiting={len(self._spool)} written={self._written} lost={self._lost}>"

    # -- what happens ------------------------------------------------------------------------------------

    def note(self, event_type: EventType, subject: str, data: Mapping[str, Any]) -> None:
        """Write it down soon. Never blocks or raises; `data` is JSON."""
        event = Event(event_type, self._source, subject, self._concealed(data), self._now())
        if len(self._spool) >= CAPACITY:
            self._lose(event)
            return
        self._spool.append(_Waiting(event))
        self._empty.clear()
        self._waiting.set()

    async def settled(self) -> None:
        """Wait until all that was noted until now is committed; not while the store is away."""
        if self._reason or not self._spool:
            return
        last = self._spool[-1]
        if last.done is None:
            last.done = asyncio.get_running_loop().create_future()
        await asyncio.shield(last.done)

    @property
    def degraded(self) -> bool:
        """Whether the store was away when last written to, or events wait for it."""
        return bool(self._reason)

    def statistics(self) -> JournalStatistics:
        return JournalStatistics(len(self._spool), self._written, self._lost, self._reason)

    def _concealed(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._conceal(value)
        if isinstance(value, Mapping):
            return {name: self._concealed(each) for name, each in value.items()}
        return list(map(self._concealed, value)) if isinstance(value, list | tuple) else value

    def _lose(self, event: Event) -> None:
        if self._losing is None:
            LOG.error("events are lost", waiting=len(self._spool))
            self._losing = EventsLost(count=0, since=event.time, until=event.time)
        self._lost += 1
        self._losing["count"] += 1
        self._losing["until"] = event.time

    # -- writing -----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Write what is noted, until cancelled."""
        pause, size = FIRST_PAUSE, BATCH
        while True:
            await self._waiting.wait()
            batch = list(islice(self._spool, size))
            try:
                stored = await self._log.append([waiting.event for waiting in batch])
            except StoreAwayError as away:
                self._is_away(str(away) or "the store is away")
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            except Exception as error:  # noqa: BLE001 - one that no store takes must not hold up the others
                size = 1
                if len(batch) == 1:
                    self._drop(error)
            else:
                pause, size = FIRST_PAUSE, min(2 * size, BATCH)
                self._committed(batch, stored)
                await self._bus.publish(TOPIC, encode(stored))

    def _drop(self, error: Exception) -> None:
        waiting = self._spool.popleft()
        LOG.error("an event cannot be kept", type=waiting.event.type.value, exc_info=error)
        waiting.release()
        self._lose(waiting.event)
        self._look_for_more()

    def _is_away(self, reason: str) -> None:
        if not self._reason:
            LOG.error("events cannot be written; they wait", reason=reason)
        self._reason = reason
        for waiting in self._spool:
            waiting.release()

    def _committed(self, batch: list[_Waiting], stored: list[StoredEvent]) -> None:
        if self._reason:
            LOG.info("events are written again", waiting=len(self._spool))
        self._reason = ""
        self._written += len(batch)
        for waiting in batch:
            self._spool.popleft()
            waiting.release()
        if self._losing is not None:
            lost, self._losing = self._losing, None
            self._spool.append(_Waiting(Event(EventType.EVENTS_LOST, self._source, "", lost, self._now())))
        self._look_for_more()
        self._feed.offer(stored)

    def _look_for_more(self) -> None:
        if not self._spool:
            self._waiting.clear()
            self._empty.set()

    async def flush(self, timeout: float = FLUSH) -> int:  # noqa: ASYNC109
        """Wait until all that was noted is written, at most `timeout` seconds; how many still wait."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._empty.wait()
        if self._spool:
            LOG.error("events are lost: the store is away", events=len(self._spool), reason=self._reason)
        return len(self._spool)
