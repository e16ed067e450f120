"""HealthMonitor: asks instances whether they live, when they have not shown it by themselves.

It observes and schedules; what an observation means is decided in `core.health`, and the pool, which owns
the instance's health, acts on it. Once a second each instance's count of answers is compared with the last
one: if it has grown, that is a sign of life. When the instance's health says that a check is due, a task
asks, and asks again at once while it is suspect; there is one such task for an instance at a time, and
people who ask for a check join it.

A check that got no answer counts only if the instance answered nothing else meanwhile: one that works off a
long queue of calls comes to a ping late, and is well. Such a check is void: the count of answers says what
it would have said, and closer to the time at which it was so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol
from weakref import WeakKeyDictionary

import structlog

from fairlead.core.health import Check, HealthPolicy
from fairlead.core.lifecycle import InstanceState
from fairlead.kit.tasks import Tasks
from fairlead.mcp.errors import CALL_TIMED_OUT, UPSTREAM_FAILED, McpError
from fairlead.model.fleet import ServerSpec
from fairlead.model.reports import CheckResult

if TYPE_CHECKING:
    from fairlead.orchestrator.instance import MCPServerInstance

LOG = structlog.get_logger("fairlead.health")
CHECKED: Final = frozenset({InstanceState.READY, InstanceState.DRAINING})
CHECKS_AT_A_TIME: Final = 32  # of those that somebody asked for at once


class CheckedPool(Protocol):
    """What the monitor needs of a `ServerPool`."""

    @property
    def spec(self) -> ServerSpec: ...

    @property
    def instances(self) -> Sequence[MCPServerInstance]:
        """Those that drain, too. Their `answered_total` counts answers to calls, not to checks."""
        ...

    def checked(self, instance: MCPServerInstance, *, passed: bool, reason: str, full: bool) -> None:
        """A check has ended just now; sets the instance's `health` before it returns."""
        ...

    def answered_lately(self, instance: MCPServerInstance, now: float) -> None:
        """Calls were answered since about a second before `now`; sets the instance's `health`."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of a check. `reason` is for a person."""

    passed: bool
    reason: str = ""


class HealthMonitor:
    """Checks the instances of all pools; each is looked at about once a second. `close` it in the end."""

    def __init__(
        self,
        pools: Callable[[], Iterable[CheckedPool]],
        count: Callable[[str, bool], None] = lambda server, passed: None,
    ) -> None:
        """`count` is told of each check: the server's id, whether it passed."""
        self._pools = pools
        self._count = count
        self._answered: WeakKeyDictionary[MCPServerInstance, int] = WeakKeyDictionary()  # at the last look
        self._checks: dict[MCPServerInstance, asyncio.Task[Outcome]] = {}
        self._tasks = Tasks(_task_failed)

    def __repr__(self) -> str:
        return f"<HealthMonitor checking={sorted(instance.id for instance in self._checks)}>"

    def tick(self, now: float) -> None:
        """Look at all pools. `now` is loop time."""
        for pool in self._pools():
            self.look_at(pool, now)

    def look_at(self, pool: CheckedPool, now: float) -> None:
        """Look for signs of life and start the checks that are due."""
        for instance in pool.instances:
            if instance.state not in CHECKED:
                continue
            total = instance.answered_total
            if total != self._answered.get(instance, total):
                pool.answered_lately(instance, now)
            self._answered[instance] = total
            self.check_if_due(pool, instance, now)

    def check_if_due(self, pool: CheckedPool, instance: MCPServerInstance, now: float) -> None:
        """Start the check of an instance that is due, unless one runs."""
        check = instance.health.due(now, HealthPolicy.of(pool.spec.health_check))
        if check is not None and instance not in self._checks:
            self._start(pool, instance, check)

    async def check_now(self, pools: Iterable[CheckedPool]) -> list[CheckResult]:
        """Check every instance that runs, whether a check is due or not; in the pools' order."""
        gate = asyncio.Semaphore(CHECKS_AT_A_TIME)
        return await asyncio.gather(
            *(
                self._check_one(pool, instance, gate)
                for pool in pools
                for instance in pool.instances
                if instance.state in CHECKED
            )
        )

    async def close(self) -> None:
        """Give up the checks that run; afterwards there are no ticks."""
        await self._tasks.close()

    async def _check_one(
        self, pool: CheckedPool, instance: MCPServerInstance, gate: asyncio.Semaphore
    ) -> CheckResult:
        loop = asyncio.get_running_loop()
        async with gate:
            started = loop.time()
            task = self._checks.get(instance)
            if task is None:
                policy = HealthPolicy.of(pool.spec.health_check)
                task = self._start(pool, instance, instance.health.full_check(started, policy))
            outcome = await asyncio.shield(task)  # who asked may go away: the check is the instance's own
        return CheckResult(
            server=pool.spec.id,
            instance=instance.id,
            passed=outcome.passed,
            seconds=loop.time() - started,
            message=outcome.reason,
        )

    def _start(self, pool: CheckedPool, instance: MCPServerInstance, check: Check) -> asyncio.Task[Outcome]:
        task = self._tasks.spawn(self._check(pool, instance, check), f"check {instance.id}")
        self._checks[instance] = task
        task.add_done_callback(lambda _: self._checks.pop(instance))
        return task

    async def _check(self, pool: CheckedPool, instance: MCPServerInstance, check: Check) -> Outcome:
        """Ask, and while that leaves it suspect ask again. What is due later is for a later tick."""
        following: Check | None = check
        while following is not None:
            check = following
            answered = instance.answered_total
            outcome = await _ask(instance, check.timeout)
            if instance.state not in CHECKED:
                return outcome  # it ended, and its pool knows
            if not outcome.passed and instance.answered_total != answered:
                return Outcome(passed=True, reason="it answers calls, though not the check in time")
            self._count(pool.spec.id, outcome.passed)
            pool.checked(instance, passed=outcome.passed, reason=outcome.reason, full=check.full)
            now = asyncio.get_running_loop().time()
            following = instance.health.due(now, HealthPolicy.of(pool.spec.health_check))
        return outcome


async def _ask(instance: MCPServerInstance, timeout: float) -> Outcome:  # noqa: ASYNC109
    """Whether it answers within `timeout` seconds. An error is an answer, unless it is the gateway's own."""
    if instance.state not in CHECKED:
        return Outcome(passed=False, reason="has ended")
    try:
        async with asyncio.timeout(timeout):
            await instance.ping(timeout=timeout)
    except TimeoutError:
        return Outcome(passed=False, reason=f"did not answer within {timeout:g} s")
    except McpError as error:
        if error.code in (UPSTREAM_FAILED, CALL_TIMED_OUT):
            return Outcome(passed=False, reason=error.message)
        return Outcome(passed=True, reason=f"answered with error {error.code}: {error.message}")
    return Outcome(passed=True)


def _task_failed(name: str, error: BaseException) -> None:
    LOG.error("task failed", task=name, exc_info=error)
