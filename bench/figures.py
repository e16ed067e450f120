"""Statistics over rounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median


def percentile(sample: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` of the sample do not exceed (nearest rank)."""
    if not sample:
        msg = "a percentile of nothing"
        raise ValueError(msg)
    ordered = sorted(sample)
    return ordered[max(math.ceil(len(ordered) * percent / 100) - 1, 0)]


def paired_ratio(values: Sequence[float], yardstick: Sequence[float]) -> float | None:
    """The median of the rounds' ratios: each value is compared with the yardstick's of the same round.

    None when there is no yardstick, or it has a zero.
    """
    if not values or len(values) != len(yardstick) or not all(yardstick):
        return None
    return median(value / base for value, base in zip(values, yardstick, strict=True))
