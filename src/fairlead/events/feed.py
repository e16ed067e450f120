"""Follows the events of a service, in order, without a gap and without a double.

A `Feed` knows the number of the latest event and keeps the recent ones in a ring. It is fed by the journal of
this process, at once after a commit, and by the bus from other processes; whatever comes is appended only if
it is the very next number. Where a number is missing, and once a second in any case, since a bus may lose a
message, it reads on in the store.

A `Subscription` is a position in the log. It reads on from the ring, or from the store where the ring does
not reach back so far. At the end it waits, and then what is new is put before it if it is wanted, so that ten
thousand readers who want something else cost little. One that has come to the end once and has then fallen
behind by more wanted events than it may is ended, with the number from which it can go on.

A log may go back: a standby that lagged takes the database's place. Then a number that is known here means
another event there, or none. The log's epoch tells, or that an event differs from the one that is known here.
All readers are ended, since nobody can tell what they have missed, and the feed begins anew at the log's end.
Who was not there at that moment is found out by the epoch that he comes back with.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final

import msgspec
import structlog

from fairlead.kit.tasks import Tasks
from fairlead.model.events import StoredEvent
from fairlead.ports import Bus, EventLog, StoreAwayError

TOPIC: Final = "events"
LOOK_EVERY: Final = 1.0  # s
CHUNK: Final = 200  # events read from the store, or passed over, at a time
RING: Final = 4096  # events

LOG = structlog.get_logger("fairlead.events")
_DECODER: Final = msgspec.json.Decoder(list[StoredEvent])


class SlowReaderError(Exception):
    """The reader does not keep up. It can follow again with `since=resume_from`."""

    def __init__(self, resume_from: int) -> None:
        super().__init__(f"the reader is too slow; it can go on after event {resume_from}")
        self.resume_from = resume_from


class GoneError(Exception):
    """The events after `since` are not kept any more; `oldest` is the number of the first that is."""

    def __init__(self, oldest: int) -> None:
        super().__init__(f"they are not kept any more; the oldest event that is has the number {oldest}")
        self.oldest = oldest


class EpochError(GoneError):
    """The log has another history, `epoch`, than that which `since` is of: what was missed is not known."""

    def __init__(self, epoch: str, oldest: int) -> None:
        super().__init__(oldest)
        self.epoch = epoch


class FutureError(Exception):
    """`since` is a number that no event has yet; `latest` is the last one that was given."""

    def __init__(self, latest: int) -> None:
        super().__init__(f"no event has this number yet; the latest is {latest}")
        self.latest = latest


def every(event: StoredEvent) -> bool:
    """Whatever happens is wanted."""
    return True


def encode(events: Sequence[StoredEvent]) -> bytes:
    """As the bus carries them; b"" where it cannot: who listens reads them in the store."""
    try:
        return msgspec.json.encode(events)
    except (TypeError, UnicodeEncodeError):
        return b""


class Feed:
    """One for each process and service. `run` it as a task; `close` ends all subscriptions."""

    def __init__(self, log: EventLog, bus: Bus, *, ring: int = RING) -> None:
        self._log = log
        self._bus = bus
        self._ring: deque[StoredEvent] = deque(maxlen=ring)  # without a gap, up to the latest
        self._latest: int | None = None
        self._missing = asyncio.Event()  # there is something in the store that is not here
        self._forked = False  # the log has other events than the ring
        self._followers: set[Subscription] = set()
        self._tasks = Tasks(_task_failed)
        self.closed = False
        self.epoch = ""  # the log's; empty while it is not known

    def __repr__(self) -> str:
        return f"<Feed latest={self._latest} ring={len(self._ring)} followers={len(self._followers)}>"

    @property
    def latest(self) -> int | None:
        """The number of the latest event; None while the store has not been reached yet."""
        return self._latest

    # -- coming in ---------------------------------------------------------------------------------------

    def offer(self, events: Sequence[StoredEvent]) -> None:
        """Take events that are committed: from the journal or the bus, in any order, perhaps known ones."""
        if self._latest is None:
            self._missing.set()
            return
        news = []
        for event in sorted(events, key=_sequence):
            if event.sequence == self._latest + 1:
                self._latest = event.sequence
                self._ring.append(event)
                news.append(event)
            elif event.sequence > self._latest:
                self._missing.set()
            elif self._differs(event):
                self._forked = True
                self._missing.set()
                break
        if news:
            for follower in list(self._followers):
                follower.told(news)

    def _differs(self, event: StoredEvent) -> bool:
        """Whether the ring has another one of this number."""
        assert self._latest is not None
        place = self._latest - event.sequence + 1  # from the end
        return place <= len(self._ring) and self._ring[-place].event.id != event.event.id

    async def run(self) -> None:
        """Listen to the bus and look into the store, until cancelled."""
        self._tasks.spawn(self._listen(), "listen for events")
        try:
            while True:
                self._missing.clear()
                try:
                    await self._look()
                except StoreAwayError as away:
                    LOG.debug("events cannot be read", reason=str(away))
                    await asyncio.sleep(LOOK_EVERY)
                except Exception as error:  # what is told goes on, and the next look may succeed
                    LOG.error("events cannot be read", exc_info=error)
                    await asyncio.sleep(LOOK_EVERY)
                try:
                    async with asyncio.timeout(LOOK_EVERY):
                        await self._missing.wait()
                except TimeoutError:
                    pass
        finally:
            await self._tasks.close()

    async def _listen(self) -> None:
        async for payload in self._bus.subscribe(TOPIC):
            try:
                self.offer(_DECODER.decode(payload or b"[]"))
            except msgspec.DecodeError as error:  # of a newer version, say: the store has it, too
                LOG.warning("an event on the bus is not understood", error=str(error))
                self._missing.set()
            if not payload:
                self._missing.set()

    async def _look(self) -> None:
        """Read what the store has and this feed has not."""
        epoch = await self._log.epoch()
        another = epoch and self.epoch and epoch != self.epoch
        self.epoch = epoch or self.epoch
        if self._latest is None:
            self._begin(after=(await self._log.bounds())[1])
        elif another:
            self._begin_anew((await self._log.bounds())[1])
        assert self._latest is not None
        while True:
            known = self._latest
            found = await self._log.read(max(known - 1, 0), CHUNK)  # with the latest known, to compare
            self._forked |= not found and (await self._log.bounds())[1] < known
            if found and found[0].sequence > self._latest + 1:  # pruned before it was seen
                self._skip_to(found[0].sequence - 1)
            self.offer(found)
            if self._forked:
                self._begin_anew((await self._log.bounds())[1])
            if len(found) < CHUNK:
                return

    def _begin(self, *, after: int) -> None:
        if self._latest is None:  # nobody else has looked meanwhile
            self._latest = after

    def _begin_anew(self, latest: int) -> None:
        LOG.error("the log of events has gone back", known=self._latest, latest=latest)
        self._ring.clear()
        self._latest, self._forked = latest, False
        for follower in list(self._followers):
            follower.lose(EpochError(self.epoch, latest + 1))

    def _skip_to(self, sequence: int) -> None:
        """What lies between is lost to all; those who wait for it find out by reading the store."""
        self._ring.clear()
        self._latest = sequence
        for follower in list(self._followers):
            follower.wake()

    # -- going out ---------------------------------------------------------------------------------------

    async def follow(
        self,
        since: int | None = None,
        *,
        epoch: str | None = None,
        wanted: Callable[[StoredEvent], bool] = every,
        queue: int = 1000,
    ) -> Subscription:
        """What has happened after number `since` (None: from now on; 0: all), then what happens.

        Raises GoneError, FutureError, and StoreAwayError when it takes the store and that is away. `epoch`,
        if given, is the one that `since` is of: raises EpochError when the log's is another one by now.
        `queue`: how many wanted events the reader may lag once it has come to the end.
        """
        latest = await self._require(since, epoch)
        subscription = Subscription(self, latest if since is None else since, wanted, queue)
        self._followers.add(subscription)
        return subscription

    async def page(self, after: int, limit: int, *, epoch: str | None = None) -> list[StoredEvent]:
        """Stored events with a number over `after`, in order, at most `limit`. Raises as `follow` does."""
        await self._require(after, epoch)
        return await self.read(after, limit)

    async def _require(self, since: int | None, epoch: str | None) -> int:
        """That all after `since` are kept; the number of the latest."""
        other = bool(epoch) and epoch != self.epoch
        if self._latest is None or other or (since is not None and since > self._latest):
            await self._look()
        assert self._latest is not None
        if since is not None and epoch and self.epoch and epoch != self.epoch:
            raise EpochError(self.epoch, self._latest + 1)
        if since is not None:
            if since > self._latest:
                raise FutureError(self._latest)
            if not self._in_ring(since) and since < (oldest := (await self._log.bounds())[0]) - 1:
                raise GoneError(oldest)
        return self._latest

    def _in_ring(self, after: int) -> bool:
        return after == self._latest or bool(self._ring and after >= self._ring[0].sequence - 1)

    def recent(self, after: int, limit: int | None = None) -> list[StoredEvent] | None:
        """Those over `after` from memory; None where it does not reach back so far."""
        if not self._in_ring(after):
            return None
        if not self._ring:
            return []
        start = max(0, after + 1 - self._ring[0].sequence)
        return list(islice(self._ring, start, None if limit is None else start + limit))

    async def read(self, after: int, limit: int = CHUNK) -> list[StoredEvent]:
        """Those over `after`, from memory or the store. Raises GoneError and StoreAwayError."""
        found = self.recent(after, limit)
        if found is None:
            found = await self._log.read(after, limit)
            if found and found[0].sequence != after + 1:
                raise GoneError(found[0].sequence)
            if not found:  # pruned up to the end
                raise GoneError((await self._log.bounds())[0])
        return found

    def forget(self, subscription: Subscription) -> None:
        self._followers.discard(subscription)

    def close(self) -> None:
        """Every subscription ends (StopAsyncIteration) when it has been read up to the end."""
        self.closed = True
        for follower in list(self._followers):
            follower.wake()


class Subscription:
    """An async iterator of StoredEvent, for one task. It waits while the store is away; `close` it."""

    def __init__(self, feed: Feed, position: int, wanted: Callable[[StoredEvent], bool], queue: int) -> None:
        self._feed = feed
        self._position = position  # all up to this number have been looked at
        self._wanted = wanted
        self._queue = queue
        self._ready: deque[StoredEvent] = deque()
        self._woken = asyncio.Event()
        self._waits = False  # at the end
        self._caught_up = False  # has been there once
        self._lost: GoneError | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<Subscription position={self._position} ready={len(self._ready)} lag={self.lag}>"

    @property
    def resume_from(self) -> int:
        """`since` for who wants to go on from here: all wanted events up to it have been handed out."""
        return self._ready[0].sequence - 1 if self._ready else self._position

    @property
    def lag(self) -> int:
        """How many events it is behind, wanted or not."""
        return (self._feed.latest or 0) - self.resume_from

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> StoredEvent:
        """The next one. Raises SlowReaderError; GoneError when it is not in the log any more."""
        while not self._closed:
            if self._lost is not None:
                self.close()
                raise self._lost
            if self._ready:
                return self._ready.popleft()
            if self._position < (self._feed.latest or 0):
                await self._read_on(self._position)
            elif self._feed.closed:
                break
            else:
                await self._wait()
        self.close()
        raise StopAsyncIteration

    async def _read_on(self, position: int) -> None:
        if self._caught_up and self.lag > self._queue:
            pending = self._feed.recent(position)
            if pending is None or sum(map(self._wanted, pending)) > self._queue:
                self.close()
                raise SlowReaderError(position)
        try:
            found = await self._feed.read(position)
        except StoreAwayError:
            if self._feed.closed:
                self._closed = True
            else:
                await self._pause()
            return
        self._position = found[-1].sequence
        self._ready.extend(filter(self._wanted, found))

    async def _wait(self) -> None:
        self._woken.clear()
        self._waits = self._caught_up = True
        try:
            await self._woken.wait()
        finally:
            self._waits = False

    async def _pause(self) -> None:
        self._woken.clear()
        try:
            async with asyncio.timeout(LOOK_EVERY):
                await self._woken.wait()
        except TimeoutError:
            pass

    def told(self, events: Sequence[StoredEvent]) -> None:
        """The feed's: these follow what was the end so far."""
        if not self._waits or self._position != events[0].sequence - 1:
            return  # it reads them when it comes to it
        self._position = events[-1].sequence
        self._ready.extend(filter(self._wanted, events))
        if self._ready:
            self._waits = False
            self._woken.set()

    def lose(self, lost: EpochError) -> None:
        """The feed's: the log is another one."""
        self._lost = lost
        self.wake()

    def wake(self) -> None:
        """The feed's: look again."""
        self._woken.set()

    def close(self) -> None:
        """A waiting `__anext__` ends (StopAsyncIteration)."""
        self._closed = True
        self._feed.forget(self)
        self._woken.set()


def _sequence(event: StoredEvent) -> int:
    return event.sequence


def _task_failed(name: str, error: BaseException) -> None:
    LOG.error("task failed", task=name, exc_info=error)
