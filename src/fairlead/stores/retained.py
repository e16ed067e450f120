"""How much is kept of the controller's history, whatever the kind of store."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from fairlead.model.reconciling import Live

KEPT: Final = 20  # deployments of each application stay, whatever their age
LIVE_LIMIT: Final = 8 * 1024 * 1024  # bytes of a live version


def bounded(live: Live) -> Live:
    """What is kept of it: a larger one loses its content, and says so."""
    size = len(live.content)
    if size <= LIVE_LIMIT:
        return live
    why = f"it was not kept: {size} bytes, and at most {LIVE_LIMIT} are"
    return replace(live, content=b"", document={}, problem=f"{live.problem}; {why}" if live.problem else why)
