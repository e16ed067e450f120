"""What a server says that nobody asked for: counted as it comes, told in the log now and then.

A server that prints noise to its stdout, answers twice or floods notifications harms nobody, but its owner
wants to know: the first of a kind is told at once, further ones together, at most every `TOLD_EVERY`.

Some of it may be the answer to a call, spoilt: a broken message, or one with a number that nobody waits for.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import structlog

TOLD_EVERY: Final = 10.0  # s
FLOOD: Final = 1000  # notifications a second
NOISE: Final = "noise on stdout that is not a JSON-RPC message"
NO_CALL: Final = "an answer to no call that waits"
LOG = structlog.get_logger("fairlead.instance")


class Oddities:
    """Of one instance. `note` as they come, `look` about once a second; `now` is in seconds."""

    __slots__ = ("_counts", "_instance", "_told_at", "notifications")

    def __init__(self, instance: str) -> None:
        self.notifications = 0  # since the last look
        self._instance = instance
        self._counts: Counter[str] = Counter()  # not yet told
        self._told_at: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"Oddities({dict(self._counts)})"

    def note(self, kind: str, frame: bytes, now: float) -> None:
        """One more of a kind; `frame` is what came."""
        self._counts[kind] += 1
        if now - self._told_at.get(kind, float("-inf")) >= TOLD_EVERY:
            self._tell(kind, frame[:80].decode(errors="replace"), now)

    def look(self, now: float) -> None:
        """Tell what has gathered since it was told last."""
        notifications, self.notifications = self.notifications, 0
        if notifications > FLOOD:
            self.note(f"a flood: over {FLOOD:,} notifications a second", b"", now)
        for kind in list(self._counts):
            if now - self._told_at[kind] >= TOLD_EVERY:
                self._tell(kind, "", now)

    def _tell(self, kind: str, sample: str, now: float) -> None:
        self._told_at[kind] = now
        times = self._counts.pop(kind)
        LOG.warning("the server sends", instance=self._instance, what=kind, times=times, sample=sample)
