"""What the web app is given: the services behind it, as the small interfaces that it needs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from prometheus_client.registry import Collector

from fairlead.access.credentials import Credentials
from fairlead.access.login import Logins
from fairlead.access.roster import Roster
from fairlead.core.admission import AdmissionPolicy
from fairlead.core.overrides import Edit
from fairlead.core.ratelimit import Gcra
from fairlead.model.access import Caller, Grant
from fairlead.model.reports import (
    BalancerStatus,
    BreakerScope,
    BreakerStatus,
    Change,
    CheckResult,
    FleetStatus,
    Origin,
    ToolsetStatus,
)
from fairlead.model.request import RoutedRequest
from fairlead.model.status import ServerStatus
from fairlead.orchestrator.metrics import MetricsCollector
from fairlead.orchestrator.trends import Trends
from fairlead.web.audit import Audit
from fairlead.web.live import Live
from fairlead.web.store_gate import Away, Settled, nothing_to_settle


class Fleet(Protocol):
    """The running fleet. Whoever names what is not in it gets `ProblemError` (404, with the nearest name)."""

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

    async def drain(self, server_id: str, instance_id: str | None) -> ServerStatus:
        """Give it no more calls, and stop it when those that it has have ended.

        Another instance takes the place of an instance; a server stays stopped.
        """
        ...

    async def check_health(self, server_id: str | None) -> list[CheckResult]:
        """Check the server's instances now (None: all servers'), and wait for the outcome."""
        ...

    def balancer_status(self) -> BalancerStatus: ...

    def set_instance_weights(self, weights: Mapping[str, float]) -> None:
        """By the instance's id, all or none; they last as long as the instance."""
        ...

    def breakers(self) -> list[BreakerStatus]:
        """Those of all servers, and of all instances."""
        ...

    def reset_breaker(self, breaker_id: str, scope: BreakerScope | None = None) -> BreakerStatus:
        """Close it and forget what it has counted. Its id is the server's or the instance's.

        Where a server and another one's instance have the same, `scope` must say which (else 409).
        """
        ...

    def toolsets(self, grants: tuple[Grant, ...]) -> list[ToolsetStatus]:
        """All toolsets of the spec, in its order; of those that grants choose, what they leave of them."""
        ...

    async def request(self, request: RoutedRequest) -> dict[str, Any]:
        """The result of one MCP request.

        Raises `ProblemError`, `RpcError` (the server's own error) or `InputRequired`.
        """
        ...


class ConfigService(Protocol):
    """The fleet spec in force: an accepted document, and live edits by key on top of it.

    What is refused (`ProblemError`) has changed nothing: 422 with all that is wrong in `extra["problems"]`,
    409 `change-refused` when a new version of a server does not come up, 503 `starting` before the first
    spec is in force.
    """

    def current(self) -> dict[str, Any]:
        """The fleet spec as JSON, placeholders such as `${NAME}` as they are written."""
        ...

    def status(self) -> FleetStatus:
        """The spec as a document, its generation, and how far the fleet is with it."""
        ...

    @property
    def tag(self) -> str:
        """Another one with each change of the spec in force, its owner or the live edits; never again."""
        ...

    async def replace(
        self,
        document: bytes,
        *,
        expected: str | None,
        dry_run: bool,
        origin: Origin,
        by: str,
        keep: Sequence[str],
        gone: Callable[[], Awaitable[bool]],
    ) -> Change:
        """Put a whole fleet document in force, or say what that would do.

        `expected` is the tag of what it replaces, None for any; another one is refused (412). `keep` are
        keys of live edits that stay such under a whole spec of GitOps, if it has them. `gone` tells
        whether GitOps waits for it no more: then it is not put in force, unless it is already.
        """
        ...

    async def edit(self, edits: Sequence[Edit], *, by: str) -> Change:
        """Put live edits in force, all or none; `by` is the name of the token."""
        ...

    async def drop_overrides(self, keys: Sequence[str] | None) -> Change:
        """Take back the live edits of these (dotted) keys, or all of them. Unknown keys are refused (404)."""
        ...

    async def release(self) -> Change:
        """Take the spec from GitOps: the file owns it again and is put in force."""
        ...

    async def reload(self) -> Change:
        """Read the file now and put it in force. Refused (409 `not-the-owner`) while GitOps owns the spec."""
        ...


class WebMetrics(Protocol):
    """Counts requests, and shows what was counted."""

    live_readers: Callable[[], int]

    def refused(self, reason: str) -> None: ...

    def http(self, route: str, method: str, *, status: int, seconds: float) -> None: ...

    def snapshot(self) -> Collector:
        """What a scrape shows. Called in the event loop."""
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
class BrowserLogins:
    """How browsers are let in. `address` is the base URL under which people reach the pages."""

    logins: Logins
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EveryService:
    """What the web app of any service calls. `policy` and `limiter` are asked at each request.

    `limiter` gives the bucket of a principal, shared with the other lane and counted in the event loop's
    time, or None where there is no rate limit.
    """

    metrics: WebMetrics
    policy: Callable[[], AdmissionPolicy]
    info: SystemInfo
    limiter: Callable[[str], Gcra | None]
    live: Live
    audit: Audit
    roster: Roster | None = None
    away: Away = dict  # what is away, and why: see `store_gate`
    settled: Settled = nothing_to_settle
    browsers: BrowserLogins | None = None

    def is_good(self, caller: Caller) -> bool:
        """Whether a caller's credential still is."""
        return self.policy().identities.is_valid(caller)


@dataclass(frozen=True, slots=True, kw_only=True)
class Services(EveryService):
    """What the orchestrator's web app calls beside that."""

    fleet: Fleet
    config: ConfigService
    metrics: MetricsCollector
    trends: Trends
    credentials: Credentials | None = None
