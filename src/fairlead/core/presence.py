"""Whether a server's items stand in the lists while the server comes and goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fairlead.model.status import ServerState

SERVES: Final = (ServerState.READY, ServerState.IDLE)
LEFT: Final = (ServerState.STOPPED, ServerState.DISABLED)


@dataclass(frozen=True, slots=True)
class Presence:
    """One that is away without anybody's wish keeps its place for a grace period."""

    listed: bool = True
    away_since: float | None = None  # loop time, s

    def seen(self, state: ServerState, now: float, grace: float) -> Presence:
        """After the server was seen in this state. `now` is loop time, `grace` is in seconds."""
        if state in SERVES:
            return Presence()
        if state in LEFT:
            return Presence(listed=False)
        since = now if self.away_since is None else self.away_since
        return Presence(self.listed and now - since < grace, since)
