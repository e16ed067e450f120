"""Keeps as many instances of a server as there should be.

Level-based: `_look_after` compares what there is with what there should be and does the difference. It starts
what is missing, drains what is too much, ends what hangs or has drained. It runs when something happened,
and never waits: starts and stops are tasks of their own. What fails is started again at once the first time,
then with growing pauses; what only a person can mend is looked at again now and then.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import structlog

from fairlead.core.lifecycle import InstanceState
from fairlead.core.restart import RestartState
from fairlead.kit.tasks import Tasks
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.model.fleet import ServerSpec
from fairlead.model.status import ServerState
from fairlead.orchestrator.instance import MCPServerInstance, PoolKey
from fairlead.orchestrator.members import is_hung
from fairlead.orchestrator.nursery import Nursery
from fairlead.orchestrator.pool_state import COMING

if TYPE_CHECKING:
    from fairlead.orchestrator.pool import ServerPool

MAX_STARTS: Final = 4  # of one server at a time
MOST_OF_ALL: Final = 2  # times maxInstances: the ready, the coming and those that hang, together
CRASH_LOOP: Final = 3  # failures in a row from which on it is called by its name
HOLD: Final = 5.0  # s until the next start of what failed, for which calls are held
BLOCKED_RETRY: Final = 30.0  # s
SHORTEST_PAUSE: Final = 0.001  # s; a timer that is due a little early must not spin
BLOCKING: Final = frozenset(
    {
        "command-not-found",
        "integrity-mismatch",
        "lock-invalid",
        "missing-credential",
        "missing-secrets",
        "no-entry",
        "node-not-found",
        "not-executable",
        "not-launchable",
        "package-invalid",
        "package-not-found",
        "package-unsupported",
        "sandbox-unavailable",
        "version-not-found",
    }
)
"""Problems that only a person can mend."""
NEEDS_SECRET: Final = frozenset({"missing-credential", "missing-secrets"})
"""Of those, what is no fault of the spec."""

LOG = structlog.get_logger("fairlead.pool")


class Keeper:
    """Looks after the instances of one pool, from `start` to `stop`."""

    def __init__(self, pool: ServerPool, nursery: Nursery, tasks: Tasks) -> None:
        self.target = 1  # instances that belong to nobody
        self.wanted = False
        self.empty = asyncio.Event()  # nothing is wanted, and nothing is left
        self.not_before = 0.0  # loop time of the next start
        self._pool = pool
        self._nursery = nursery
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._tender: asyncio.Task[None] | None = None
        self._starts: dict[asyncio.Task[None], PoolKey] = {}
        self._ending: set[MCPServerInstance] = set()
        self._restart = RestartState()
        self._took_too_long = False  # the last start that failed
        self._rng = random.Random()  # noqa: S311 - jitter, no secret

    def __repr__(self) -> str:
        return f"<Keeper wanted={self.wanted} target={self.target} starting={len(self._starts)}>"

    # -- wanting -----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Want instances, with a clean record."""
        self.wanted = True
        self.empty.clear()
        self.forgive()
        self._tend_on()

    def finish(self) -> None:
        """Want nothing any more; what runs may finish its calls."""
        self.wanted = False
        self._tend_on()

    def _tend_on(self) -> None:
        if self._tender is None or self._tender.done():
            self._tender = self._tasks.spawn(self._tend(), f"tend {self._pool.spec.id}")
        self._wake.set()

    def give_up(self) -> list[asyncio.Task[None]]:
        """Want nothing, and start nothing more: the starts of now, which have been cancelled."""
        self.wanted = False
        tender, self._tender = self._tender, None
        tasks = [*self._starts, *([tender] if tender is not None else [])]
        for task in tasks:
            task.cancel()
        return tasks

    def forgive(self) -> None:
        """Forget earlier failures."""
        self._restart, self.not_before, self._took_too_long = RestartState(), 0.0, False

    def wake(self) -> None:
        """Something happened."""
        self._wake.set()

    def coming(self) -> int:
        """How many instances of the present version are on their way."""
        return sum(1 for key in self._starts.values() if key == self._pool.members.key)

    # -- tending -----------------------------------------------------------------------------------------

    async def _tend(self) -> None:
        while self.wanted or len(self._pool.members):
            self._wake.clear()
            try:
                pause = self._look_after(self._loop.time())
            except Exception as error:  # whatever one server makes of us, it is tended on
                LOG.error("tending failed", server=self._pool.spec.id, exc_info=error)
                pause = 1.0
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                pass
        self.empty.set()
        self._pool.emptied()

    def _look_after(self, now: float) -> float | None:
        """Do the difference; in how many seconds a new look is worth it by itself."""
        pool, members = self._pool, self._pool.members
        for instance in members.leaving():
            if not instance.calls_in_flight and not self._has_tasks(instance):
                self._end(instance)
        if not self.wanted:
            return None
        ready = members.ready()
        staying = [i for i in ready if not is_hung(i) and not i.retiring]
        free = [i for i in staying if i.leased_to is None]
        coming = self.coming()
        maximum = pool.exclusive.left_of(pool.spec.scaling.max_instances)
        room = maximum - len(staying) - coming
        missing = min(self.target - len(free) - coming, room)
        if missing > 0:
            allowed = MOST_OF_ALL * maximum - len(ready) - coming
            if allowed <= 0 and not coming:
                hung = sum(map(is_hung, ready))
                pool.shown.lacks("Hung", f"{hung} instances hang with calls; others start when these end")
            return self._start_some(min(missing, allowed), coming, now)
        pool.shown.lacks_nothing()
        if len(free) >= self.target:
            self.drain([i for i in ready if i.retiring and i.leased_to is None])
        if not coming:
            surplus = sorted(free, key=lambda i: (i.in_flight, -(i.ready_at or 0.0)))
            self.drain(surplus[: max(0, len(free) - self.target, -room)])
        nobody = pool.exclusive.idle and not (self.target or coming or members.leases)
        if nobody and pool.state in (ServerState.READY, *COMING):
            pool.became_idle()
        return None

    def retire(self, instance: MCPServerInstance) -> None:
        """Let it go when another one has taken its place; one that not all share, right after its calls."""
        instance.retiring = True
        self.drain([instance] if instance.exclusive or instance.leased_to is not None else ())
        self._pool.call_all_waiting()  # the session gets another one
        self._wake.set()

    def drain(self, instances: Iterable[MCPServerInstance]) -> None:
        """Let them finish their calls, and end."""
        for instance in list(instances):
            calls = instance.calls_in_flight
            if instance.state is InstanceState.READY:
                LOG.info("instance drains", instance=instance.id, calls=calls)
            self._pool.members.drain(instance)
            if not calls and not self._has_tasks(instance):
                self._end(instance)
        self._pool.refresh()

    def _has_tasks(self, instance: MCPServerInstance) -> bool:
        """Whether it stays for its tasks, which nobody else knows; only while the server is wanted."""
        return self.wanted and not is_hung(instance) and instance.has_tasks(self._loop.time())

    def _end(self, instance: MCPServerInstance) -> None:
        if instance in self._ending:
            return
        if is_hung(instance):
            self._pool.members.unlease(instance)
            self._pool.died(instance, "hung: it did not answer its health checks", "")
        self._ending.add(instance)
        self._tasks.spawn(self._ended(instance), f"end {instance.id}")

    async def _ended(self, instance: MCPServerInstance) -> None:
        try:
            await instance.stop()
        finally:
            self._ending.discard(instance)
            self._wake.set()

    # -- starting ----------------------------------------------------------------------------------------

    def _start_some(self, missing: int, coming: int, now: float) -> float | None:
        if now < self.not_before:
            return max(SHORTEST_PAUSE, self.not_before - now)
        at_a_time = 1 if self._restart.failures > 1 else MAX_STARTS
        pool = self._pool
        for _ in range(min(missing, at_a_time - coming)):
            task = self._tasks.spawn(self._start_one(pool.spec, pool.members.key), f"start {pool.spec.id}")
            self._starts[task] = pool.members.key
            task.add_done_callback(self._started)
        return None

    def _started(self, task: asyncio.Task[None]) -> None:
        del self._starts[task]
        self._wake.set()

    async def _start_one(self, spec: ServerSpec, key: PoolKey) -> None:
        """Start one more instance; what goes wrong becomes the server's condition."""
        state, since = self._pool.shown, self._loop.time()
        try:
            state.say_coming(ServerState.INSTALLING, "Installing", "installing")
            newcomer = await self._nursery.bring_up(
                spec,
                key,
                launching=lambda: state.say_coming(ServerState.STARTING, "Starting", "starting"),
            )
        except ProblemError as error:
            self._could_not_start(error.problem, key, since)
        except Exception as error:  # a fault of ours ends one start, not the tending
            LOG.error("start failed", server=spec.id, exc_info=error)
            self._could_not_start(internal_problem(error), key, since)
        else:
            if self._wants(key):
                self._pool.welcome([newcomer])
            else:  # the spec has changed meanwhile, or nothing is wanted any more
                await asyncio.shield(newcomer.instance.stop())

    def _wants(self, key: PoolKey) -> bool:
        return self.wanted and key == self._pool.members.key

    def _could_not_start(self, problem: Problem, key: PoolKey, since: float) -> None:
        if not self._wants(key):
            return
        pool, state = self._pool, self._pool.shown
        blocked = problem.code in BLOCKING
        delay = self.failed(since)
        self._took_too_long = problem.code == "start-timeout"
        if blocked:
            delay = BLOCKED_RETRY
            self.not_before = self._loop.time() + delay
        log = LOG.debug if problem.detail in state.message else LOG.warning
        log("server cannot start", server=pool.spec.id, problem=problem.code, detail=problem.detail)
        reason = self.failing_reason("StartFailed")
        if pool.members.ready():
            state.lacks(reason, self.failing_text(problem.detail, delay))
            return
        if blocked:
            why = "NeedsSecret" if problem.code in NEEDS_SECRET else "Blocked"
            state.set(ServerState.BLOCKED, why, problem.detail)
        elif self._restart.failures > 1 or self._took_too_long:
            state.set(ServerState.FAILED, reason, self.failing_text(problem.detail, delay))
        else:
            state.set(ServerState.STARTING, "StartFailed", f"{problem.detail}; starting again")
        pool.call_all_waiting()

    def failed(self, since: float, *, ran_for: float = 0.0, answers: int = 0) -> float:
        """An instance failed that came up, or whose start began, at `since`; s until the next start."""
        now, before = self._loop.time(), self._restart
        self._restart = before.failed(now, since=since, ran_for=ran_for, answers=answers)
        if self._restart is not before:
            self.not_before = now + self._restart.delay(self._rng)
        return max(0.0, self.not_before - now)

    def holds(self, now: float, until: float) -> bool:
        """Whether calls that may wait `until` then are held for the next start of what failed."""
        return not self._took_too_long and self.not_before <= min(now + HOLD, until)

    def failing_reason(self, once: str) -> str:
        """CamelCase: what failed, or that it fails again and again."""
        return once if self._restart.failures < CRASH_LOOP else "CrashLoop"

    def failing_text(self, detail: str, delay: float) -> str:
        """What is wrong, and if it happens again and again, that too."""
        failures = self._restart.failures
        if failures < CRASH_LOOP:
            return detail
        return f"{detail}; crash loop: {failures} failures in a row, next start in {delay:.1f} s"


def first_target(spec: ServerSpec) -> int:
    """One first start fills the catalogue, even of a server that may go idle."""
    return max(1, spec.scaling.min_instances)


def internal_problem(error: Exception) -> Problem:
    """A fault of ours."""
    detail = f"the gateway failed to tend it ({type(error).__name__}); its log has more"
    return Problem("internal", "Internal error", detail, 503, Fault.GATEWAY)
