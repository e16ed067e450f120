"""What an application's findings come to: its conditions Ready, Reconciling and Stalled.

Reconciling is what ends by itself: work in progress, retries, a window or a hold that passes. Stalled is what
waits for somebody to do something. Each tells the worst of its kind; Ready tells the worst of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from fairlead.model.reconciling import Reason
from fairlead.model.status import Condition

_R = Reason


class Kind(StrEnum):
    STALLED = "Stalled"
    RECONCILING = "Reconciling"
    NOTE = "note"  # does not keep an application from being Ready


KINDS: Final = {
    _R.FAULT: Kind.STALLED,
    _R.INVALID_CONFIG: Kind.STALLED,
    _R.SOURCE_REFUSED: Kind.STALLED,
    _R.HISTORY_REWRITTEN: Kind.STALLED,
    _R.NO_REPOSITORY: Kind.STALLED,
    _R.FOREIGN_OWNER: Kind.STALLED,
    _R.NO_COMMIT: Kind.STALLED,
    _R.TARGET_REFUSED: Kind.STALLED,
    _R.STORE_AWAY: Kind.RECONCILING,
    _R.TARGET_AWAY: Kind.RECONCILING,
    _R.UNHEALTHY: Kind.STALLED,
    _R.BLOCKED_COMMIT: Kind.STALLED,
    _R.OBJECT_REFUSED: Kind.STALLED,
    _R.CONFLICT: Kind.STALLED,
    _R.SOURCE_AWAY: Kind.RECONCILING,
    _R.AWAITING_APPROVAL: Kind.STALLED,
    _R.AWAITING_PRUNE: Kind.STALLED,
    _R.SUSPENDED: Kind.STALLED,
    _R.DRIFTED: Kind.STALLED,
    _R.OBSERVED: Kind.STALLED,
    _R.HELD: Kind.RECONCILING,
    _R.WINDOW_CLOSED: Kind.RECONCILING,
    _R.PROGRESSING: Kind.RECONCILING,
    _R.SHALLOW_CLONE: Kind.NOTE,
    _R.DETACHED_HEAD: Kind.NOTE,
    _R.LINKED_WORKTREE: Kind.NOTE,
    _R.SYNCED: Kind.NOTE,
}
"""The worst first."""

_RANK: Final = {reason: rank for rank, reason in enumerate(KINDS)}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a reconciliation found. The message is for a person: what, where, how to mend it."""

    reason: Reason
    message: str


def conditions(findings: Sequence[Finding], before: Sequence[Condition], now: float) -> tuple[Condition, ...]:
    """Ready, Reconciling, Stalled. `since` stays as `before` where neither status nor reason changed."""
    ordered = sorted(findings or [Finding(Reason.SYNCED, "")], key=lambda finding: _RANK[finding.reason])
    worst = ordered[0]
    more = f" ({len(ordered) - 1} more)" if len(ordered) > 1 else ""
    told = [("Ready", KINDS[worst.reason] is Kind.NOTE, Finding(worst.reason, worst.message + more))]
    for kind in (Kind.RECONCILING, Kind.STALLED):
        found = next((finding for finding in ordered if KINDS[finding.reason] is kind), None)
        told.append((kind, found is not None, found or Finding(worst.reason, "")))
    return tuple(_condition(name, status, finding, before, now) for name, status, finding in told)


def observed(generation: int, before: int, told: Sequence[Condition]) -> int:
    """The generation that counts as looked at: the newest one, as soon as it is Ready or Stalled."""
    return generation if any(each.status for each in told if each.type in ("Ready", "Stalled")) else before


def _condition(
    name: str, status: bool, finding: Finding, before: Sequence[Condition], now: float
) -> Condition:
    since = next(
        (
            each.since
            for each in before
            if (each.type, each.status, each.reason) == (name, status, finding.reason)
        ),
        now,
    )
    return Condition(type=name, status=status, reason=finding.reason, message=finding.message, since=since)
