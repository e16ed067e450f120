"""When a server that failed is started again: capped exponential backoff with jitter."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

FIRST_DELAY: Final = 0.2  # s
LONGEST_DELAY: Final = 30.0  # s
STABLE_AFTER: Final = 60.0  # s of running after which earlier failures are forgotten


@dataclass(frozen=True, slots=True)
class RestartState:
    """Failures in a row, so far."""

    failures: int = 0

    def failed(self, ran_for: float, *, served: bool = False) -> RestartState:
        """After a failure of an instance that ran for `ran_for` seconds.

        One that had `served` calls did start well, so what ended it is no reason to wait.
        """
        return RestartState(1 if served or ran_for >= STABLE_AFTER else self.failures + 1)

    def delay(self, rng: random.Random) -> float:
        """Seconds to wait: the first repetition is at once, later ones between half and all of the cap."""
        if self.failures <= 1:
            return 0.0
        cap = min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(self.failures - 2, 16))
        return cap * (0.5 + rng.random() / 2)
