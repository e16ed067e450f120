"""The fleet spec: which servers there are and how they are run. Frozen data.

Attributes hold plain units: seconds, bytes, cores. The file writes them out (`30s`, `512MiB`, `1 core`), and
so does JSON made of the spec. `FleetFile` is what a file may say; `FleetSpec` is what it means: the file's
`defaults` are filled into every server, and each server has its id and its balancing weight.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field, Strict, ValidationInfo, field_validator

from fairlead.model import placeholders
from fairlead.model.errors import SpecError
from fairlead.model.fleet_values import (
    Count,
    Flag,
    HeaderName,
    HeaderValue,
    Network,
    Origin,
    Package,
    Pattern,
    Percent,
    Port,
    SandboxPath,
    ServerId,
    ShownTemplate,
    Template,
    ToolsetName,
    Url,
    VariableName,
    Weight,
    Word,
)
from fairlead.model.placeholders import Lookup, MissingNames
from fairlead.model.spec_model import SpecModel
from fairlead.model.toolset import Toolset
from fairlead.model.units import Cores, Duration, Size

MAX_ANSWER: Final = 16 * 2**20  # bytes: a longer message is not taken from a server at all


class Sharing(StrEnum):
    """Who may share an instance."""

    SHARED = "shared"  # stateless: any caller, any instance
    SESSION = "session"  # holds state: an instance for each client session (modern era: each principal)


class Resources(SpecModel):
    """What one instance may use."""

    memory: Size = 512 * 2**20
    """Of the whole process tree; an instance over it is ended and started anew."""
    cpu: Cores = 1.0
    """What scaling and balancing measure its CPU by; it is no limit."""
    processes: Annotated[Count, Field(ge=1)] = 1000
    """Of the whole tree, threads included: no more can be started. Where the kernel cannot count them, an
    instance with more processes is ended."""


class Strategy(StrEnum):
    """How calls are spread over instances, and over servers with the same tools."""

    ROUND_ROBIN = "round-robin"  # each in turn
    LEAST_CONNECTIONS = "least-connections"  # the one with the fewest calls in flight
    RESOURCE_BASED = "resource-based"  # calls in flight, CPU and memory
    WEIGHTED = "weighted"  # each in proportion to its weight


Threshold = Annotated[Count, Field(ge=1, le=1000)]


class HealthCheck(SpecModel):
    """How an instance is found to be well. What of it is not said comes from `loadBalancing`."""

    enabled: Flag = True
    path: str = "/health"
    interval: Duration = 30.0
    """Between two full checks: `ping`, or `server/discover` in the modern era."""
    timeout: Duration = 5.0
    """Of a full check."""
    idle_interval: Duration = 5.0
    """An instance that has said nothing for so long is asked whether it lives."""
    idle_timeout: Duration = 2.0
    """For the answer to that; one that is late is asked again at once."""
    retries: Threshold = 3
    """Failed checks in a row until an instance is replaced."""
    recoveries: Threshold = 2
    """Passed checks in a row until it is trusted again."""
    error_patterns: tuple[Pattern, ...] = ()
    """Regular expressions: a result whose text matches one counts as a failure of the server."""


class CircuitBreaker(SpecModel):
    """When an instance, or the whole server, gets no calls for a while."""

    enabled: Flag = True
    window: Duration = 30.0
    """Over which failures and slow calls are counted."""
    minimum_calls: Threshold = 20
    """Fewer calls in the window say nothing about a rate."""
    failure_rate: Percent = 50.0
    """Opens at so many failures among the calls, in percent."""
    slow_call: Duration = 60.0
    """A call is slow from here on, answered or not."""
    slow_rate: Percent = 90.0
    """Opens at so many slow ones among the calls, in percent."""
    consecutive_failures: Threshold = 10
    """Of one instance: opens at so many in a row, however few calls there are."""
    open_for: Duration = 10.0
    """Until it is tried again; longer each time that the trial fails, up to ten times as long."""
    trials: Threshold = 3
    """Calls at a time while it is tried, and successes that close it."""


class CallLimits(SpecModel):
    """How many calls of one server there may be: at a time, in this process; and in a minute."""

    calls_per_instance: Threshold = 64
    calls: Annotated[Count, Field(ge=1)] = 512
    """In flight, over all instances."""
    waiting: Count = 256
    """That wait for an instance; further ones are refused at once."""
    requests_per_minute: Annotated[Count, Field(ge=1)] | None = None
    """Of all callers, over all processes; a sixth of them may come at once. None: as many as come."""


class Scaling(SpecModel):
    """How many instances there may be."""

    enabled: Flag = True
    """Without it there are always `minInstances`."""
    min_instances: Annotated[Count, Field(le=1000)] = 1
    """Kept ready; 0 lets the server go idle."""
    max_instances: Annotated[Count, Field(ge=1, le=1000, validate_default=True)] = 4
    """Also how many sessions at a time may hold an instance of a `sharing: session` server. Those for calls
    that need one of their own kind (see `clientRequests`) count as well, but one that all share always stays:
    with a maximum of 1 there may be one of each."""
    target_calls_in_flight: Threshold = 16
    """Of one instance: more calls than that, and another one is started."""
    target_cpu_utilization: Percent = 70.0
    """Of one instance, in percent of `resources.cpu`: more than that, and another one is started."""
    target_memory_utilization: Percent = 80.0
    scale_down_after: Duration = 60.0
    """Less is needed for so long before an instance goes."""
    idle_after: Duration = 300.0
    """Without a call for so long, a server with `minInstances: 0` has no instance until the next call."""

    @field_validator("max_instances")
    @classmethod
    def _not_below_minimum(cls, value: int, info: ValidationInfo) -> int:
        minimum = info.data.get("min_instances", 0)
        if value < minimum:
            raise SpecError(
                f"maxInstances ({value}) is less than minInstances ({minimum})",
                "lower one or raise the other",
            )
        return value


class ClientRequest(StrEnum):
    """What a server of the legacy era may ask of the client whose call it works on."""

    SAMPLING = "sampling"
    ELICITATION = "elicitation"
    ROOTS = "roots"


class ContractPolicy(StrEnum):
    """What becomes of a tool that is not as the lock file has it, or is not in it at all."""

    SERVE = "serve"  # nothing: it shows in the status
    FLAG = "flag"  # it is served, and people are warned
    WITHHOLD = "withhold"  # it is not listed and cannot be called until `fairlead lock --update`


class Lists(SpecModel):
    """What clients see of the server's lists."""

    grace: Duration = 600.0
    """A server that is away without being stopped, or a list that cannot be read, is shown for so long as it
    was last; `1ms` hides it at once."""


class Timeouts(SpecModel):
    start: Duration = 60.0
    """From launch until the server has answered its first message."""
    call: Duration = 300.0
    """For one request to the server."""
    answer: Duration = 600.0
    """For a client, or its user, to answer what a server asks in the middle of a call."""
    stop: Duration = 2.0
    """Between closing its stdin, SIGTERM and SIGKILL."""


class SandboxMode(StrEnum):
    """Whether a process is confined (Linux, by bubblewrap)."""

    AUTO = "auto"  # as far as the machine can; the condition `Sandboxed` says what it cannot
    REQUIRED = "required"  # it does not start where something of it cannot be had
    OFF = "off"  # it may do what the user may who started Fairlead


class ServerSecurity(SpecModel):
    """What a process may touch. Paths may hold ${NAME}; of those that lie in one another, the inner one
    decides."""

    sandbox: SandboxMode = SandboxMode.AUTO
    """`auto`: as far as the machine can; `required`: not without; `off`. A confined process sees no other
    processes, has a /tmp of its own, and may write nowhere but in its home and where the rest says."""
    network: Literal["host", "none"] = "host"
    read_only: Flag = False
    """`allowedPaths` and folders among its arguments are there to be read only."""
    allowed_paths: tuple[SandboxPath, ...] | None = None
    """Where it may write. Without it: in the folders that its arguments, its environment and
    `workingDirectory` name."""
    denied_paths: tuple[SandboxPath, ...] = ()
    """What it cannot see. The state folder is hidden anyway; so are home folders from a `package`, and the
    usual places of keys in them from a `command`."""


class ServerDefaults(SpecModel):
    """What all servers may have in common."""

    enabled: Flag = True
    deployment_type: Literal["process", "docker", "websocket"] = "process"
    transport: Literal["streamable-http", "sse"] = "streamable-http"
    """How a `url` is spoken to."""
    headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict, repr=False)
    """Sent to a `url`; may hold ${NAME}, ${file:/path} and ${secret:NAME}."""
    environment: dict[VariableName, Template] = Field(default_factory=dict, repr=False)
    """All that a process gets of the environment; may hold ${NAME}, ${file:/path} and ${secret:NAME}. What
    comes out empty is left out."""
    working_directory: ShownTemplate | None = None
    """Of a process; may hold ${NAME}. Without it, a private folder below the state folder."""
    capabilities: tuple[Word, ...] = ()
    """What the server is good for; a request may be routed by capability."""
    sharing: Sharing = Sharing.SHARED
    """`shared`: stateless, any caller may use any instance. `session`: one for each client session."""
    client_requests: tuple[ClientRequest, ...] | None = None
    """What it may ask of clients that can answer. Over stdio in the legacy era such a call has an instance of
    its own; `[]` lets all calls share instances. Default: sampling, elicitation (and roots, where an instance
    belongs to a session). Servers of the modern era need no such care and may always ask."""
    priority: Literal["high", "medium", "low"] = "medium"
    volumes: tuple[str, ...] = ()
    security: ServerSecurity = ServerSecurity()
    resources: Resources = Resources()
    health_check: HealthCheck = HealthCheck()
    circuit_breaker: CircuitBreaker = CircuitBreaker()
    limits: CallLimits = CallLimits()
    lists: Lists = Lists()
    scaling: Scaling = Scaling()
    strategy: Strategy | None = None
    """How its calls are spread over its instances; without it, as `loadBalancing` says."""
    timeouts: Timeouts = Timeouts()
    tool_contracts: ContractPolicy | None = None
    """What becomes of tools that are not as the lock file has them; without it, as `security` says."""


_ONE_SOURCE: dict[str, Any] = {
    "anyOf": [{"required": [source]} for source in ("package", "command", "url", "image")],
    "not": {
        "anyOf": [
            {"required": pair} for pair in (["package", "command"], ["package", "url"], ["command", "url"])
        ]
    },
}


class ServerEntry(ServerDefaults):
    """One server, as the file has it. Exactly one of `package`, `command`, `url` says what it is."""

    model_config = ConfigDict(json_schema_extra=_ONE_SOURCE)

    id: str | None = None
    type: str | None = None
    image: str | None = None
    port: Port | None = None
    package: Package | None = None
    """`npm:@scope/name@version` or `pypi:name==version`, pinned."""
    command: Annotated[ShownTemplate, Field(min_length=1)] | None = None
    """A program that is there already: a path, or a name that is looked up in PATH."""
    url: Url | None = None
    """A server that runs elsewhere."""
    args: tuple[ShownTemplate, ...] = ()
    """What the program is called with; may hold ${NAME}, but no ${file:...} or ${secret:...}."""
    entry: Annotated[Word | None, Field(validate_default=True)] = None
    """Which of the package's commands; without it, the only one or that of the package's own name."""
    credentials: Literal["shared", "principal"] = "shared"
    """`principal`: calls reach the `url` with a credential of their caller's own; `headers` are for lists."""

    @field_validator("credentials")
    @classmethod
    def _of_remote(cls, value: str, info: ValidationInfo) -> str:
        if value == "principal" and info.data.get("url") is None:
            raise SpecError("has `credentials: principal` without a `url`", "only a `url` takes credentials")
        return value

    @field_validator("entry")
    @classmethod
    def _one_source(cls, value: str | None, info: ValidationInfo) -> str | None:
        # A source that is absent here was given and refused, which has its own error.
        given = [name for name in ("package", "command", "url") if info.data.get(name, name) is not None]
        if len(given) > 1:
            raise SpecError(f"says what it is {len(given)} times: {', '.join(given)}", "keep one of them")
        if not given and info.data.get("image") is None:
            raise SpecError(
                "does not say what it is",
                "add one of: package (npm:NAME@VERSION, pypi:NAME==VERSION), command, url",
            )
        return value


class ServerSpec(ServerEntry):
    """One server, defaults filled in."""

    id: ServerId
    weight: Weight = 1.0

    @property
    def source(self) -> str:
        """What it is, for people: the package, command or URL (or, if it has nothing else, the image)."""
        return self.package or self.command or self.url or self.image or ""


class LoadBalancing(SpecModel):
    strategy: Strategy = Strategy.RESOURCE_BASED
    health_check_interval: Duration = 30.0
    """For servers whose `healthCheck` has no `interval`."""
    unhealthy_threshold: Threshold = 3
    """For servers whose `healthCheck` has no `retries`."""
    recovery_threshold: Threshold = 2
    """For servers whose `healthCheck` has no `recoveries`."""
    panic_threshold: Annotated[float, Strict(), Field(ge=0, le=100)] = 50.0
    """When fewer of a server's instances are trusted than this, in percent, all that live get calls."""


class FileLoadBalancing(LoadBalancing):
    weights: dict[str, Weight] = Field(default_factory=dict)
    """By the server's id; 1.0 for those that are not named."""


class AlertChannel(SpecModel):
    type: Literal["webhook", "log"]
    url: Url | None = Field(default=None, repr=False)
    level: str | None = None


class Alerting(SpecModel):
    enabled: Flag = True
    channels: tuple[AlertChannel, ...] = ()


class Retention(SpecModel):
    metrics: Duration = 86400.0
    logs: Duration = 7 * 86400.0
    health: Duration = 30 * 86400.0


class Monitoring(SpecModel):
    enabled: Flag = True
    metrics_port: Port | None = None
    health_dashboard: Flag = True
    alerting: Alerting = Alerting()
    retention: Retention = Retention()


class Authentication(SpecModel):
    enabled: Flag = True
    type: str = "token"


class RateLimiting(SpecModel):
    """How many requests there may be in a minute, over all processes."""

    enabled: Flag = True
    requests_per_minute: Annotated[Count, Field(ge=1)] = 1000
    """Of one principal."""
    burst: Annotated[Count, Field(ge=1)] | None = None
    """How many of them may come at once after a pause; by default a sixth, and 10 at least."""
    total: Annotated[Count, Field(ge=1)] | None = None
    """Of all principals; a sixth of them may come at once. None: as many as come."""


class ResourceLimits(SpecModel):
    """What callers may ask of the gateway."""

    enforced: Flag = True
    max_concurrent_requests: Annotated[Count, Field(ge=1)] = 100
    """Calls in flight, of all callers; for each process."""
    calls_per_principal: Annotated[Count, Field(ge=1)] | None = None
    """Calls in flight of one principal; processes that it uses at the same time share them."""
    max_request_size: Size = 10 * 10**6
    max_answer_size: Annotated[Size, Field(ge=1, le=MAX_ANSWER)] = MAX_ANSWER
    """Of a server's result; a larger one is replaced by an error that says so."""
    rate_limiting: RateLimiting = RateLimiting()


class NetworkPolicies(SpecModel):
    enabled: Flag = True
    allowed_origins: tuple[Origin, ...] = ()
    """Web pages that may call, beside the service's own."""
    denied_ips: tuple[Network, ...] = Field(default=(), alias="deniedIPs")


class Security(SpecModel):
    authentication: Authentication = Authentication()
    network_policies: NetworkPolicies = NetworkPolicies()
    resource_limits: ResourceLimits = ResourceLimits()
    tool_contracts: ContractPolicy = ContractPolicy.FLAG
    """What becomes of tools that are not as the lock file has them: `serve`, `flag` (serve and warn) or
    `withhold`. Of a server without locked contracts, all are served."""


class Performance(SpecModel):
    enable_profiling: Flag = False
    enable_tracing: Flag = False
    optimization: str | None = None


class Profile(SpecModel):
    """How a kind of environment differs."""

    hot_reload: Flag = False
    debug_mode: Flag = False
    verbose_logging: Flag = False
    mock_data: Flag = False
    test_mode: Flag = False
    performance: Performance = Performance()
    security: dict[str, Any] = Field(default_factory=dict)


class Environment(SpecModel):
    active: Flag = False
    replicas: Annotated[Count, Field(ge=1)] = 1
    auto_scale: Flag = False
    high_availability: Flag = False


class Environments(SpecModel):
    development: Environment = Environment()
    staging: Environment = Environment()
    production: Environment = Environment()


class FleetSettings(SpecModel):
    """All but the servers."""

    version: str = "1"
    metadata: dict[str, str] = Field(default_factory=dict)
    monitoring: Monitoring = Monitoring()
    security: Security = Security()
    development: Profile = Profile()
    production: Profile = Profile()
    environments: Environments = Environments()
    toolsets: dict[ToolsetName, Toolset] = Field(default_factory=dict)
    """Views at `/toolsets/{name}/mcp` that show a choice of the servers' tools."""


class FleetFile(FleetSettings):
    """Which MCP servers there are and how they are run."""

    defaults: ServerDefaults = ServerDefaults()
    """What every server has that does not say otherwise; mappings merge, lists replace."""
    servers: dict[ServerId, ServerEntry]
    load_balancing: FileLoadBalancing = FileLoadBalancing()


class FleetSpec(FleetSettings):
    """Everything that a fleet file says, defaults filled in."""

    servers: dict[ServerId, ServerSpec] = Field(default_factory=dict)
    load_balancing: LoadBalancing = LoadBalancing()


@dataclass(frozen=True, slots=True)
class ResolvedServer:
    """A server's parts that may hold placeholders, with their values: secrets, so none shows in the repr."""

    command: str | None = field(repr=False)
    args: tuple[str, ...] = field(repr=False)
    environment: dict[str, str] = field(repr=False)
    url: str | None = field(repr=False)
    headers: dict[str, str] = field(repr=False)
    working_directory: str | None = field(repr=False)
    allowed_paths: tuple[str, ...] | None = field(default=None, repr=False)
    denied_paths: tuple[str, ...] = field(default=(), repr=False)


def resolve_server(spec: ServerSpec, lookup: Lookup) -> ResolvedServer | MissingNames:
    """Fill in what `lookup` has for the names, or say all that it lacks.

    A variable or header whose placeholders come out empty (`${NAME:-}`) is left out.
    """
    missing: list[str] = []

    def filled(text: str) -> str:
        value = placeholders.resolve(text, lookup)
        if isinstance(value, MissingNames):
            missing.extend(value.names)
            return ""
        return value

    def kept(texts: dict[str, str]) -> dict[str, str]:
        pairs = ((name, text, filled(text)) for name, text in texts.items())
        return {name: value for name, text, value in pairs if value or not text}

    allowed = spec.security.allowed_paths
    resolved = ResolvedServer(
        command=filled(spec.command) if spec.command else None,
        args=tuple(filled(arg) for arg in spec.args),
        environment=kept(spec.environment),
        url=filled(spec.url) if spec.url else None,
        headers=kept(spec.headers),
        working_directory=filled(spec.working_directory) if spec.working_directory else None,
        allowed_paths=None if allowed is None else tuple(map(filled, allowed)),
        denied_paths=tuple(map(filled, spec.security.denied_paths)),
    )
    return MissingNames(tuple(dict.fromkeys(missing))) if missing else resolved
