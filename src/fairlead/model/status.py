"""What is: the observed state of servers and instances, as REST and the command line show it."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from fairlead.model.fleet import Strategy


class StatusModel(BaseModel):
    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)


class ServerState(StrEnum):
    """One word for a server, for people. The conditions say why."""

    DISABLED = "disabled"  # enabled: false
    STOPPED = "stopped"  # somebody stopped it
    BLOCKED = "blocked"  # lacks something that only a person can give: a key, a command
    INSTALLING = "installing"
    STARTING = "starting"
    READY = "ready"
    IDLE = "idle"  # scaled to zero: healthy, and started by the next call
    FAILED = "failed"  # could not start or died; tried again with backoff


class Standing(StrEnum):
    """What the checks say of an instance."""

    HEALTHY = "healthy"
    SUSPECT = "suspect"  # failed a check; it is checked again at once
    UNHEALTHY = "unhealthy"  # is replaced, as soon as its own calls have ended


class BreakerState(StrEnum):
    CLOSED = "closed"  # lets calls through
    OPEN = "open"  # lets none through
    HALF_OPEN = "half-open"  # lets a few through, to see


class Condition(StatusModel):
    """One fact about a server, in the manner of Kubernetes' conditions."""

    type: str  # Ready, Installed, SecretsAvailable
    status: bool
    reason: str  # CamelCase, from a closed list
    message: str  # for a person: what, where, how to mend it
    since: float  # Unix time, s


class InstanceStatus(StatusModel):
    id: str
    state: str
    pid: int | None = None
    protocol_version: str | None = None
    started_at: float | None = None  # Unix time, s
    calls_in_flight: int = 0
    calls_total: int = 0
    memory_bytes: int | None = None
    cpu_cores: float | None = None  # used by its processes, as last sampled
    leased: bool = False
    profile: str = ""  # what it was told that clients can be asked: "elicitation.form,sampling"
    health: Standing = Standing.HEALTHY
    breaker: BreakerState = BreakerState.CLOSED
    in_rotation: bool = False  # gets calls
    weight: float = 1.0
    detail: str = ""


class ContractChange(StatusModel):
    """A tool that is not as the lock file has it."""

    tool: str
    change: str  # changed, or new: not in the lock file
    impact: str  # breaking, review (for a person to look at), safe
    parts: list[str] = []  # what is different: description, inputSchema.properties.path.type
    withheld: bool = False  # not listed, and calls are refused


class ServerStatus(StatusModel):
    id: str
    state: ServerState
    message: str  # one line: "14 tools", "needs TWENTYFIRST_API_KEY"
    conditions: list[Condition]
    instances: list[InstanceStatus]
    source: str  # the package, command or URL
    sharing: str
    capabilities: list[str]
    weight: float
    tools: int = 0
    resources: int = 0
    prompts: int = 0
    restarts: int = 0
    strategy: Strategy = Strategy.RESOURCE_BASED
    breaker: BreakerState = BreakerState.CLOSED
    panicking: bool = False  # so few instances are trusted that all get calls
    wanted_instances: int = 0  # what scaling aims at
    min_instances: int = 1
    max_instances: int = 1
    calls_waiting: int = 0
    contract_changes: list[ContractChange] = []
    revision: str = ""  # of the part of the spec that its processes depend on
    server_name: str | None = None
    server_version: str | None = None
