"""Who reads events live: the seats, their bounds, and their common ends.

A reader is a WebSocket or an event stream over HTTP. Each has a seat, so that they can be counted, in all
and by principal, and sent away: when what its caller came by is not good any more, and when the service
stops. Events are encoded once for all of them.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import msgspec
import structlog

from fairlead.core import refusals
from fairlead.core.admission import AdmissionPolicy
from fairlead.core.ratelimit import Gcra
from fairlead.events.feed import Feed
from fairlead.kit.tasks import Tasks
from fairlead.model.access import Caller
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.model.events import StoredEvent
from fairlead.ports import Auditor
from fairlead.web.live_messages import Reason
from fairlead.web.live_table import Table
from fairlead.web.store_gate import Away, Settled, nothing_to_settle

SHARE: Final = 4  # one principal has at most this part of the seats
_KEPT: Final = 512  # encoded events

_log = structlog.get_logger("fairlead.web.live")


@dataclass(frozen=True, slots=True)
class LiveLimits:
    """Bounds of live readers. `queue`: how many events one may lag behind before it is sent away."""

    max_connections: int = 1000
    queue: int = 1000

    @property
    def per_principal(self) -> int:
        return max(1, self.max_connections // SHARE)


@dataclass(frozen=True, slots=True)
class Door:
    """What each message has to pass, and leaves behind; members as `Services` has them."""

    policy: Callable[[], AdmissionPolicy]
    limiter: Callable[[str], Gcra | None]
    audit: Auditor
    away: Away
    settled: Settled = nothing_to_settle


@dataclass(eq=False, slots=True)
class Seat:
    """A reader that is there. `leave` is called at most once by us; it must not block."""

    caller: Caller
    leave: Callable[[Reason], None]


class Live:
    """One for each service. `close` sends everybody away."""

    def __init__(self, feed: Feed, table: Table, door: Door, *, node: str, limits: LiveLimits) -> None:
        self.feed = feed
        self.table = table
        self.node = node
        self.limits = limits
        self.commands = Tasks(_failed)  # they go on when their client has gone
        self.door = door
        self._seats: set[Seat] = set()
        self._taken: Counter[str] = Counter()
        self._encoded: dict[str, bytes] = {}  # by the event's id: a number may come again, see `Feed`
        self._closed = False

    def __repr__(self) -> str:
        return f"Live({self.table.service!r}, {len(self._seats)} of {self.limits.max_connections} seats)"

    @property
    def readers(self) -> int:
        return len(self._seats)

    @contextmanager
    def seat(self, caller: Caller, leave: Callable[[Reason], None]) -> Iterator[None]:
        """Be a reader while the block lasts. Raises ProblemError (503, 429) when there is no seat."""
        self._check_room(caller.name)
        seat = Seat(caller, leave)
        self._seats.add(seat)
        self._taken[caller.name] += 1
        try:
            yield
        finally:
            self._seats.discard(seat)
            self._taken[caller.name] -= 1
            self._taken += Counter()  # forgets who has none left

    def _check_room(self, principal: str) -> None:
        limits = self.limits
        if self._closed:
            raise ProblemError(_no_seat(503, "the service stops"))
        if len(self._seats) >= limits.max_connections:
            raise ProblemError(_no_seat(503, f"{limits.max_connections} are there, which is the limit"))
        if self._taken[principal] >= limits.per_principal:
            raise ProblemError(
                _no_seat(429, f"you have {limits.per_principal}, which is one principal's limit")
            )

    def is_valid(self, caller: Caller) -> bool:
        """Whether what a caller came by is still good."""
        expired = caller.expires is not None and time.time() >= caller.expires
        return not expired and self.door.policy().identities.is_valid(caller)

    def spend(self, caller: Caller) -> None:
        """Count a message against its sender's rate, as a request. Raises ProblemError (429)."""
        bucket = self.door.limiter(caller.name)
        if bucket is not None and (wait := bucket.admit(asyncio.get_running_loop().time())):
            raise ProblemError(refusals.rate_limited(wait))

    def encoded(self, stored: StoredEvent) -> bytes:
        """An event as JSON."""
        known = self._encoded.get(stored.event.id)
        if known is None:
            if len(self._encoded) >= _KEPT:
                self._encoded.clear()
            known = self._encoded[stored.event.id] = msgspec.json.encode(stored.document())
        return known

    def sweep(self) -> None:
        """Send those away whose credential is not good any more. Called about once a second."""
        for seat in list(self._seats):
            if not self.is_valid(seat.caller):
                seat.leave("credential")

    def close(self) -> None:
        """The service stops: everybody is told where to resume and sent away, and nobody let in."""
        self._closed = True
        for seat in list(self._seats):
            seat.leave("stopping")

    async def aclose(self) -> None:
        """`close`, and end the commands that still run."""
        self.close()
        await self.commands.close()


def _no_seat(status: int, why: str) -> Problem:
    return Problem(
        "too-many-readers",
        "No more live readers",
        f"No further WebSocket or event stream can be opened: {why}. Try again later, or raise "
        "FAIRLEAD_LIVE_MAX_CONNECTIONS.",
        status,
        Fault.CLIENT if status == 429 else Fault.GATEWAY,
        5.0,
    )


def _failed(name: str, error: BaseException) -> None:
    _log.error("task failed", task=name, exc_info=error)
