"""Where instances of one server come into being: launched, negotiated with, their lists read.

What comes out is healthy: it has answered the handshake and every list request. Nothing of what does not make
it stays behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fairlead.core.breaker import Breaker, BreakerPolicy
from fairlead.core.lifecycle import InstanceState
from fairlead.mcp.errors import McpError
from fairlead.mcp.profiles import NOBODY, Profile
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.model.fleet import ServerSpec
from fairlead.orchestrator.catalogue import Catalogue, read_catalogue
from fairlead.orchestrator.instance import InstanceListener, MCPServerInstance, PoolKey
from fairlead.orchestrator.ports import Launcher


@dataclass(frozen=True, slots=True)
class Newcomer:
    """An instance that is ready, and what it offers."""

    instance: MCPServerInstance
    catalogue: Catalogue


class Nursery:
    """Starts instances for one pool. Their numbers go on through all specs, so no id comes twice."""

    def __init__(self, launcher: Launcher, listener: InstanceListener, numbers: Iterator[int]) -> None:
        self._launcher = launcher
        self._listener = listener
        self._numbers = numbers
        self.coming: list[MCPServerInstance] = []  # launched, not yet ready

    def __repr__(self) -> str:
        return f"<Nursery {self.coming}>"

    async def bring_up(
        self,
        spec: ServerSpec,
        key: PoolKey,
        *,
        profile: Profile = NOBODY,
        launching: Callable[[], None] = lambda: None,
    ) -> Newcomer:
        """Start one more instance. Raises ProblemError that says why it did not come up.

        `profile` is what its clients can be asked. `launching` is called when all is there that it needs (its
        package is installed, say).
        """
        launch_for = await self._launcher.prepare(spec)
        launching()
        launch, driver = launch_for(f"{spec.id}-{next(self._numbers)}")
        breaker = Breaker(BreakerPolicy.of(spec.circuit_breaker))
        instance = MCPServerInstance(launch, driver, self._listener, key, breaker, profile=profile)
        self.coming.append(instance)
        try:
            return await _bring_up(instance, timeout=spec.timeouts.start)
        finally:
            self.coming.remove(instance)


async def _bring_up(instance: MCPServerInstance, *, timeout: float) -> Newcomer:  # noqa: ASYNC109
    try:
        await instance.start(timeout)
        catalogue = await read_catalogue(instance, timeout=timeout)
    except McpError as error:
        await asyncio.shield(instance.stop())
        raise _problem("lists-unreadable", f"{instance.id}: {error.message}") from None
    except BaseException:  # cancellation, too: it does not stay behind
        await asyncio.shield(instance.stop())
        raise
    if instance.state is not InstanceState.READY:
        why = instance.lost.reason if instance.lost is not None else instance.state.value
        raise _problem("start-failed", f"{instance.id} {why} while its lists were read")
    return Newcomer(instance, catalogue)


def _problem(code: str, detail: str) -> ProblemError:
    return ProblemError(Problem(code, "The server could not start", detail, 503, Fault.UPSTREAM))
