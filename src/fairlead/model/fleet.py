"""The fleet spec: which servers there are and how they are run. Frozen data.

Attributes hold plain units: seconds, bytes, cores. The file writes them out (`30s`, `512MiB`).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class SpecModel(BaseModel):
    """Base of all parts of the spec: frozen, camelCase in the file, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class Sharing(StrEnum):
    """Who may share an instance."""

    SHARED = "shared"  # stateless: any caller, any instance
    SESSION = "session"  # holds state: an instance for each client session (modern era: each principal)


class Resources(SpecModel):
    memory: int = 512 * 2**20  # bytes, for the whole process tree
    cpu: float = 1.0  # cores


class HealthCheck(SpecModel):
    enabled: bool = True
    interval: float = 30.0  # s
    timeout: float = 5.0  # s
    retries: int = 3


class Scaling(SpecModel):
    min_instances: int = 1
    max_instances: int = 4


class Timeouts(SpecModel):
    start: float = 60.0  # s, from launch to a negotiated era
    call: float = 60.0  # s, for one request to the server
    stop: float = 5.0  # s, between closing stdin, TERM and KILL


class ServerSpec(SpecModel):
    """One server. Exactly one of `package`, `command`, `url` says what it is."""

    id: str
    enabled: bool = True
    package: str | None = None  # npm:@scope/name@version or pypi:name==version
    entry: str | None = None  # which of the package's commands; default: the only or the eponymous one
    command: str | None = None
    args: tuple[str, ...] = ()
    url: str | None = None
    transport: str = "streamable-http"  # or "sse", with `url`
    headers: dict[str, str] = Field(default_factory=dict)  # with `url`; may hold ${NAME}
    environment: dict[str, str] = Field(default_factory=dict)  # may hold ${NAME}
    working_directory: str | None = None
    capabilities: tuple[str, ...] = ()
    sharing: Sharing = Sharing.SHARED
    weight: float = 1.0
    resources: Resources = Resources()
    health_check: HealthCheck = HealthCheck()
    scaling: Scaling = Scaling()
    timeouts: Timeouts = Timeouts()


class RateLimiting(SpecModel):
    enabled: bool = True
    requests_per_minute: int = 1000


class ResourceLimits(SpecModel):
    max_concurrent_requests: int = 100
    max_request_size: int = 10 * 10**6  # bytes
    rate_limiting: RateLimiting = RateLimiting()


class NetworkPolicies(SpecModel):
    allowed_origins: tuple[str, ...] = ()  # beside the service's own
    denied_ips: tuple[str, ...] = Field(default=(), alias="deniedIPs")


class Security(SpecModel):
    network_policies: NetworkPolicies = NetworkPolicies()
    resource_limits: ResourceLimits = ResourceLimits()


class FleetSpec(SpecModel):
    """Everything that a fleet file says, defaults filled in."""

    version: str = "1"
    metadata: dict[str, Any] = Field(default_factory=dict)
    servers: dict[str, ServerSpec] = Field(default_factory=dict)
    security: Security = Security()
