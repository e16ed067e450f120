"""A pool and instances that answer, hang and end when they are told to, for those that check health."""

from __future__ import annotations

import asyncio

from fairlead.core.health import Health, HealthPolicy
from fairlead.core.lifecycle import InstanceState
from fairlead.mcp.errors import UPSTREAM_FAILED, McpError
from fairlead.model.fleet import HealthCheck, ServerSpec


class Instance:
    """Answers a ping after `latency` seconds, or with `error`; from `hang` on it answers nothing."""

    def __init__(self, id_="s-1", *, latency=0.0, error=None):
        now = asyncio.get_running_loop().time()
        self.id, self.latency, self.error = id_, latency, error
        self.state = InstanceState.READY
        self.health = Health(checked_at=now, seen_at=now)
        self.answered_total = 0
        self.pings = []  # when each began
        self.cancelled = 0
        self._gone = asyncio.get_running_loop().create_future()
        self._hung = False

    def hang(self):
        self._hung = True

    def wake(self):
        self._hung = False

    def answer(self, calls=1):
        """Calls are answered, unless it hangs."""
        if not self._hung:
            self.answered_total += calls

    def end(self):
        self.state = InstanceState.FAILED
        self._gone.set_result(None)

    async def ping(self, *, timeout):  # noqa: ASYNC109 - as MCPServerInstance has it
        self.pings.append(asyncio.get_running_loop().time())
        try:
            if self.error is not None:
                raise self.error
            await asyncio.wait([self._gone], timeout=self.latency)
            if self._hung:
                await asyncio.shield(self._gone)
            if self._gone.done():
                raise McpError(UPSTREAM_FAILED, f"{self.id} exited with code 1")
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


class Pool:
    """Takes observations as a `ServerPool` does, and keeps them."""

    def __init__(self, *instances, **check):
        self.spec = ServerSpec(id="s", command="x", health_check=HealthCheck(**check))
        self.instances = instances
        self.observed = []  # (loop time, instance, "passed" | "failed" | "answered", full)
        self.standings = []  # (loop time, standing), of any instance, whenever it changed
        self.reasons = []

    def checked(self, instance, *, passed, reason, full):
        now, policy = asyncio.get_running_loop().time(), HealthPolicy.of(self.spec.health_check)
        move = instance.health.passed if passed else instance.health.failed
        self._take(instance, move(now, policy, full=full), "passed" if passed else "failed", full)
        self.reasons.append(reason)

    def answered_lately(self, instance, now):
        policy = HealthPolicy.of(self.spec.health_check)
        self._take(instance, instance.health.answered(now, policy), "answered", False)

    def _take(self, instance, health, what, full):
        now = asyncio.get_running_loop().time()
        self.observed.append((now, instance.id, what, full))
        if health.standing is not instance.health.standing:
            self.standings.append((now, health.standing))
        instance.health = health


async def tick_until(monitor, end, *, every=1.0):
    """Tick at each `every` seconds of loop time, up to and with `end`."""
    loop = asyncio.get_running_loop()
    while loop.time() + every <= end + 1e-6:
        await asyncio.sleep(every)
        monitor.tick(loop.time())
    await asyncio.sleep(0)  # what the last one started begins
