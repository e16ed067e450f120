"""What REST tells beside the servers themselves: balancing, breakers, checks, the spec and its changes."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from fairlead.model.fleet import Strategy
from fairlead.model.status import BreakerState, Condition, StatusModel


class BreakerScope(StrEnum):
    SERVER = "server"
    INSTANCE = "instance"


class BreakerStatus(StatusModel):
    """One circuit breaker. Counts are those of its window."""

    id: str  # the server's or the instance's
    scope: BreakerScope
    server: str
    state: BreakerState
    calls: int
    failures: int
    slow: int
    opened_total: int
    retry_after: float | None = None  # s until the next trial, while it is open
    reason: str = ""  # why it opened last


class Member(StatusModel):
    """An instance, as its balancer sees it."""

    id: str
    weight: float
    in_rotation: bool
    calls_in_flight: int
    limit: int  # of calls in flight
    pressure: float  # 0 idle, 1 its whole CPU or memory; as last sampled
    calls_total: int


class ServerBalance(StatusModel):
    id: str
    strategy: Strategy
    weight: float
    panicking: bool
    calls_waiting: int
    instances: list[Member]


class CapabilityGroups(StatusModel):
    """The servers that offer a capability. Those in one group have the same tools and share its calls."""

    capability: str
    groups: list[list[str]]


class BalancerStatus(StatusModel):
    strategy: Strategy  # of the servers that have none of their own
    servers: list[ServerBalance]
    capabilities: list[CapabilityGroups]


class CheckResult(StatusModel):
    """One health check that was asked for."""

    server: str
    instance: str
    passed: bool
    seconds: float
    message: str = ""


class Override(StatusModel):
    """A live edit of one key on top of the accepted spec, kept across restarts."""

    key: str  # dotted: servers.filesystem.scaling.maxInstances
    value: Any = None
    removed: bool = False  # the key itself is taken away, as by `fairlead remove`
    was: Any = None  # what the accepted spec had there, None if nothing
    by: str  # the name of the token
    at: float  # Unix time, s


class ServerChange(StatusModel):
    """What a change of the fleet did to one server's sessions."""

    server: str
    sessions: list[str]  # the first characters of their ids


class Change(StatusModel):
    """What putting a spec in force did, or would do. Server ids, in the spec's order."""

    generation: int
    started: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()  # a new version came up, then the old one drained
    adjusted: tuple[str, ...] = ()  # changed without a new process
    stopped: tuple[str, ...] = ()  # drained
    kept: tuple[str, ...] = ()
    sessions_moved: tuple[ServerChange, ...] = ()  # they had an instance of their own, and get a new one
    dropped_overrides: tuple[str, ...] = ()  # keys that the owner changed, too
    dry_run: bool = False
    saved: bool = True  # False: it is in force, but could not be written down, so a restart forgets it


class Owner(StrEnum):
    """Whose the accepted spec is."""

    FILE = "file"
    GITOPS = "gitops"


class Origin(StrEnum):
    """Who asks for a change."""

    LIVE = "live"  # a person: kept as overrides on top of the accepted spec
    GITOPS = "gitops"  # becomes the accepted spec; live edits of other keys stay on top
    GITOPS_WHOLE = "gitops-whole"  # becomes the accepted spec; no live edit stays but those that are named


class FleetStatus(StatusModel):
    """The fleet spec in force and how far the fleet is with it."""

    owner: Owner
    generation: int
    observed_generation: int  # the generation that the servers have settled on
    conditions: list[Condition]  # Ready, Reconciling, Stalled, Kept, LastChange
    overrides: list[Override]
    spec: dict[str, Any]  # in the fleet file's own words, so that it can be sent back


class ToolsetStatus(StatusModel):
    """A toolset: what clients at its endpoint see now."""

    name: str
    description: str
    mode: str  # "search": clients list two tools and find the others through them
    path: str
    servers: list[str]  # those that are enabled, in the fleet's order
    tools: int
    prompts: int
    resources: int
    templates: int
    problems: list[str]  # what of its spec has no effect now, for a person
