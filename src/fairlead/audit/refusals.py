"""Refusals, bounded: whoever knocks in a loop must not fill the audit.

The first few of a kind (same problem, same principal, same peer) within a window are records of their own;
the rest of the window is one record that says how many there were. So each refusal is in the audit, if only
as one of a number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from fairlead.model.audit import AuditRecord

WINDOW: Final = 10.0  # s
SINGLE: Final = 20  # records of a kind and window
MAX_KINDS: Final = 1000  # that are told apart in a window; further peers count together

_Kind = tuple[str, str, str]  # outcome, principal, peer


@dataclass(slots=True)
class _Window:
    until: float
    single: int = 0
    counted: int = 0
    since: float = 0.0  # when the first of them was counted
    last: AuditRecord | None = None


class Refusals:
    """Of one process. `now` is Unix time, s, as in the records."""

    def __init__(self) -> None:
        self._windows: dict[_Kind, _Window] = {}

    def __repr__(self) -> str:
        return f"Refusals({len(self._windows)} kinds)"

    def add(self, record: AuditRecord) -> AuditRecord | None:
        """The record as it is to be written now; None when it was only counted."""
        kind = (record.outcome, record.principal, record.peer)
        if kind not in self._windows and len(self._windows) >= MAX_KINDS:
            kind = (record.outcome, "", "")
            record = replace(record, principal="", credential="", peer="")
        window = self._windows.get(kind)
        if window is None:
            window = self._windows[kind] = _Window(record.at + WINDOW)
        if window.single < SINGLE:
            window.single += 1
            return record
        if not window.counted:
            window.since = record.at
        window.counted += 1
        window.last = record
        return None

    def ended(self, now: float) -> list[AuditRecord]:
        """What was counted in the windows that have ended by now."""
        over = [kind for kind, window in self._windows.items() if window.until <= now]
        found = []
        for kind in over:
            window = self._windows.pop(kind)
            if window.last is not None:
                detail = {**window.last.detail, "count": window.counted, "since": window.since}
                found.append(replace(window.last, detail=detail))
        return found
