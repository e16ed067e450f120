"""What is: the observed state of servers and instances, as REST and the command line show it."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


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
    FAILED = "failed"  # could not start or died; tried again with backoff


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
    leased: bool = False
    detail: str = ""


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
    server_name: str | None = None
    server_version: str | None = None
