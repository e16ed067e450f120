"""What the web app is given: the services behind it, as the small interfaces that it needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from fairlead.core.admission import AdmissionPolicy
from fairlead.core.ratelimit import Gcra
from fairlead.model.request import RoutedRequest
from fairlead.model.status import ServerStatus
from fairlead.orchestrator.metrics import MetricsCollector


class Fleet(Protocol):
    """The running fleet. Whoever names a server that is not in it gets `ProblemError` (`unknown-server`)."""

    @property
    def generation(self) -> int:
        """Counts the fleet specs that were put in force."""
        ...

    def servers(self) -> list[ServerStatus]:
        """All servers of the spec, in its order."""
        ...

    def server(self, server_id: str) -> ServerStatus: ...

    async def start(self, server_id: str) -> ServerStatus: ...

    async def stop(self, server_id: str) -> ServerStatus: ...

    async def restart(self, server_id: str) -> ServerStatus: ...

    async def request(self, request: RoutedRequest) -> dict[str, Any]:
        """The result of one MCP request.

        Raises `ProblemError`, `RpcError` (the server's own error) or `InputRequired`.
        """
        ...


class ConfigService(Protocol):
    """The fleet file in force."""

    def current(self) -> dict[str, Any]:
        """The fleet spec as JSON, placeholders such as `${NAME}` unresolved: it holds no secret."""
        ...

    async def reload(self) -> dict[str, Any]:
        """Read the file now and put it in force; returns what changed.

        Raises `ProblemError` (422) with all that is wrong in `extra["problems"]`.
        """
        ...


@dataclass(frozen=True, slots=True)
class SystemInfo:
    """What does not change while the service runs. `started_at` is Unix time, s."""

    version: str
    started_at: float
    pid: int
    node_id: str
    addresses: Mapping[str, str]  # service -> URL


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that the web app calls. `policy` and `limiter` are asked at each request.

    `limiter` gives the bucket of a principal, shared with the other lane and counted in the event loop's
    time, or None where there is no rate limit.
    """

    fleet: Fleet
    config: ConfigService
    metrics: MetricsCollector
    policy: Callable[[], AdmissionPolicy]
    info: SystemInfo
    limiter: Callable[[str], Gcra | None]
