"""The instances of one server, and how they are kept alive.

A pool is level-based: `_tend` looks at what there is and what there should be, does the difference, and
sleeps until something happens. It keeps `scaling.minInstances` instances warm that belong to nobody. A
`shared` server answers everybody from those. A `session` server holds state, so each session takes a warm
instance as its own (a lease), another one is warmed behind it, and the instance ends with its session;
`scaling.maxInstances` bounds them all.

`pick` is on the hot path: it finds a ready instance without waiting, or says None, and the slow path then
`acquire`s one, which may mean waiting for a start.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Final, Protocol

import structlog

from fairlead.core.lifecycle import ENDED, InstanceState
from fairlead.core.restart import RestartState
from fairlead.kit.tasks import Tasks
from fairlead.mcp.errors import McpError
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.model.fleet import ServerSpec, Sharing
from fairlead.model.launch import Launch
from fairlead.model.status import Condition, ServerState, ServerStatus
from fairlead.orchestrator.catalogue import Catalogue, read_catalogue
from fairlead.orchestrator.instance import MCPServerInstance
from fairlead.ports import Driver, LinkLost

MAX_WAITING: Final = 256  # calls that wait for an instance, per server
SETTLE: Final = 10.0  # s after a start in which clients that list wait for this server
DEBOUNCE: Final = 0.05  # s, before lists that a server calls changed are read again
LONGEST_DEBOUNCE: Final = 5.0  # s, while it calls them changed again and again
LOG = structlog.get_logger("fairlead.pool")


class PoolListener(Protocol):
    """Gets what a pool tells of its server."""

    def catalogue_changed(self, pool: ServerPool, kinds: frozenset[str]) -> None: ...

    def state_changed(self, pool: ServerPool) -> None: ...


class Launcher(Protocol):
    """Turns a spec into something that can be launched: secrets resolved, packages installed."""

    async def prepare(self, spec: ServerSpec) -> Callable[[str], tuple[Launch, Driver]]:
        """A function from an instance id to its launch. Raises ProblemError: what is missing."""
        ...


@dataclass(slots=True)
class Lease:
    """A session's own instance. `used` is loop time in seconds."""

    instance: MCPServerInstance
    used: float


class ServerPool:
    """One server of the fleet."""

    def __init__(self, spec: ServerSpec, launcher: Launcher, listener: PoolListener) -> None:
        self.spec = spec
        self.catalogue = Catalogue()
        self.restarts = 0
        self.last_instance: MCPServerInstance | None = None
        self.settled = asyncio.Event()  # it has shown its lists once, or cannot
        self._launcher = launcher
        self._listener = listener
        self._instances: list[MCPServerInstance] = []
        self._free: list[MCPServerInstance] = []  # ready and nobody's: what `pick` looks at
        self._leases: dict[str, Lease] = {}
        self._waiting: list[asyncio.Future[None]] = []
        self._wake = asyncio.Event()
        self._changed_kinds: set[str] = set()
        self._debounce = DEBOUNCE
        self._read_at = float("-inf")  # loop time, when changed lists were read last
        self._tasks = Tasks(self._task_failed)
        self._tender: asyncio.Task[None] | None = None
        self._wanted = False
        self._number = 0
        self._turn = 0
        self._restart = RestartState()
        self._not_before = 0.0  # loop time
        self._condition = _condition("Ready", reason="NotStarted", message="not started yet")
        self._state = ServerState.STOPPED if spec.enabled else ServerState.DISABLED
        self._rng = random.Random()  # noqa: S311 - jitter, no secret

    def __repr__(self) -> str:
        return f"<ServerPool {self.spec.id} {self._state} {self._instances}>"

    # -- the hot path ------------------------------------------------------------------------------------

    def pick(self, key: str) -> MCPServerInstance | None:
        """A ready instance for the session `key`, at once, or None: then `acquire` may have to wait."""
        if self.spec.sharing is Sharing.SESSION:
            lease = self._leases.get(key)
            if lease is None:
                return None
            lease.used = monotonic()
            return lease.instance
        free = self._free
        if len(free) == 1:
            return free[0]
        if not free:
            return None
        self._turn = (self._turn + 1) % len(free)
        return free[self._turn]

    # -- the slow path -----------------------------------------------------------------------------------

    async def acquire(self, key: str, *, timeout: float) -> MCPServerInstance:  # noqa: ASYNC109
        """A ready instance for the session `key`; waits, bounded, while one starts. Raises ProblemError."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + timeout
        while True:
            instance = self.pick(key) or self._lease(key)
            if instance is not None:
                return instance
            self._require_hope()
            future = loop.create_future()
            self._waiting.append(future)
            try:
                async with asyncio.timeout_at(give_up):
                    await future
            except TimeoutError:
                raise self._problem("not-ready", f"was not ready within {timeout:g} s", retry=1.0) from None
            finally:
                if future in self._waiting:
                    self._waiting.remove(future)

    def _lease(self, key: str) -> MCPServerInstance | None:
        if self.spec.sharing is not Sharing.SESSION or not self._free:
            return None
        instance = self._free.pop(0)
        instance.leased_to = key
        self._leases[key] = Lease(instance, monotonic())
        self._wake.set()
        return instance

    def _require_hope(self) -> None:
        """Waiting makes sense only while an instance may still come."""
        if not self._wanted or self._state in (ServerState.BLOCKED, ServerState.DISABLED):
            raise self._problem("not-running", f"is {self._state}: {self._condition.message}")
        if self._state is ServerState.FAILED:
            raise self._problem("failed", f"cannot start: {self._condition.message}", retry=5.0)
        if self.spec.sharing is Sharing.SESSION and len(self._leases) >= self.spec.scaling.max_instances:
            raise self._problem(
                "no-free-instance",
                f"holds state for each session, and all of its {len(self._leases)} instances belong to "
                "others; end a session, or raise scaling.maxInstances",
                retry=30.0,
            )
        if len(self._waiting) >= MAX_WAITING:
            raise self._problem("too-many-waiting", "starts, and too many calls wait for it", retry=2.0)

    def _problem(self, code: str, what: str, retry: float | None = None) -> ProblemError:
        detail = f"server {self.spec.id!r} {what}"
        return ProblemError(Problem(code, "The server is not available", detail, 503, Fault.UPSTREAM, retry))

    def holds(self, key: str) -> bool:
        """Whether the session has an instance of its own here."""
        return key in self._leases

    async def release(self, key: str) -> None:
        """The session has ended: its instance ends with it."""
        lease = self._leases.pop(key, None)
        if lease is not None:
            await lease.instance.stop()
            self._wake.set()

    def release_idle(self, before: float) -> None:
        """End the leases of principals last used before `before` (loop time) without a call in flight.

        A session's lease lives as long as its session.
        """
        for key, lease in list(self._leases.items()):
            if key.startswith("principal:") and lease.used < before and not lease.instance.in_flight:
                self._tasks.spawn(self.release(key), f"release {lease.instance.id}")

    def expire(self, now: float) -> None:
        """Fail the calls whose deadline has passed."""
        for instance in self._instances:
            instance.expire(now)

    def installing(self, text: str) -> None:
        """How the installation of its package goes on, for those who watch."""
        if self._state is ServerState.INSTALLING:
            self._set(ServerState.INSTALLING, "Installing", text)

    def inherit(self, before: ServerPool) -> None:
        """Take the place of a pool whose spec was edited: what it offered is shown until we know better.

        So a call that comes in between waits for the new instance instead of meeting an unknown name.
        """
        if self.spec.source == before.spec.source and before.settled.is_set():
            self.catalogue = before.catalogue
            self.settled.set()

    def adjust(self, spec: ServerSpec) -> None:
        """A new spec that asks for no other process: in force from the next call on."""
        self.spec = spec
        self._wake.set()

    # -- wanting and tending -----------------------------------------------------------------------------

    def start(self) -> None:
        """Want the server to run; returns at once."""
        if not self._wanted:
            self._wanted = True
            self._restart, self._not_before = RestartState(), 0.0
            self._set(ServerState.STARTING, "Starting", "starting")
            self._tender = self._tasks.spawn(self._tend(), f"tend {self.spec.id}")
            asyncio.get_running_loop().call_later(SETTLE, self.settled.set)

    async def stop(self) -> None:
        """Want nothing, and have nothing: returns when every instance of now has ended.

        Whoever starts the server meanwhile gets new ones; this stop leaves them alone.
        """
        self._wanted = False
        self._free.clear()  # nobody is sent to what is about to end
        self._leases.clear()
        tender, self._tender = self._tender, None
        if tender is not None:
            tender.cancel()
            await asyncio.gather(tender, return_exceptions=True)
        await asyncio.gather(*(instance.stop() for instance in self._instances))
        self._forget_ended()
        if not self._wanted:
            self._set(ServerState.STOPPED, "Stopped", "stopped")

    async def close(self) -> None:
        """Stop for good."""
        await self.stop()
        await self._tasks.close()

    async def _tend(self) -> None:
        while True:
            self._wake.clear()
            try:
                if self._missing() > 0:
                    await self._pause_after_failure()
                    await self._start_one()
                elif self._changed_kinds:
                    await self._read_again()
                else:
                    await self._wake.wait()
            except Exception as error:  # whatever one server makes of us, it is tended on
                LOG.error("tending failed", server=self.spec.id, exc_info=error)
                self._could_not_start(_internal(error), asyncio.get_running_loop().time())

    def _missing(self) -> int:
        room = self.spec.scaling.max_instances - len(self._instances)
        return min(max(1, self.spec.scaling.min_instances) - len(self._free), room)

    async def _pause_after_failure(self) -> None:
        delay = self._not_before - asyncio.get_running_loop().time()
        if delay > 0:
            await asyncio.sleep(delay)

    async def _start_one(self) -> None:
        """Start one more instance and take its lists; what goes wrong becomes the server's condition."""
        started = asyncio.get_running_loop().time()
        try:
            self._say_coming(ServerState.INSTALLING, "Installing", "installing")
            launch_for = await self._launcher.prepare(self.spec)
            self._number += 1
            self._say_coming(ServerState.STARTING, "Starting", "starting")
            instance = MCPServerInstance(*launch_for(f"{self.spec.id}-{self._number}"), self)
            self._instances.append(instance)
            await self._bring_up(instance)
        except ProblemError as error:
            self._could_not_start(error.problem, started)

    async def _bring_up(self, instance: MCPServerInstance) -> None:
        """Start an instance and take its lists; whatever goes wrong, it does not stay behind."""
        try:
            await instance.start(self.spec.timeouts.start)
            self._ready(instance, await read_catalogue(instance, timeout=self.spec.timeouts.start))
        except McpError as error:
            await instance.stop()
            raise ProblemError(
                Problem("lists-unreadable", "Lists unreadable", error.message, 503, Fault.UPSTREAM)
            ) from None
        except Exception:
            await instance.stop()
            raise

    def _say_coming(self, state: ServerState, reason: str, message: str) -> None:
        """Show the way to readiness; what serves, failed or is blocked stays so until something changes."""
        if self._state in (ServerState.INSTALLING, ServerState.STARTING):
            self._set(state, reason, message)

    def _could_not_start(self, problem: Problem, started: float) -> None:
        self._forget_ended()
        now = asyncio.get_running_loop().time()
        blocked = problem.code in BLOCKING
        self._restart = self._restart.failed(now - started)
        delay = BLOCKED_RETRY if blocked else self._restart.delay(self._rng)
        self._not_before = now + delay
        log = LOG.debug if problem.detail == self._condition.message else LOG.warning
        log("server cannot start", server=self.spec.id, problem=problem.code, detail=problem.detail)
        if not self._free and not self._leases:
            state = ServerState.BLOCKED if blocked else ServerState.FAILED
            self._set(state, "Blocked" if blocked else "StartFailed", problem.detail)

    def _ready(self, instance: MCPServerInstance, catalogue: Catalogue) -> None:
        if instance.state is not InstanceState.READY:
            why = instance.lost.reason if instance.lost is not None else instance.state.value
            detail = f"{instance.id} {why} while its lists were read"
            problem = Problem("start-failed", "The server could not start", detail, 503, Fault.UPSTREAM)
            self._could_not_start(problem, asyncio.get_running_loop().time())
            return
        self._free.append(instance)
        self.last_instance = instance
        self._take(catalogue)
        self._set(ServerState.READY, "Ready", self._offer())
        LOG.info("instance ready", instance=instance.id, era=instance.era.value)
        self._wake_waiting()

    def _offer(self) -> str:
        count = len(self.catalogue.items("tools"))
        return "1 tool" if count == 1 else f"{count} tools"

    def _take(self, catalogue: Catalogue) -> None:
        before, self.catalogue = self.catalogue, catalogue
        kinds = frozenset(
            kind
            for kind in before.lists.keys() | catalogue.lists.keys()
            if before.items(kind) != catalogue.items(kind)
        )
        if kinds:
            self._listener.catalogue_changed(self, kinds)

    async def _read_again(self) -> None:
        """A server said that its lists changed. The last good lists stay when they cannot be read."""
        loop = asyncio.get_running_loop()
        often = loop.time() - self._read_at < 4 * self._debounce
        self._debounce = min(2 * self._debounce, LONGEST_DEBOUNCE) if often else DEBOUNCE
        await asyncio.sleep(self._debounce)
        self._read_at = loop.time()
        self._changed_kinds.clear()
        instance = self.last_instance
        if instance is None or instance.state is not InstanceState.READY:
            return
        try:
            self._take(await read_catalogue(instance, timeout=self.spec.timeouts.start))
        except McpError as error:
            LOG.warning("lists unreadable", instance=instance.id, detail=error.message)
        else:
            self._set(ServerState.READY, "Ready", self._offer())

    # -- events of the instances -------------------------------------------------------------------------

    def list_changed(self, instance: MCPServerInstance, kind: str) -> None:
        if instance.leased_to is None or instance is self.last_instance:
            self._changed_kinds.add(kind)
            self._wake.set()

    def instance_ended(self, instance: MCPServerInstance, lost: LinkLost) -> None:
        was_serving = instance in self._free or instance.leased_to is not None
        if instance in self._free:
            self._free.remove(instance)
        if instance.leased_to is not None:
            self._leases.pop(instance.leased_to, None)
        if was_serving and not lost.expected:
            self._died(instance, lost)
        if was_serving:
            self._forget_ended()
        self._wake.set()

    def _died(self, instance: MCPServerInstance, lost: LinkLost) -> None:
        now = asyncio.get_running_loop().time()
        self.restarts += 1
        self._restart = self._restart.failed(now - (instance.ready_at or now))
        self._not_before = now + self._restart.delay(self._rng)
        LOG.warning("instance died", instance=instance.id, reason=lost.reason, stderr=lost.detail[-500:])
        if not self._free and not self._leases:
            self._set(ServerState.STARTING, "Died", f"{lost.reason}; starting again")

    def _forget_ended(self) -> None:
        self._instances = [instance for instance in self._instances if instance.state not in ENDED]

    def _task_failed(self, name: str, error: BaseException) -> None:
        LOG.error("task failed", task=name, exc_info=error)

    def _set(self, state: ServerState, reason: str, message: str) -> None:
        if (state, message) == (self._state, self._condition.message):
            return
        self._state = state
        ready = state is ServerState.READY
        self._condition = _condition("Ready", ready=ready, reason=reason, message=message)
        if state not in (ServerState.INSTALLING, ServerState.STARTING):
            self.settled.set()
        if state in (ServerState.BLOCKED, ServerState.FAILED, ServerState.STOPPED):
            self._wake_waiting()
        self._listener.state_changed(self)

    def _wake_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    # -- being looked at ---------------------------------------------------------------------------------

    @property
    def state(self) -> ServerState:
        return self._state

    @property
    def leases(self) -> int:
        return len(self._leases)

    def status(self) -> ServerStatus:
        spec, last = self.spec, self.last_instance
        server = last.negotiated.server if last is not None and last.negotiated is not None else {}
        return ServerStatus(
            id=spec.id,
            state=self._state,
            message=self._condition.message,
            conditions=[self._condition],
            instances=[instance.status() for instance in self._instances],
            source=spec.source,
            sharing=spec.sharing.value,
            capabilities=list(spec.capabilities),
            weight=spec.weight,
            tools=len(self.catalogue.items("tools")),
            resources=len(self.catalogue.items("resources")),
            prompts=len(self.catalogue.items("prompts")),
            restarts=self.restarts,
            server_name=_text(server.get("name")),
            server_version=_text(server.get("version")),
        )


BLOCKING: Final = frozenset(
    {
        "command-not-found",
        "integrity-mismatch",
        "lock-invalid",
        "missing-secrets",
        "no-entry",
        "node-not-found",
        "not-executable",
        "not-launchable",
        "package-invalid",
        "package-not-found",
        "package-unsupported",
        "version-not-found",
    }
)
"""Problems that only a person can mend; they are looked at again now and then."""

BLOCKED_RETRY: Final = 30.0  # s


def _condition(kind: str, *, reason: str, message: str, ready: bool = False) -> Condition:
    return Condition(type=kind, status=ready, reason=reason, message=message, since=time.time())


def _internal(error: Exception) -> Problem:
    detail = f"the gateway failed to tend it ({type(error).__name__}); its log has more"
    return Problem("internal", "Internal error", detail, 503, Fault.GATEWAY)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
