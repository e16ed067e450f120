"""A pool over scripted servers, with its parts in reach; with `ticking`, as the orchestrator runs it."""

from __future__ import annotations

import asyncio
import contextlib

from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.model.fleet import LoadBalancing, Scaling, ServerSpec, Sharing
from fairlead.orchestrator.health import HealthMonitor
from fairlead.orchestrator.pool import ServerPool
from fairlead.orchestrator.replies import FutureReply
from support.scripted import ScriptedDriver, ScriptedLauncher, legacy


class Listener:
    def __init__(self):
        self.kinds, self.states, self.messages, self.suspects = [], [], [], []
        self.updates = []  # (uri, whose own instance it is about)

    def catalogue_changed(self, pool, kinds):
        self.kinds.append(kinds)

    def became_suspect(self, pool, instance):
        self.suspects.append(instance)

    def resource_updated(self, pool, uri, key):
        self.updates.append((uri, key))

    def state_changed(self, pool):
        self.states.append(pool.state)
        self.messages.append(pool.shown.message)


class PoolRig:
    """`async with` starts the pool and in the end looks whether any instance is left."""

    def __init__(self, script=None, *, ticking=False, fleet=None, **spec):
        self.driver = ScriptedDriver(script or legacy())
        self.launcher = ScriptedLauncher(self.driver)
        self.listener = Listener()
        self.spec = ServerSpec(**{"id": "s", "command": "x", **spec})
        self.pool = ServerPool(self.spec, fleet or LoadBalancing(), self.launcher, self.listener)
        self._ticking = ticking
        self._ticker = None

    async def __aenter__(self):
        self.pool.start()
        if self._ticking:
            self._ticker = asyncio.create_task(self._tick())
        return self

    async def __aexit__(self, *exc):
        if self._ticker is not None:
            self._ticker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._ticker
        await self.pool.close()
        drivers = (self.driver, *self.launcher.versions.values())
        assert not any(driver.running for driver in drivers), "an instance is left"
        assert self.pool.waiting.called == 0, "who was called has had their turn"

    async def _tick(self):
        monitor = HealthMonitor(lambda: [self.pool])
        try:
            while True:
                await asyncio.sleep(1.0)
                now = asyncio.get_running_loop().time()
                self.pool.tick(now)
                monitor.tick(now)
        finally:
            await monitor.close()

    @property
    def now(self):
        return asyncio.get_running_loop().time()

    @property
    def running(self):
        return len(self.driver.running)

    def changed(self, **spec):
        """Its spec with some parts different."""
        return self.spec.model_copy(update=spec)

    async def ready(self, count=1):
        """The first `count` instances, in the order in which they came."""
        async with asyncio.timeout(100):
            while len(self.pool.members.ready()) < count:
                await asyncio.sleep(0.001)
        return self.pool.members.ready()[:count]

    def link(self, instance):
        """The link of an instance, by which a test plays its server."""
        return next(
            link
            for driver in (self.driver, *self.launcher.versions.values())
            for link in driver.links
            if link.listener is instance
        )

    def send(self, instance, *, timeout=60.0, name="echo"):
        """Send a call; its answer as a future, which need not be looked at."""
        reply = FutureReply()
        reply.future.add_done_callback(lambda future: future.cancelled() or future.exception())
        instance.forward("tools/call", b'{"name":"%b"}' % name.encode(), reply, deadline=self.now + timeout)
        return reply.future


def silent(method="tools/call"):
    """A legacy server that never answers calls."""
    script = legacy()
    return lambda message: [] if message.get("method") == method else script(message)


def problem(code, text="what and how"):
    return ProblemError(Problem(code, "t", text, 503, Fault.UPSTREAM))


def stateful(maximum=4, **spec):
    scaling = Scaling(min_instances=1, max_instances=maximum)
    return PoolRig(sharing=Sharing.SESSION, scaling=scaling, **spec)


class Ears:
    """Hears what an instance tells, and keeps it."""

    def __init__(self):
        self.changed, self.ended, self.failures, self.slow, self.answers = [], [], [], [], 0
        self.started = 0

    def list_changed(self, instance, kind):
        self.changed.append(kind)

    def instance_started(self, instance):
        self.started += 1

    def instance_ended(self, instance, lost):
        self.ended.append(lost)

    def answered(self, instance, number):
        self.answers += 1

    def call_failed(self, instance, reason, *, number, transport):
        self.failures.append((reason, transport))

    def calls_slow(self, instance, numbers):
        self.slow.append(len(numbers))
