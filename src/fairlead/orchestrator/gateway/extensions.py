"""Extensions of the protocol that the servers of an endpoint have, and that reach its clients."""

from __future__ import annotations

from typing import Any, Final

from fairlead.mcp import eras
from fairlead.mcp.eras import Era
from fairlead.orchestrator.gateway.views import View

_PASSING: Final = (eras.TASKS, eras.RESERVED + "ui")
"""Those that work through a merged endpoint: the gateway knows their methods, or they have none."""


def extensions_of(view: View, era: Era) -> dict[str, Any]:
    """Identifier -> settings, as clients of this era are told: of a single server all of its own.

    Tasks are of the modern era on both sides: what a legacy client and a modern server can say to each other
    has no room for them, and the same the other way round.
    """
    found: dict[str, Any] = {}
    for pool in view.pools.values():
        last = pool.members.last
        if last is None or last.negotiated is None:
            continue
        theirs = last.negotiated.capabilities.get("extensions")
        for name, settings in theirs.items() if isinstance(theirs, dict) else ():
            modern = era is Era.MODERN and last.negotiated.era is Era.MODERN
            if (modern or name != eras.TASKS) and (name in _PASSING or not view.merged):
                found.setdefault(name, settings)
    return found
