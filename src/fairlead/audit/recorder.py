"""The audit's way from the hot path to the store.

`called` stands at the end of each call, so it only lays references into a flat list: no object is made that
the garbage collector would have to follow. After 128 calls, or a MiB of arguments, `_take` encodes that list,
one field of all calls after the other, with digests in the place of the arguments. That costs less than to do
it call by call, or later, when all of it is out of the processor's cache, and a tenth of a millisecond at a
time (digests of large arguments aside: 0.8 ms for a MB, about what decoding it has cost). Twice a second the
writer closes these parts into compressed batches of a thousand calls, which takes 0.2 ms each (to hand one to
a thread costs as much); these are small, and wait in a bounded spool for the store.

Arguments are never kept for longer than that, so memory is bounded by the number of records. What is lost
because too many wait is counted, and the audit says so as soon as it can.
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

from fairlead.audit.arguments import Kept, digest_of, digests_of, redacted
from fairlead.audit.refusals import Refusals
from fairlead.model.access import Caller
from fairlead.model.audit import DIGEST, AuditBatch, AuditFilter, AuditKind, AuditPart, AuditRecord
from fairlead.ports import AuditLog, CallEnd, StoreAwayError

LOG = structlog.get_logger("fairlead.audit")
INTERVAL: Final = 0.5  # s: with what writing takes, a crash loses less than a second
RETRY: Final = 1.0  # s, while the store is away
CLOSING: Final = 3.0  # s for the last batches
FIELDS: Final = 10  # of a `CallEnd`
WEIGHT: Final = 8 * 2**10  # bytes that a call counts for, beside its params
ENOUGH: Final = 2**20  # bytes of calls that are taken at a time
BATCH: Final = 8  # parts
MAX_PARTS: Final = 2000  # that wait to be closed up
MAX_NOTES: Final = 1000
APPENDED: Final = 16  # batches at a time, at most
SPOOL_RECORDS: Final = 200_000
SPOOL_BYTES: Final = 32 * 2**20
OVERHEAD: Final = 500  # bytes of a batch beside its content
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
        self._held = 0  # what they count for
        # To redact takes much longer than to digest.
        self._enough = ENOUGH // 16 if arguments is Kept.REDACTED else ENOUGH
        self._parts: list[AuditPart] = []
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
            "waiting": len(self._calls) // FIELDS
            + sum(part.count for part in self._parts)
            + len(self._notes)
            + self._spooled.records,
            "bytes": self._spooled.size,
            "lost": self._lost.in_all,
        }

    # -- what is to be written ---------------------------------------------------------------------------

    def called(self, call: CallEnd) -> None:
        """A call is over. Of the hot path."""
        self._calls.extend(call)
        self._held += len(call[8]) + WEIGHT
        if self._held > self._enough:
            self._take()

    def _take(self) -> None:
        """Encode the calls that have come since the last time."""
        calls, self._calls, self._held = self._calls, [], 0
        count = len(calls) // FIELDS
        if len(self._parts) >= MAX_PARTS:
            self._lost.add(count, self._clock())
            return
        with self._spoilt(count):
            self._parts.append(self._part(count, calls))

    def _part(self, count: int, calls: list[Any]) -> AuditPart:
        ats, seconds, callers, methods, servers, instances, names, outcomes, params, sizes = (
            calls[number::FIELDS] for number in range(FIELDS)
        )
        offset = self._clock() - monotonic()
        arguments, digests = self._kept(params)
        columns = {
            "at": [at + offset for at in ats],
            "kind": AuditKind.CALL,
            "node": self._node,
            "seconds": seconds,
            **_who(callers),
            "action": _one(methods),
            "server": _one(servers),
            "instance": _one(instances),
            "tool": _one(names if max(map(len, names)) <= MAX_NAME else [name[:MAX_NAME] for name in names]),
            "outcome": _one(outcomes),
            "request_bytes": list(map(len, params)),
            "answer_bytes": sizes,
            "arguments": arguments,
        }
        return AuditPart.of(count, columns, digests)

    def _kept(self, params: list[bytes]) -> tuple[str | list[str], list[bytes]]:
        """The column of arguments, and the digests that belong to it."""
        match self._arguments:
            case Kept.NONE:
                return "", []
            case Kept.REDACTED:
                shown = [redacted(one, self._conceal) for one in params]
                return shown, [
                    digest_of(one) for one, text in zip(params, shown, strict=True) if text == DIGEST
                ]
        digests = digests_of(params)
        if all(digests):
            return DIGEST, digests
        return [DIGEST if digest else "" for digest in digests], digests

    def note(self, record: AuditRecord) -> None:
        """A change, or something about the service itself."""
        if len(self._notes) < MAX_NOTES:
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
        parts, self._parts = self._parts, []
        if self._calls:
            self._take()
            parts += self._parts
            self._parts = []
        notes, self._notes = self._notes, []
        if notes:
            with self._spoilt(len(notes)):
                self._spool_up(AuditBatch.of(notes, node=self._node))
        for start in range(0, len(parts), BATCH):
            some = parts[start : start + BATCH]
            with self._spoilt(sum(part.count for part in some)):
                if self._arguments is Kept.REDACTED:  # they may have megabytes
                    self._spool_up(await asyncio.to_thread(AuditBatch.of_parts, some))
                else:
                    self._spool_up(AuditBatch.of_parts(some))
                    await asyncio.sleep(0)

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


def _one(values: list[str]) -> str | list[str]:
    """The value that all have, or else the list: calls that come one after the other are much alike."""
    return values[0] if values.count(values[0]) == len(values) else values


def _who(callers: list[Caller]) -> dict[str, Any]:
    if callers.count(callers[0]) == len(callers):
        return {"principal": callers[0].name, "credential": callers[0].credential}
    return {
        "principal": [caller.name for caller in callers],
        "credential": [caller.credential for caller in callers],
    }


class _Amount:
    """What waits in the spool."""

    def __init__(self) -> None:
        self.records = 0
        self.size = 0

    def add(self, batch: AuditBatch) -> None:
        self.records += batch.count
        self.size += len(batch.content) + OVERHEAD

    def take(self, batch: AuditBatch) -> None:
        self.records -= batch.count
        self.size -= len(batch.content) + OVERHEAD


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
