"""What is kept of the controller's history and of drift, whatever the kind of store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from fairlead.model.reconciling import DriftRow, Live

KEPT: Final = 20  # deployments of each application stay, whatever their age
LIVE_LIMIT: Final = 8 * 1024 * 1024  # bytes of a live version


def bounded(live: Live) -> Live:
    """What is kept of it: a larger one loses its content, and says so."""
    size = len(live.content)
    if size <= LIVE_LIMIT:
        return live
    why = f"it was not kept: {size} bytes, and at most {LIVE_LIMIT} are"
    return replace(live, content=b"", document={}, problem=f"{live.problem}; {why}" if live.problem else why)


def compared(before: Iterable[DriftRow], rows: Sequence[DriftRow]) -> tuple[list[DriftRow], list[DriftRow]]:
    """An application's rows that are new or changed, and those that are gone.

    Since when there is one stays: it is the same one while it has the same object and key.
    """
    known = {(row.object, row.key): row for row in before}
    now = {(row.object, row.key): row for row in rows}
    kept = {at: replace(row, since=known[at].since) if at in known else row for at, row in now.items()}
    new = [row for at, row in kept.items() if known.get(at) != row]
    return new, [row for at, row in known.items() if at not in now]
