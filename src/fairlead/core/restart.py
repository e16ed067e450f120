"""When a server that failed is started again: capped exponential backoff with jitter."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

FIRST_DELAY: Final = 0.2  # s
LONGEST_DELAY: Final = 30.0  # s
STABLE_AFTER: Final = 60.0  # s of running after which earlier failures are forgotten
SERVED_ENOUGH: Final = 20  # good answers after which they are forgotten, too


@dataclass(frozen=True, slots=True)
class RestartState:
    """Failures in a row, so far; `last` is the loop time of the last one in seconds."""

    failures: int = 0
    last: float = float("-inf")

    def failed(self, now: float, *, since: float, ran_for: float = 0.0, answers: int = 0) -> RestartState:
        """After a failure of an instance that came up, or whose start began, at `since` (loop time).

        It ran for `ran_for` seconds and gave so many good `answers`: one that did well for long enough has
        started well, so what ended it is no reason to wait. One that is older than the last failure says
        nothing new: what ends many at once is one failure.
        """
        if since < self.last:
            return self
        well = ran_for >= STABLE_AFTER or answers >= SERVED_ENOUGH
        return RestartState(1 if well else self.failures + 1, now)

    def delay(self, rng: random.Random) -> float:
        """Seconds to wait: the first repetition is at once, later ones between half and all of the cap."""
        if self.failures <= 1:
            return 0.0
        cap = min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(self.failures - 2, 16))
        return cap * (0.5 + rng.random() / 2)
