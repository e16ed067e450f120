"""What the checks of an instance mean, and when the next one is due.

Anything that an instance answers shows that it lives, a check as well as a call. One that has said nothing
for `idle_interval` is asked; one that does not answer in time is suspect and is asked again at once, and
after `retries` failures in a row it is unhealthy. A full check never lasts longer than this would take:
silence of `idle_interval + idle_timeout` counts as a failure, whatever is going on. So a hang that begins
at any moment is known after at most

    idle_interval + retries * idle_timeout, and twice the time between two looks

(by default 13 s), plus one `idle_timeout` where a full check may take longer than `idle_interval`: a check
during which the instance answered something else says nothing, and the next one starts when it has ended.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from fairlead.model.fleet import HealthCheck
from fairlead.model.status import Standing


@dataclass(frozen=True, slots=True)
class HealthPolicy:
    """How an instance is found to be well. Times are in seconds."""

    enabled: bool
    interval: float  # between two full checks
    timeout: float  # of a full check
    idle_interval: float  # of silence, until it is asked whether it lives
    idle_timeout: float  # of that question
    retries: int  # failures in a row until it is unhealthy
    recoveries: int  # passes in a row until it is trusted again

    @classmethod
    def of(cls, spec: HealthCheck) -> HealthPolicy:
        return cls(
            enabled=spec.enabled,
            interval=spec.interval,
            timeout=spec.timeout,
            idle_interval=spec.idle_interval,
            idle_timeout=spec.idle_timeout,
            retries=spec.retries,
            recoveries=spec.recoveries,
        )


@dataclass(frozen=True, slots=True)
class Check:
    """A question to an instance: to be answered within `timeout` seconds."""

    timeout: float
    full: bool


@dataclass(frozen=True, slots=True)
class Health:
    """What is known of one instance's health. All times are loop time in seconds."""

    standing: Standing = Standing.HEALTHY
    failures: int = 0  # in a row
    successes: int = 0  # in a row, while it is unhealthy
    checked_at: float = 0.0  # when the last full check ended
    seen_at: float = 0.0  # the last sign of life
    failed_at: float = 0.0  # when a check failed last

    def passed(self, now: float, policy: HealthPolicy, *, full: bool) -> Health:
        """It answered a check."""
        return replace(self.answered(now, policy), checked_at=now if full else self.checked_at)

    def answered(self, now: float, policy: HealthPolicy) -> Health:
        """It answered a call: as good as a check that was passed, but no full one."""
        successes = self.successes + 1
        if self.standing is Standing.UNHEALTHY and successes < policy.recoveries:
            return replace(self, successes=successes, failures=0, seen_at=now)
        return Health(checked_at=self.checked_at, seen_at=now, failed_at=self.failed_at)

    def failed(self, now: float, policy: HealthPolicy, *, full: bool) -> Health:
        """It did not answer a check in time. While checks are off, nothing follows from that."""
        if not policy.enabled:
            return replace(self, standing=Standing.HEALTHY, failures=0, successes=0)
        failures = self.failures + 1
        gone = self.standing is Standing.UNHEALTHY or failures >= policy.retries
        return replace(
            self,
            standing=Standing.UNHEALTHY if gone else Standing.SUSPECT,
            failures=failures,
            successes=0,
            checked_at=now if full else self.checked_at,
            failed_at=now,
        )

    def due(self, now: float, policy: HealthPolicy) -> Check | None:
        """The check that is to be started now, if any."""
        if not policy.enabled:
            return None
        liveness = Check(policy.idle_timeout, full=False)
        if self.standing is Standing.SUSPECT:
            return liveness
        if self.standing is Standing.UNHEALTHY:
            rested = now - max(self.failed_at, self.seen_at) >= policy.idle_timeout
            return liveness if rested else None
        if now - self.checked_at >= policy.interval:
            return self.full_check(now, policy)
        return liveness if now - self.seen_at >= policy.idle_interval else None

    def full_check(self, now: float, policy: HealthPolicy) -> Check:
        """A full check, cut short where silence for that long would be a failure anyway."""
        silent_until = self.seen_at + policy.idle_interval + policy.idle_timeout
        return Check(min(policy.timeout, max(policy.idle_timeout, silent_until - now)), full=True)
