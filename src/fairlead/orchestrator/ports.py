"""The small interfaces between a pool and those around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from fairlead.model.fleet import ServerSpec
from fairlead.model.launch import Launch
from fairlead.ports import Driver

if TYPE_CHECKING:
    from fairlead.orchestrator.instance import MCPServerInstance
    from fairlead.orchestrator.pool import ServerPool


class PoolListener(Protocol):
    """Gets what a pool tells of its server."""

    def catalogue_changed(self, pool: ServerPool, kinds: frozenset[str]) -> None: ...

    def state_changed(self, pool: ServerPool) -> None: ...

    def became_suspect(self, pool: ServerPool, instance: MCPServerInstance) -> None:
        """A check or a call says that one of its instances may be ill."""
        ...


class Launcher(Protocol):
    """Turns a spec into something that can be launched: secrets resolved, packages installed."""

    async def prepare(self, spec: ServerSpec) -> Callable[[str], tuple[Launch, Driver]]:
        """A function from an instance id to its launch. Raises ProblemError: what is missing."""
        ...
