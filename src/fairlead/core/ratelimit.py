"""GCRA, the generic cell rate algorithm: a token bucket that is one number.

The number is the theoretical arrival time: when the next request would come if all came evenly spaced. A
request may be early by the burst, no more.
"""

from __future__ import annotations

from typing import Final

_ROUNDING: Final = 1e-6  # s; a wait this short is only the rounding of `now`


class Gcra:
    """Lets through `rate_per_minute` requests, and up to `burst` (1 or more) at once after a pause.

    `now` is any clock in seconds, the same for all calls of one object.
    """

    __slots__ = ("_arrival", "_early", "_interval")

    def __init__(self, rate_per_minute: float, burst: int) -> None:
        if not 0 < rate_per_minute < float("inf") or burst < 1:
            msg = f"a rate must be over 0 and a burst at least 1, not {rate_per_minute} and {burst}"
            raise ValueError(msg)
        self._interval = 60.0 / rate_per_minute
        self._early = self._interval * (burst - 1)
        self._arrival = float("-inf")

    def __repr__(self) -> str:
        return f"Gcra(interval={self._interval:g}, early={self._early:g}, arrival={self._arrival:g})"

    def admit(self, now: float) -> float:
        """0.0 when the request is admitted, else the seconds after which it would be."""
        arrival = self._arrival
        wait = arrival - now - self._early
        if wait > _ROUNDING:
            return wait
        self._arrival = max(now, arrival) + self._interval
        return 0.0
