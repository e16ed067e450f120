"""MCPOrchestrator: makes the running servers equal to the fleet spec.

`apply` is level-based and a transaction: it works out the smallest difference between the spec in force and
the new one, brings up the new versions of what is different, and only when all of them are well does it put
the new spec in force, in one step that nothing can interrupt. What goes finishes its calls, the rest is left
untouched. Applying the same spec twice does nothing.
"""

from __future__ import annotations

import asyncio
import difflib
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from time import monotonic
from typing import Any, Final

import structlog

from fairlead.core.contracts import LockedContracts
from fairlead.core.lifecycle import InstanceState
from fairlead.core.plan import Plan, plan
from fairlead.kit.tasks import Tasks
from fairlead.mcp.errors import CALL_TIMED_OUT, UPSTREAM_FAILED, McpError
from fairlead.mcp.messages import decode_any, encode_json
from fairlead.model.access import Caller, Grant, Role
from fairlead.model.errors import Fault, InputRequired, Problem, ProblemError, RpcError
from fairlead.model.fleet import FleetSpec, LoadBalancing, ServerSpec
from fairlead.model.reports import BalancerStatus, BreakerScope, BreakerStatus, CheckResult, ToolsetStatus
from fairlead.model.request import RoutedRequest
from fairlead.model.status import ServerStatus
from fairlead.orchestrator.apart import Apart, DividedPool
from fairlead.orchestrator.balancer import LoadBalancer, set_weights
from fairlead.orchestrator.contracts import ContractKeeper
from fairlead.orchestrator.gateway.gateway import Gateway
from fairlead.orchestrator.granted_requests import is_granted, may_list, require_granted
from fairlead.orchestrator.health import HealthMonitor
from fairlead.orchestrator.instance import MCPServerInstance
from fairlead.orchestrator.metrics import WORDS, MetricsCollector, Outcome
from fairlead.orchestrator.nursery import Newcomer
from fairlead.orchestrator.pool import ServerPool
from fairlead.orchestrator.ports import Launcher
from fairlead.orchestrator.replies import too_large
from fairlead.orchestrator.revision import pool_key
from fairlead.orchestrator.routed import RoutedCall
from fairlead.orchestrator.scaler import Scaler
from fairlead.orchestrator.server_requests import ServerRequest
from fairlead.ports import NO_RECORDER, CredentialSource, Recorder

LOG = structlog.get_logger("fairlead.orchestrator")
ROUTABLE: Final = frozenset(
    {
        "completion/complete",
        "ping",
        "prompts/get",
        "prompts/list",
        "resources/list",
        "resources/read",
        "resources/templates/list",
        "tools/call",
        "tools/list",
    }
)
"""Methods that `request` sends on. A handshake on a live connection, say, would do harm."""
PREPARED_AT_A_TIME: Final = 8  # instances of new versions that start at once
POOLS_AT_A_TIME: Final = 16
LEASE_IDLE: Final = 3600.0  # s after which an instance that nobody uses is taken back from its holder


@dataclass(frozen=True, slots=True)
class Applied:
    """What applying a spec did, as server ids in the spec's order."""

    started: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()  # a new version came up, then the old one drained
    adjusted: tuple[str, ...] = ()  # without a new process
    stopped: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    sessions_moved: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class MCPOrchestrator:
    """The fleet. Its public methods are what REST, the command line and (later) GitOps call."""

    def __init__(self, launcher: Launcher, gateway: Gateway, metrics: MetricsCollector) -> None:
        self.spec = FleetSpec()
        self.generation = 0
        self._launcher = launcher
        self._gateway = gateway
        self._metrics = metrics
        self._pools: dict[str, ServerPool] = {}
        self._numbers: defaultdict[str, Iterator[int]] = defaultdict(lambda: itertools.count(1))
        self._leaving: set[ServerPool] = set()  # removed; their last calls are finishing
        self._balancer = LoadBalancer()
        self._keeper = ContractKeeper()
        self._monitor = HealthMonitor(self._pools.values, metrics.checked)
        self._scaler = Scaler(self._pools.values)
        self._tasks = Tasks(self._task_failed)
        self._applying = asyncio.Lock()
        self.on_state: Callable[[], None] = lambda: None  # the state of a server has changed
        self.recorder: Recorder = NO_RECORDER
        self.credentials: CredentialSource | None = None  # of principals

    def __repr__(self) -> str:
        return f"<MCPOrchestrator generation={self.generation} {list(self._pools.values())}>"

    # -- the spec ----------------------------------------------------------------------------------------

    async def apply(self, spec: FleetSpec, *, dry_run: bool = False) -> Applied:
        """Make the fleet equal to `spec`, as one transaction. Returns when the new spec is in force.

        A new version of a server that serves comes up first; when one does not, nothing has changed and
        ProblemError (`change-refused`) says why. What is new may still be starting afterwards, and what
        goes finishes its calls.
        """
        async with self._applying:
            steps = plan(_enabled(self.spec), _enabled(spec), same_process=_same_process)
            if dry_run or spec == self.spec:
                if not dry_run:
                    self.spec = spec  # it may say what the other left to the defaults
                return _applied(steps, {server: self._pools[server].leases for server in steps.replaced})
            newcomers = await self._prepare({server: spec.servers[server] for server in steps.replaced})
            return self._commit(spec, steps, newcomers)

    async def _prepare(self, specs: Mapping[str, ServerSpec]) -> dict[str, list[Newcomer]]:
        """Bring up the new versions of those servers that serve, or none. Raises ProblemError."""
        serving = {server: spec for server, spec in specs.items() if self._pools[server].serves}
        gate = asyncio.Semaphore(PREPARED_AT_A_TIME)
        tasks: dict[str, asyncio.Task[list[Newcomer] | Exception]] = {}
        try:
            async with asyncio.TaskGroup() as group:
                for server, spec in serving.items():
                    tasks[server] = group.create_task(_attempt(self._pools[server], spec, gate))
        except BaseException:  # given up: nothing that came up stays
            await asyncio.shield(self._discard(tasks))
            raise
        done = {server: task.result() for server, task in tasks.items()}
        came = {server: new for server, new in done.items() if not isinstance(new, Exception)}
        reasons = {server: _why(failed) for server, failed in done.items() if isinstance(failed, Exception)}
        reasons |= {server: "it died at once" for server, new in came.items() if not all(map(_lives, new))}
        if reasons:
            await self._discard(tasks)
            raise _refused(reasons)
        return came

    async def _discard(self, tasks: Mapping[str, asyncio.Task[list[Newcomer] | Exception]]) -> None:
        for server, task in tasks.items():
            if task.done() and not task.cancelled() and not isinstance(new := task.result(), Exception):
                await self._pools[server].discard([newcomer.instance for newcomer in new])

    def _commit(self, spec: FleetSpec, steps: Plan, newcomers: Mapping[str, list[Newcomer]]) -> Applied:
        """The new spec takes over, in one synchronous step."""
        old, fleet = self._pools, spec.load_balancing
        shown = [server for server, pool in old.items() if pool.spec.enabled]
        for server in [server for server in old if server not in spec.servers]:
            self._remove(old[server])
        moved: dict[str, tuple[str, ...]] = {}
        pools = {
            server: old.get(server) or self._new_pool(new, fleet) for server, new in spec.servers.items()
        }
        old.clear()  # in place: the monitor and the scaler look at the same dict
        old.update(pools)
        same_fleet = fleet == self.spec.load_balancing
        self.spec = spec
        self.generation += 1
        self._balancer.adopt(fleet)
        self._keeper.policy = spec.security.tool_contracts
        self._gateway.set_limits(spec.security.resource_limits)
        for server, new in spec.servers.items():
            pool = pools[server]
            if same_fleet and pool.spec == new and server not in steps.started:
                continue  # thousands that stay take no time
            if not new.enabled:
                pool.disable(new, fleet)
            elif server in steps.started or server in steps.replaced:
                moved[server] = pool.commit(new, fleet, newcomers.get(server, ()))
            else:
                pool.adjust(new, fleet)
            self._gateway.set_rate(pool)
        self._judge_tools()
        if shown != list(_enabled(spec)):
            self._gateway.set_pools(self._enabled())
        self._gateway.set_toolsets(spec.toolsets)
        self._gateway.forget_variants()
        applied = _applied(steps, moved)
        LOG.info("spec applied", generation=self.generation, **asdict(applied))
        return applied

    def _new_pool(self, spec: ServerSpec, fleet: LoadBalancing) -> ServerPool:
        numbers = self._numbers[spec.id]
        if spec.credentials == "principal":
            sources = Apart(self._launcher, self.credentials, self)
            pool: ServerPool = DividedPool(spec, fleet, sources, numbers, keeper=self._keeper)
        else:
            pool = ServerPool(spec, fleet, self._launcher, self, numbers, keeper=self._keeper)
        pool.events.recorder = self.recorder
        return pool

    def _remove(self, pool: ServerPool) -> None:
        """A server that is no longer in the fleet ends after its last answer."""
        self._leaving.add(pool)
        self._gateway.accounts.server(pool.spec.id, None)
        pool.drain()
        self._tasks.spawn(self._removed(pool), f"remove {pool.spec.id}")

    async def _removed(self, pool: ServerPool) -> None:
        await pool.keeper.empty.wait()
        await pool.close()
        self._leaving.discard(pool)

    def _enabled(self) -> list[ServerPool]:
        return [pool for pool in self._pools.values() if pool.spec.enabled]

    async def close(self) -> None:
        """Stop every server; nothing is left running."""
        async with self._applying:
            await self._monitor.close()
            await asyncio.gather(*(pool.close() for pool in (*self._pools.values(), *self._leaving)))
            await self._tasks.close()

    async def tick(self) -> None:
        """About once a second: deadlines, checks, scaling, leases that nobody uses.

        A thousand pools take 30 ms, so calls are let through in between.
        """
        loop = asyncio.get_running_loop()
        for number, pool in enumerate((*self._pools.values(), *self._leaving)):
            try:
                self._look_after(pool, loop.time())
            except Exception as error:  # a fault with one server must not stop the others' deadlines
                LOG.error("looking after a server failed", server=pool.spec.id, exc_info=error)
            if number % POOLS_AT_A_TIME == POOLS_AT_A_TIME - 1:
                await asyncio.sleep(0)

    def _look_after(self, pool: ServerPool, now: float) -> None:
        pool.tick(now)
        pool.release_idle(now - LEASE_IDLE)
        self._monitor.look_at(pool, now)
        self._scaler.look_at(pool, now)

    def _task_failed(self, name: str, error: BaseException) -> None:
        LOG.error("task failed", task=name, exc_info=error)

    async def credentials_changed(self) -> None:
        """Somebody's credential is another one, or gone: what was opened with the old one ends."""
        for pool in list(self._pools.values()):
            if isinstance(pool, DividedPool):
                await pool.recheck()

    # -- events of the pools -----------------------------------------------------------------------------

    def catalogue_changed(self, pool: ServerPool, kinds: frozenset[str]) -> None:
        self._gateway.catalogue_changed(pool, kinds)

    def session_asked(self, pool: ServerPool, key: str, request: ServerRequest) -> None:
        self._gateway.bridge.session_asked(pool, key, request)

    def give_way(self, pool: ServerPool, instance: MCPServerInstance) -> None:
        self._gateway.bridge.give_way(instance)

    def session_told(self, pool: ServerPool, key: str | None, method: str, params: bytes) -> None:
        self._gateway.bridge.session_told(pool, key, method, params)

    def resource_updated(self, pool: ServerPool, uri: str, key: str | None) -> None:
        self._gateway.resource_updated(pool, uri, key)

    def became_suspect(self, pool: ServerPool, instance: MCPServerInstance) -> None:
        self._monitor.check_if_due(pool, instance, asyncio.get_running_loop().time())

    def state_changed(self, pool: ServerPool) -> None:
        status = pool.status()
        LOG.info("server state", server=status.id, state=status.state.value, message=status.message)
        self.on_state()

    def installing(self, package: str, text: str) -> None:
        """The installer tells how a package comes along; those who wait for it show it."""
        for pool in self._pools.values():
            if pool.spec.package == package:
                pool.installing(text)

    # -- servers -----------------------------------------------------------------------------------------

    def servers(self) -> list[ServerStatus]:
        return [pool.status() for pool in self._pools.values()]

    def server(self, server_id: str) -> ServerStatus:
        return self._pool(server_id).status()

    async def start(self, server_id: str) -> ServerStatus:
        """Start a server that is stopped. One that the spec disables is refused."""
        pool = self._enabled_pool(server_id)
        pool.start()
        return pool.status()

    async def stop(self, server_id: str) -> ServerStatus:
        """Stop a server until somebody starts it, or the spec is applied with a change to it."""
        pool = self._pool(server_id)
        if pool.spec.enabled:
            await pool.stop()
        return pool.status()

    async def restart(self, server_id: str) -> ServerStatus:
        """Replace a server's instances by new ones; while it serves, no call is lost.

        Raises ProblemError (`change-refused`) when the new ones do not come up; then the old ones stay.
        """
        pool = self._pool(server_id)
        if not (pool.serves and pool.spec.enabled):
            await self.stop(server_id)
            return await self.start(server_id)
        async with self._applying:
            pool = self._enabled_pool(server_id)  # it may have been changed before it was our turn
            newcomers = await self._prepare({server_id: pool.spec})
            if not pool.keeper.wanted:  # somebody stopped it meanwhile
                await pool.discard([newcomer.instance for newcomer in newcomers.get(server_id, ())])
                return pool.status()
            pool.commit(pool.spec, self.spec.load_balancing, newcomers.get(server_id, ()))
        return pool.status()

    async def drain(self, server_id: str, instance_id: str | None) -> ServerStatus:
        """Let an instance go when another one has taken its place, or stop the server after its calls."""
        pool = self._pool(server_id)
        if instance_id is None:
            if pool.spec.enabled:
                pool.drain()
        elif not pool.retire(instance_id):
            known = ", ".join(instance.id for instance in pool.instances) or "none"
            detail = (
                f"server {server_id!r} has no instance {instance_id[:100]!r} that serves; there are: {known}"
            )
            raise ProblemError(Problem("unknown-instance", "No such instance", detail, 404, Fault.CLIENT))
        return pool.status()

    # -- balancing, health, breakers ---------------------------------------------------------------------

    def balancer_status(self) -> BalancerStatus:
        return self._balancer.status(self._enabled())

    def set_instance_weights(self, weights: Mapping[str, float]) -> None:
        """Weigh instances anew, by id, for as long as they live."""
        set_weights(weights, self._pools.values())

    async def check_health(self, server_id: str | None) -> list[CheckResult]:
        """Check the instances of one server, or of all, now."""
        pools = [self._pool(server_id)] if server_id is not None else self._enabled()
        return await self._monitor.check_now(pools)

    def breakers(self) -> list[BreakerStatus]:
        return [status for pool in self._enabled() for status in pool.breakers()]

    def reset_breaker(self, breaker_id: str, scope: BreakerScope | None = None) -> BreakerStatus:
        """Close a breaker, by the id of its server or instance; `scope` says which, where both have it."""
        found = {
            status.scope: pool
            for pool in self._enabled()
            for status in pool.breakers()
            if status.id == breaker_id and scope in {None, status.scope}
        }
        if len(found) > 1:
            detail = f"a server and an instance are called {breaker_id!r}; add ?scope=server or =instance"
            raise ProblemError(Problem("ambiguous-breaker", "Which breaker?", detail, 409, Fault.CLIENT))
        for pool in found.values():
            status = pool.reset_breaker(breaker_id)
            if status is not None:
                return status
        known = [status.id for status in self.breakers()]
        near = difflib.get_close_matches(breaker_id, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known) or 'none'}"
        detail = f"no circuit breaker {breaker_id[:100]!r}; {hint}"
        raise ProblemError(Problem("unknown-breaker", "No such breaker", detail, 404, Fault.CLIENT))

    def _enabled_pool(self, server_id: str) -> ServerPool:
        pool = self._pool(server_id)
        if pool.spec.enabled:
            return pool
        detail = f"server {server_id!r} is disabled in the fleet spec; set `enabled: true`"
        raise ProblemError(Problem("server-disabled", "Server disabled", detail, 409, Fault.CLIENT))

    def _pool(self, server_id: str) -> ServerPool:
        pool = self._pools.get(server_id)
        if pool is not None:
            return pool
        near = difflib.get_close_matches(server_id, self._pools, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; there are: {', '.join(self._pools) or 'none'}"
        detail = f"no server {server_id[:100]!r}{hint}"
        raise ProblemError(Problem("unknown-server", "No such server", detail, 404, Fault.CLIENT))

    def lock_tools(self, contracts: LockedContracts | None) -> None:
        """Hold tools to these contracts from now on; None: what they should be cannot be read."""
        self._keeper.take(contracts)
        self._judge_tools()

    def _judge_tools(self) -> None:
        for pool in self._pools.values():
            pool.contracts.judge_again()

    def toolsets(self, grants: tuple[Grant, ...] = ()) -> list[ToolsetStatus]:
        return self._gateway.endpoints.toolsets(grants)

    # -- one request, routed -----------------------------------------------------------------------------

    async def request(self, request: RoutedRequest) -> dict[str, Any]:
        """Route one MCP request to a server by its id, or by a capability that it offers."""
        if request.method not in ROUTABLE:
            detail = f"{request.method[:100]!r} cannot be routed; these can: {', '.join(sorted(ROUTABLE))}"
            raise ProblemError(Problem("not-routable", "Not routable", detail, 422, Fault.CLIENT))
        if request.method == "tools/call" and not isinstance(request.params.get("name"), str):
            detail = "tools/call: params.name must be the tool's name, a string"
            raise ProblemError(Problem("not-routable", "Not routable", detail, 422, Fault.CLIENT))
        if request.server is not None:
            require_granted(request, request.server)
        pool = self._pool(request.server) if request.server is not None else self._capable(request)
        with self._gateway.counted(pool, request.principal):
            answer = await self._routed(pool, request)
        if isinstance(answer, dict) and answer.get("resultType") == "input_required":
            raise InputRequired(answer)
        if request.method == "tools/list":
            withheld, server = set(pool.contracts.withheld), pool.spec.id
            answer = _of(answer, lambda tool: tool not in withheld and may_list(request, server, tool))
        return answer if isinstance(answer, dict) else {"value": answer}

    async def _routed(self, pool: ServerPool, request: RoutedRequest) -> Any:
        stats = self._metrics.calls(pool.spec.id, request.method)
        timeout = request.timeout or pool.spec.timeouts.call
        started = monotonic()
        outcome, instance, raw = Outcome.REFUSED, "", b""
        try:
            call = RoutedCall(pool.of(request.principal), request, self._metrics, timeout)
            try:
                async with asyncio.timeout(timeout):
                    raw = await call.result()
            finally:
                instance = call.instance
            if len(raw) > self._gateway.max_answer:
                raise too_large(len(raw), self._gateway.max_answer)
            outcome = Outcome.TOOL_ERROR if b'"isError":true' in raw else Outcome.OK
            return decode_any(raw)
        except TimeoutError:
            outcome = Outcome.TIMEOUT
            detail = f"{pool.spec.id} did not answer within {timeout:g} s; the request was cancelled"
            raise ProblemError(Problem("timed-out", "Timed out", detail, 504, Fault.UPSTREAM)) from None
        except McpError as refused:
            outcome = Outcome.RPC_ERROR
            if refused.code == UPSTREAM_FAILED:
                outcome = Outcome.UPSTREAM_FAILED
            elif refused.code == CALL_TIMED_OUT:
                outcome = Outcome.TIMEOUT
            raise _as_rest(refused.concealed(self._gateway.conceal)) from None
        finally:
            now = monotonic()
            stats.record(now - started, outcome)
            self._gateway.audit.called(
                (
                    now, now - started, request.caller or Caller(request.principal, Role.VIEWER),
                    request.method, pool.spec.id, instance, request.target, WORDS[outcome],
                    encode_json(request.params), len(raw),
                )
            )  # fmt: skip

    def _capable(self, request: RoutedRequest) -> ServerPool:
        tool = request.params.get("name") if request.method == "tools/call" else None
        granted = [pool for pool in self._enabled() if is_granted(request, pool.spec.id)]
        return self._balancer.choose(str(request.capability), tool, granted)


def _enabled(spec: FleetSpec) -> dict[str, ServerSpec]:
    return {name: server for name, server in spec.servers.items() if server.enabled}


def _same_process(old: ServerSpec, new: ServerSpec) -> bool:
    return pool_key(old) == pool_key(new)


def _applied(steps: Plan, moved: Mapping[str, tuple[str, ...]]) -> Applied:
    shown = {server: tuple(map(_shown, keys)) for server, keys in moved.items() if keys}
    return Applied(steps.started, steps.replaced, steps.adjusted, steps.stopped, steps.kept, shown)


def _shown(lease: str) -> str:
    """A session by the first characters of its id, or a principal by its name."""
    kind, _, name = lease.partition(":")
    return name[:8] if kind == "session" else name


def _lives(newcomer: Newcomer) -> bool:
    return newcomer.instance.state is InstanceState.READY


async def _attempt(pool: ServerPool, spec: ServerSpec, gate: asyncio.Semaphore) -> list[Newcomer] | Exception:
    """The instances of a new version, or why there are none: one failure must not cancel the others."""
    try:
        return await pool.prepare(spec, gate)
    except Exception as failed:  # noqa: BLE001 - it is told to whoever asked for the change
        return failed


def _why(failed: Exception) -> str:
    if isinstance(failed, ProblemError):
        return failed.problem.detail
    LOG.error("a new version could not be prepared", exc_info=failed)
    return f"the gateway failed to start it ({type(failed).__name__}); its log has more"


def _refused(reasons: Mapping[str, str]) -> ProblemError:
    lines = [f"{server}: the new version did not come up: {why}" for server, why in reasons.items()]
    detail = "; ".join([*lines, "nothing was changed, the running version stays"])
    extra = {"servers": dict(reasons)}
    return ProblemError(Problem("change-refused", "Change refused", detail, 409, Fault.CLIENT, extra=extra))


def _of(answer: Any, shows: Callable[[str], bool]) -> Any:
    """A list of tools with some of them only: the server lists more than the gateway, or than was granted."""
    tools = answer.get("tools") if isinstance(answer, dict) else None
    if not isinstance(tools, list):
        return answer
    shown = [tool for tool in tools if isinstance(tool, dict) and shows(str(tool.get("name")))]
    return {**answer, "tools": shown}


def _as_rest(refused: McpError) -> Exception:
    if refused.code == CALL_TIMED_OUT:
        return ProblemError(Problem("timed-out", "Timed out", refused.message, 504, Fault.UPSTREAM))
    return RpcError(refused.code, refused.message, refused.tree())
