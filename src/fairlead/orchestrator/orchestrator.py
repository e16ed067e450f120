"""MCPOrchestrator: makes the running servers equal to the fleet spec.

`apply` is level-based: it compares the spec with the pools that there are, stops what is gone, replaces what
is different, starts what is new and leaves the rest untouched, calls in flight included. Applying the same
spec twice does nothing.
"""

from __future__ import annotations

import asyncio
import difflib
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

import structlog

from fairlead.mcp.errors import CALL_TIMED_OUT, UPSTREAM_FAILED, McpError
from fairlead.mcp.messages import decode_any
from fairlead.model.errors import Fault, InputRequired, Problem, ProblemError, RpcError
from fairlead.model.fleet import FleetSpec, ServerSpec
from fairlead.model.request import RoutedRequest
from fairlead.model.status import ServerState, ServerStatus
from fairlead.orchestrator.gateway.gateway import Gateway
from fairlead.orchestrator.metrics import MetricsCollector, Outcome
from fairlead.orchestrator.pool import Launcher, ServerPool

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
LEASE_IDLE: Final = 3600.0  # s after which an instance that nobody uses is taken back from its holder


@dataclass(frozen=True, slots=True)
class Applied:
    """What applying a spec did, as server ids in the spec's order."""

    started: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    stopped: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


class MCPOrchestrator:
    """The fleet. Its public methods are what REST, the command line and (later) GitOps call."""

    def __init__(self, launcher: Launcher, gateway: Gateway, metrics: MetricsCollector) -> None:
        self.spec = FleetSpec()
        self.generation = 0
        self._launcher = launcher
        self._gateway = gateway
        self._metrics = metrics
        self._pools: dict[str, ServerPool] = {}
        self._applying = asyncio.Lock()
        self._turn = 0

    def __repr__(self) -> str:
        return f"<MCPOrchestrator generation={self.generation} {list(self._pools.values())}>"

    # -- the spec ----------------------------------------------------------------------------------------

    async def apply(self, spec: FleetSpec) -> Applied:
        """Make the fleet equal to `spec`. Returns when what goes has gone; what comes may still start."""
        async with self._applying:
            old, new = self._pools, spec.servers
            gone = [server for server in old if server not in new]
            changed = [
                server for server in new if server in old and needs_restart(old[server].spec, new[server])
            ]
            kept = [server for server in new if server in old and server not in changed]
            fresh = [server for server in new if server not in old]
            leaving = [old[server] for server in (*gone, *changed)]
            self._pools = {
                server: old[server] if server in kept else ServerPool(new[server], self._launcher, self)
                for server in new
            }
            for server in changed:
                self._pools[server].inherit(old[server])
            for server in kept:
                self._pools[server].adjust(new[server])
            self.spec = spec
            self.generation += 1
            self._gateway.set_limits(spec.security.resource_limits)
            for server in (*fresh, *changed):
                if new[server].enabled:
                    self._pools[server].start()
            if list(new) != list(old) or changed:
                self._gateway.set_pools(self._enabled())
            await asyncio.gather(*(pool.close() for pool in leaving))
            applied = Applied(tuple(fresh), tuple(changed), tuple(gone), tuple(kept))
            LOG.info(
                "spec applied",
                generation=self.generation,
                started=fresh,
                replaced=changed,
                stopped=gone,
                kept=kept,
            )
            return applied

    def _enabled(self) -> list[ServerPool]:
        return [pool for pool in self._pools.values() if pool.spec.enabled]

    async def close(self) -> None:
        """Stop every server; nothing is left running."""
        async with self._applying:
            await asyncio.gather(*(pool.close() for pool in self._pools.values()))

    def tick(self, now: float) -> None:
        """About once a second: deadlines of calls, leases that nobody uses. `now` is loop time."""
        for pool in self._pools.values():
            pool.expire(now)
            pool.release_idle(now - LEASE_IDLE)

    # -- events of the pools -----------------------------------------------------------------------------

    def catalogue_changed(self, pool: ServerPool, kinds: frozenset[str]) -> None:
        self._gateway.catalogue_changed(pool, kinds)

    def state_changed(self, pool: ServerPool) -> None:
        status = pool.status()
        LOG.info("server state", server=status.id, state=status.state.value, message=status.message)

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
        pool = self._pool(server_id)
        if not pool.spec.enabled:
            detail = f"server {server_id!r} is disabled in the fleet file; set `enabled: true` there"
            raise ProblemError(Problem("server-disabled", "Server disabled", detail, 409, Fault.CLIENT))
        pool.start()
        return pool.status()

    async def stop(self, server_id: str) -> ServerStatus:
        """Stop a server until somebody starts it, or the spec is applied with a change to it."""
        pool = self._pool(server_id)
        if pool.spec.enabled:
            await pool.stop()
        return pool.status()

    async def restart(self, server_id: str) -> ServerStatus:
        await self.stop(server_id)
        return await self.start(server_id)

    def _pool(self, server_id: str) -> ServerPool:
        pool = self._pools.get(server_id)
        if pool is not None:
            return pool
        near = difflib.get_close_matches(server_id, self._pools, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; there are: {', '.join(self._pools) or 'none'}"
        detail = f"no server {server_id[:100]!r}{hint}"
        raise ProblemError(Problem("unknown-server", "No such server", detail, 404, Fault.CLIENT))

    # -- one request, routed -----------------------------------------------------------------------------

    async def request(self, request: RoutedRequest) -> dict[str, Any]:
        """Route one MCP request to a server by its id, or by a capability that it offers."""
        if request.method not in ROUTABLE:
            detail = f"{request.method[:100]!r} cannot be routed; these can: {', '.join(sorted(ROUTABLE))}"
            raise ProblemError(Problem("not-routable", "Not routable", detail, 422, Fault.CLIENT))
        pool = self._pool(request.server) if request.server is not None else self._capable(request.capability)
        with self._gateway.counted():
            answer = await self._routed(pool, request)
        if isinstance(answer, dict) and answer.get("resultType") == "input_required":
            raise InputRequired(answer)
        return answer if isinstance(answer, dict) else {"value": answer}

    async def _routed(self, pool: ServerPool, request: RoutedRequest) -> Any:
        stats = self._metrics.calls(pool.spec.id, request.method)
        timeout = request.timeout or pool.spec.timeouts.call
        started = monotonic()
        outcome = Outcome.REFUSED
        try:
            async with asyncio.timeout(timeout):
                instance = await pool.acquire(f"principal:{request.principal}", timeout=timeout)
                instance.require_ear()
                outcome = Outcome.UPSTREAM_FAILED
                raw = await instance.call(request.method, request.params, timeout=timeout + 1)
            outcome = Outcome.OK
            return decode_any(raw)
        except TimeoutError:
            outcome = Outcome.TIMEOUT
            detail = f"{pool.spec.id} did not answer within {timeout:g} s; the request was cancelled"
            raise ProblemError(Problem("timed-out", "Timed out", detail, 504, Fault.UPSTREAM)) from None
        except McpError as refused:
            if refused.code not in (UPSTREAM_FAILED, CALL_TIMED_OUT):
                outcome = Outcome.RPC_ERROR
            raise _as_rest(refused) from None
        finally:
            stats.record(monotonic() - started, outcome)

    def _capable(self, capability: str | None) -> ServerPool:
        able = [pool for pool in self._enabled() if capability in pool.spec.capabilities]
        if not able:
            known = sorted({c for pool in self._enabled() for c in pool.spec.capabilities})
            detail = f"no server offers {str(capability)[:100]!r}; there are: {', '.join(known) or 'none'}"
            raise ProblemError(Problem("unknown-capability", "No such capability", detail, 404, Fault.CLIENT))
        ready = [pool for pool in able if pool.state is ServerState.READY] or able
        self._turn += 1
        return ready[self._turn % len(ready)]


_ADJUSTABLE: Final = {"capabilities", "weight", "priority", "timeouts", "scaling", "health_check"}
"""Parts of a server's spec that its processes do not depend on."""


def needs_restart(old: ServerSpec, new: ServerSpec) -> bool:
    """Whether an edit asks for new processes."""
    return old.model_dump(exclude=_ADJUSTABLE) != new.model_dump(exclude=_ADJUSTABLE)


def _as_rest(refused: McpError) -> Exception:
    if refused.code == CALL_TIMED_OUT:
        return ProblemError(Problem("timed-out", "Timed out", refused.message, 504, Fault.UPSTREAM))
    return RpcError(refused.code, refused.message, refused.tree())
