"""Failed authentications as events, bounded: whoever knocks in a loop must not fill the log.

The first failure of an address with a problem is an event at once. What follows within a window is counted,
and becomes one event at its end, which opens the next window.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from fairlead.model.audit import AuditRecord
from fairlead.model.event_data import AuthenticationFailed
from fairlead.model.events import EventType
from fairlead.ports import Recorder

PROBLEMS: Final = frozenset(
    {"missing-token", "invalid-token", "insufficient-scope", "session-ended", "two-sessions", "csrf"}
)
WINDOW: Final = 10.0  # s
MAX_KINDS: Final = 1000  # that are told apart; further addresses count together


@dataclass(slots=True)
class _Window:
    until: float
    since: float = 0.0  # when the first of those that are counted came
    count: int = 0


class FailureWatch:
    """Looks for failures among the refusals of a process."""

    def __init__(self, recorder: Recorder, *, now: Callable[[], float] = time.time) -> None:
        self._recorder = recorder
        self._now = now
        self._windows: dict[tuple[str, str], _Window] = {}

    def __repr__(self) -> str:
        return f"FailureWatch({len(self._windows)} kinds)"

    def refused(self, record: AuditRecord) -> None:
        """A refusal, of either lane, as the audit has it."""
        if record.outcome not in PROBLEMS:
            return
        now = self._now()
        kind = (record.peer, record.outcome)
        if kind not in self._windows and len(self._windows) >= MAX_KINDS:
            kind = ("", record.outcome)
        window = self._windows.get(kind)
        if window is None:
            self._windows[kind] = _Window(now + WINDOW)
            self._tell(kind, 1, now)
            return
        if not window.count:
            window.since = now
        window.count += 1

    def tick(self) -> None:
        """About once a second: tell what was counted in the windows that are over."""
        now = self._now()
        for kind, window in list(self._windows.items()):
            if 0 < window.until - now <= WINDOW:  # neither over, nor of a clock that was set back
                continue
            if window.count:
                self._tell(kind, window.count, window.since)
                self._windows[kind] = _Window(now + WINDOW)
            else:
                del self._windows[kind]

    def _tell(self, kind: tuple[str, str], count: int, since: float) -> None:
        peer, problem = kind
        data = AuthenticationFailed(peer=peer, problem=problem, count=count, since=since)
        self._recorder.note(EventType.AUTHENTICATION_FAILED, peer, data)
