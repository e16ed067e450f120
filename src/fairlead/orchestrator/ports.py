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
    from fairlead.orchestrator.server_requests import ServerRequest


class PoolListener(Protocol):
    """Gets what a pool tells of its server."""

    def catalogue_changed(self, pool: ServerPool, kinds: frozenset[str]) -> None: ...

    def state_changed(self, pool: ServerPool) -> None: ...

    def session_asked(self, pool: ServerPool, key: str, request: ServerRequest) -> None:
        """A server asks the session `key`, whose own instance it is, while it has no call in flight."""
        ...

    def give_way(self, pool: ServerPool, instance: MCPServerInstance) -> None:
        """The call that is parked there gives way to those that wait."""
        ...

    def session_told(self, pool: ServerPool, key: str | None, method: str, params: bytes) -> None:
        """The same of a notification; without a key it belongs to no session."""
        ...

    def resource_updated(self, pool: ServerPool, uri: str, key: str | None) -> None:
        """A resource has changed; `key` is the session that alone hears of it, None is for everybody."""
        ...

    def became_suspect(self, pool: ServerPool, instance: MCPServerInstance) -> None:
        """A check or a call says that one of its instances may be ill."""
        ...


class Launcher(Protocol):
    """Turns a spec into something that can be launched: secrets resolved, packages installed."""

    async def prepare(self, spec: ServerSpec) -> Callable[[str], tuple[Launch, Driver]]:
        """A function from an instance id to its launch. Raises ProblemError: what is missing."""
        ...
