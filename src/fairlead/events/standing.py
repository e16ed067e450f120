"""Whether all is there that a service keeps its state in, and the events that tell when it is not."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from fairlead.model.event_data import ServiceDegraded, ServiceRecovered
from fairlead.model.events import EventType
from fairlead.ports import Recorder

STORE = "store"
BUS = "bus"


class Standing:
    """Of one service. `parts`: what it needs, and why that is away, in words (empty: it is not)."""

    def __init__(
        self,
        parts: Mapping[str, Callable[[], str]],
        recorder: Recorder,
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._parts = parts
        self._recorder = recorder
        self._now = now
        self._since: dict[str, float] = {}  # as told

    def __repr__(self) -> str:
        return f"Standing({self.away()})"

    def away(self) -> dict[str, str]:
        """What is away now, and why."""
        return {part: reason for part, why in self._parts.items() if (reason := why())}

    def tick(self) -> None:
        """About once a second: tell what has gone, and what has come back."""
        away = self.away()
        for part in self._parts:
            if part in away and part not in self._since:
                self._since[part] = self._now()
                gone = ServiceDegraded(part=part, reason=away[part])
                self._recorder.note(EventType.SERVICE_DEGRADED, part, gone)
            elif part not in away and part in self._since:
                back = ServiceRecovered(part=part, seconds=self._now() - self._since.pop(part))
                self._recorder.note(EventType.SERVICE_RECOVERED, part, back)
