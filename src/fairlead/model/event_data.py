"""What is in the `data` of each type of event, as JSON. Names of states are those of the reports of REST.

`reason` is one line for a person; times are Unix time in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from typing_extensions import TypedDict  # pydantic reads these, and takes no other before Python 3.12

from fairlead.model.events import EventType


class ServerHealthChanged(TypedDict):
    """A server has another state now; `installing` and `starting` count as one."""

    server: str
    before: str
    state: str
    reason: str


class ConfigChanged(TypedDict):
    """Another fleet spec is in force; the lists name servers."""

    generation: int
    by: str  # who changed it
    owner: str
    started: list[str]
    replaced: list[str]
    adjusted: list[str]
    stopped: list[str]


class ServiceStarted(TypedDict):
    """A process of the service serves its clients."""

    node: str
    version: str


class ServiceStopped(TypedDict):
    """A process of the service ends in good order, after `seconds`."""

    node: str
    seconds: float


class ServiceDegraded(TypedDict):
    """Something that the service needs is away; what it is meant for goes on without."""

    part: str  # store, bus
    reason: str


class ServiceRecovered(TypedDict):
    """It is back, after `seconds`."""

    part: str
    seconds: float


class InstanceStarted(TypedDict):
    """An instance was launched; nothing is known of it yet."""

    server: str
    instance: str


class InstanceReady(TypedDict):
    """An instance gets calls; `era` is that of its protocol: legacy, modern."""

    server: str
    instance: str
    era: str


class InstanceEnded(TypedDict):
    """An instance has ended, because that was wanted (`instance-stopped`) or though it was not."""

    server: str
    instance: str
    reason: str
    calls: int  # that were in flight


class BreakerChanged(TypedDict):
    """A circuit breaker: a server's own, or an instance's."""

    server: str
    instance: str  # empty: the server's own
    before: str
    state: str
    reason: str


class ServerScaled(TypedDict):
    """Another number of instances is aimed at."""

    server: str
    before: int
    instances: int
    reason: str


class ChangedTool(TypedDict):
    """A tool that is not as the lock file has it."""

    tool: str
    change: str  # changed, new
    impact: str  # breaking, review, safe


class ContractChanged(TypedDict):
    """Tools are not as locked any more. `tools` has the first of them, `count` says how many they are."""

    server: str
    policy: str
    count: int
    tools: list[ChangedTool]


class AuthenticationFailed(TypedDict):
    """Requests of one address were refused for what they showed, or did not: so many from `since` on."""

    peer: str
    problem: str
    count: int
    since: float


class AccessChanged(TypedDict):
    """A principal, a key, or what one may do."""

    principal: str
    change: str
    by: str


class EventsLost(TypedDict):
    """So many events of these times were not kept: the store was away, and too many waited."""

    count: int
    since: float
    until: float


class DriftDetected(TypedDict):
    """Something is not as Git says; see the rows of drift for the versions."""

    application: str
    object: str
    key: str
    kind: str
    severity: str
    state: str
    by: str
    message: str


class SyncStarted(TypedDict):
    """An application is brought to what Git says at `commit`."""

    application: str
    commit: str
    reason: str
    actor: str


class SyncCompleted(TypedDict):
    """It is over, for good or ill; `changed` counts objects."""

    application: str
    commit: str
    outcome: str
    changed: int
    seconds: float


class DeploymentStarted(TypedDict):
    """A change of a target begins."""

    deployment: str
    application: str
    environment: str
    commit: str
    reason: str
    actor: str


class DeploymentCompleted(TypedDict):
    """It has ended: succeeded, failed, rolled-back, superseded, cancelled."""

    deployment: str
    application: str
    environment: str
    commit: str
    state: str
    message: str
    seconds: float


class DeclarationsChanged(TypedDict):
    """Another commit of a source declares other applications, or others of them; the lists name them."""

    source: str
    commit: str
    added: list[str]
    changed: list[str]
    removed: list[str]


_COMMON: Final[Mapping[EventType, type]] = {
    EventType.SERVICE_STARTED: ServiceStarted,
    EventType.SERVICE_STOPPED: ServiceStopped,
    EventType.SERVICE_DEGRADED: ServiceDegraded,
    EventType.SERVICE_RECOVERED: ServiceRecovered,
    EventType.AUTHENTICATION_FAILED: AuthenticationFailed,
    EventType.ACCESS_CHANGED: AccessChanged,
    EventType.EVENTS_LOST: EventsLost,
}
"""The types that every service has."""

DATA: Final[Mapping[EventType, type]] = {
    **_COMMON,
    EventType.SERVER_HEALTH_CHANGED: ServerHealthChanged,
    EventType.CONFIG_CHANGED: ConfigChanged,
    EventType.INSTANCE_STARTED: InstanceStarted,
    EventType.INSTANCE_READY: InstanceReady,
    EventType.INSTANCE_STOPPED: InstanceEnded,
    EventType.INSTANCE_LOST: InstanceEnded,
    EventType.BREAKER_CHANGED: BreakerChanged,
    EventType.SERVER_SCALED: ServerScaled,
    EventType.CONTRACT_CHANGED: ContractChanged,
}
"""The types of the orchestrator."""

GITOPS_DATA: Final[Mapping[EventType, type]] = {
    **_COMMON,
    EventType.CONFIG_CHANGED: DeclarationsChanged,
    EventType.DRIFT_DETECTED: DriftDetected,
    EventType.SYNC_STARTED: SyncStarted,
    EventType.SYNC_COMPLETED: SyncCompleted,
    EventType.DEPLOYMENT_STARTED: DeploymentStarted,
    EventType.DEPLOYMENT_COMPLETED: DeploymentCompleted,
}
"""Those of the GitOps controller."""
