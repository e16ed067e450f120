"""The audit's way from the hot path to the store.

`called` stands at the end of each call, so it only lays references into a flat list: no object is made that
the garbage collector would have to follow, and nothing is formatted, hashed or copied. Twice a second
the writer takes that list and makes records of it, a few dozen at a time between other work of the event
loop. (Not in a thread: one that computes in Python keeps the interpreter's lock for milliseconds, and every
call would wait for it. What does not need that lock is given to threads: compressing, digests of much.)
Records go into closed batches, which are small; these wait in a bounded spool until the store has them.

Memory is bounded by bytes at each step. Arguments may have megabytes: past `SOON` of them the writer comes
at once, past `MUCH` a call's arguments are digested before the call goes on, past twice that calls are lost.
What is lost, there or in a full spool, is counted, and the audit says so as soon as it can.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any, Final

import structlog

from fairlead.audit.arguments import Digested, Kept, digest_of, digests_of, redacted, sizes_of
from fairlead.audit.refusals import Refusals
from fairlead.model.audit import DIGEST, AuditBatch, AuditFilter, AuditKind, AuditRecord
from fairlead.ports import AuditLog, CallEnd, StoreAwayError

LOG = structlog.get_logger("fairlead.audit")
INTERVAL: Final = 0.5  # s: with what writing takes, a crash loses less than a second
RETRY: Final = 1.0  # s, while the store is away
CLOSING: Final = 3.0  # s for the last batches
SLICE: Final = 128  # calls that are digested at a time
BATCH: Final = 1000  # records, at most
APPENDED: Final = 16  # batches at a time, at most
FIELDS: Final = 10  # of a `CallEnd`
WEIGHT: Final = 300  # bytes of a call beside its params
SOON: Final = 8 * 2**20  # bytes of calls
MUCH: Final = 48 * 2**20
LARGE: Final = 64 * 2**10  # bytes of params, from which on digests are a thread's work
SPOOL_RECORDS: Final = 200_000
SPOOL_BYTES: Final = 32 * 2**20
MAX_NAME: Final = 500  # characters of a tool, prompt or resource


class AuditTrail:
    """An `Auditor` before an `AuditLog`. `run` writes; without it everything waits.

    `node` is noted in each record; `conceal` takes known secrets out of a text; `clock` is Unix time, s.
    """

    def __init__(
        self,
        log: AuditLog,
        *,
        node: str = "",
        arguments: Kept = Kept.DIGEST,
        conceal: Callable[[str], str] = str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.on_refused: Callable[[AuditRecord], None] = lambda record: None
        self._log = log
        self._node = node
        self._arguments = arguments
        self._conceal = conceal
        self._clock = clock
        self._calls: list[Any] = []  # the fields of each call, one after the other
        self._held = 0  # bytes of calls that are not records yet
        self._notes: list[AuditRecord] = []
        self._refusals = Refusals()
        self._spool: deque[AuditBatch] = deque()
        self._spooled = _Amount()
        self._lost = _Loss()
        self._away = False
        self._wake = asyncio.Event()
        self._closing = False
        self._ended = asyncio.Event()  # nothing runs
        self._ended.set()
        self._written = 0

    def __repr__(self) -> str:
        return f"<AuditTrail {self.statistics()}>"

    def statistics(self) -> dict[str, int]:
        return {
            "written": self._written,
            "waiting": len(self._calls) // FIELDS + len(self._notes) + self._spooled.records,
            "bytes": self._held + self._spooled.size,
            "lost": self._lost.in_all,
        }

    # -- what is to be written ---------------------------------------------------------------------------

    def called(self, call: CallEnd) -> None:
        """A call is over. Of the hot path."""
        self._calls.extend(call)
        self._held += len(call[8]) + WEIGHT
        if self._held > SOON:
            self._crowded(call[8])

    def _crowded(self, params: bytes) -> None:
        self._wake.set()
        if self._held > 2 * MUCH:
            del self._calls[-FIELDS:]
            self._held -= len(params) + WEIGHT
            self._lost.add(1, self._clock())
        elif self._held > MUCH and len(params) > WEIGHT:
            self._calls[-2] = Digested.of(params)
            self._held -= len(params)

    def note(self, record: AuditRecord) -> None:
        """A change, or something about the service itself."""
        if len(self._notes) < BATCH:
            self._notes.append(record)
        else:
            self._lost.add(1, record.at)

    def refused(self, record: AuditRecord) -> None:
        """A refusal; see `Refusals`."""
        self.on_refused(record)
        if (single := self._refusals.add(record)) is not None:
            self.note(single)

    # -- writing -----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Write until `close`."""
        self._ended.clear()
        try:
            while not self._closing:
                with suppress(TimeoutError):
                    async with asyncio.timeout(RETRY if self._away else INTERVAL):
                        await self._wake.wait()
                self._wake.clear()
                await self._flush()
        finally:
            self._ended.set()

    async def close(self) -> None:
        """Write what is there, once and not for long, and end `run`."""
        self._closing = True
        self._wake.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSING):
                await self._ended.wait()
                await self._flush(last=True)
        if waiting := self.statistics()["waiting"]:
            LOG.error("records of the audit are lost", records=waiting, reason="the store is away")

    async def search(self, wanted: AuditFilter) -> list[AuditRecord]:
        """The latest that fit, newest first; those of the last moment are not among them. As `AuditLog`."""
        return await self._log.search(wanted)

    async def _flush(self, *, last: bool = False) -> None:
        for counted in self._refusals.ended(float("inf") if last else self._clock()):
            self.note(counted)
        self._tell_loss()
        await self._close_up()
        try:
            await self._store()
        except StoreAwayError as away:
            if not self._away:
                LOG.warning("the audit waits for its store", reason=str(away))
            self._away = True

    def _tell_loss(self) -> None:
        """Where records are missing, one says so, once there is room."""
        if self._lost.count and not self._away:
            self.note(self._lost.told(self._clock()))

    async def _close_up(self) -> None:
        """Make batches of what has come since the last time."""
        calls, self._calls, held = self._calls, [], self._held
        notes, self._notes = self._notes, []
        offset = self._clock() - monotonic()
        if notes:
            with self._spoilt(len(notes)):
                self._spool_up(AuditBatch.of(notes, node=self._node))
        for start in range(0, len(calls), BATCH * FIELDS):
            some = calls[start : start + BATCH * FIELDS]
            with self._spoilt(len(some) // FIELDS):
                self._spool_up(await self._batch(some, offset))
        self._held -= held

    @contextmanager
    def _spoilt(self, count: int) -> Iterator[None]:
        """What fails in here costs `count` records."""
        try:
            yield
        except StoreAwayError:
            raise
        except Exception:  # a fault of ours in one part must not be the end of the audit
            LOG.exception("a part of the audit cannot be written", records=count)
            self._lost.add(count, self._clock())

    async def _batch(self, calls: list[Any], offset: float) -> AuditBatch:
        """Calls as a batch, built field by field. `offset` makes Unix time of monotonic."""
        ats, seconds, callers, methods, servers, instances, names, outcomes, params, sizes = (
            calls[number::FIELDS] for number in range(FIELDS)
        )
        request_bytes = sizes_of(params)
        arguments, digests = await self._kept(params, max(request_bytes))
        columns = {
            "at": [at + offset for at in ats],
            "kind": AuditKind.CALL,
            "node": self._node,
            "principal": [caller.name for caller in callers],
            "credential": [caller.credential for caller in callers],
            "action": methods,
            "server": servers,
            "instance": instances,
            "tool": [name[:MAX_NAME] for name in names],
            "outcome": outcomes,
            "seconds": seconds,
            "request_bytes": request_bytes,
            "answer_bytes": sizes,
            "arguments": arguments,
        }
        if len(ats) < SLICE:
            return AuditBatch.of_columns(len(ats), columns, digests)
        return await asyncio.to_thread(AuditBatch.of_columns, len(ats), columns, digests)

    async def _kept(self, params: list[bytes], largest: int) -> tuple[Any, list[bytes]]:
        """The column of arguments, and the digests that belong to it."""
        if self._arguments is Kept.NONE:
            return "", []
        if self._arguments is Kept.REDACTED:
            shown = [redacted(one, self._conceal) for one in params]
            return shown, [digest_of(one) for one, text in zip(params, shown, strict=True) if text == DIGEST]
        digests: list[bytes] = []
        for start in range(0, len(params), SLICE):
            some = params[start : start + SLICE]
            if largest > LARGE:
                digests += await asyncio.to_thread(digests_of, some)
            else:
                digests += digests_of(some)
                await asyncio.sleep(0)
        if all(digests):
            return DIGEST, digests
        return [DIGEST if digest else "" for digest in digests], digests

    def _spool_up(self, batch: AuditBatch) -> None:
        """Let a batch wait for the store; it is lost when too much waits already."""
        if self._spooled.records + batch.count > SPOOL_RECORDS or self._spooled.size > SPOOL_BYTES:
            self._lost.add(batch.count, batch.first_at, batch.last_at)
            return
        self._spool.append(batch)
        self._spooled.add(batch)

    async def _store(self) -> None:
        """Give the store what waits. Raises StoreAwayError; then it waits on."""
        while self._spool:
            batches = [self._spool[number] for number in range(min(APPENDED, len(self._spool)))]
            with self._spoilt(sum(batch.count for batch in batches)):
                await self._log.append(batches)
                self._written += sum(batch.count for batch in batches)
            for batch in batches:
                self._spool.popleft()
                self._spooled.take(batch)
        if self._away:
            self._away = False
            LOG.info("the audit's store is back")


class _Amount:
    """What waits in the spool."""

    def __init__(self) -> None:
        self.records = 0
        self.size = 0

    def add(self, batch: AuditBatch) -> None:
        self.records += batch.count
        self.size += len(batch.content) + WEIGHT

    def take(self, batch: AuditBatch) -> None:
        self.records -= batch.count
        self.size -= len(batch.content) + WEIGHT


class _Loss:
    """Records that are missing and that the audit does not tell of yet."""

    def __init__(self) -> None:
        self.count = self.in_all = 0
        self._since = self._until = 0.0

    def add(self, count: int, since: float, until: float | None = None) -> None:
        self._since = min(self._since, since) if self.count else since
        self._until = until or since
        self.count += count
        self.in_all += count

    def told(self, now: float) -> AuditRecord:
        """The record that tells of them."""
        detail = {"count": self.count, "since": self._since, "until": self._until}
        self.count = 0
        return AuditRecord(
            at=now, kind=AuditKind.SYSTEM, action="records lost", outcome="overflow", detail=detail
        )
