"""One look at one application: what it joins, what is asked of it, and what the steps find."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fairlead.core.overrides import Key
from fairlead.core.rules import Rules
from fairlead.core.summary import Finding
from fairlead.gitops.planning import Plan, Versions
from fairlead.model.gitops import Application
from fairlead.model.reconciling import (
    ApplicationState,
    Base,
    Blocked,
    Deployment,
    DeploymentReason,
    DriftRow,
    Hold,
    Live,
    Rendered,
    Resolution,
)
from fairlead.ports.gitops import GitSource, Snapshot, Target


@dataclass(frozen=True, slots=True)
class Subject:
    """An application and what it joins. `generation` counts the versions of its document."""

    application: Application
    source: GitSource
    target: Target
    generation: int = 1

    @property
    def name(self) -> str:
        return self.application.name

    @property
    def is_fleet(self) -> bool:
        return self.application.target.fleet is not None


@dataclass(frozen=True, slots=True)
class Order:
    """What a person asks of an application. Without a commit, the one that is due."""

    actor: str
    reason: DeploymentReason = DeploymentReason.MANUAL
    commit: str | None = None
    confirmed: bool = False  # removals are agreed to
    agreed: frozenset[tuple[str, Key]] | None = None  # those that were shown: object and key; None: any
    deployment: str | None = None  # the id of a pending one that was made for this order
    resolutions: tuple[Resolution, ...] = ()


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a look ends before its last step. `retry` is in seconds; None: something else must change first."""

    finding: Finding
    retry: float | None = None


@dataclass(slots=True)
class Look:
    """What has been found so far. What is not known yet is None or empty."""

    subject: Subject
    state: ApplicationState
    now: float  # Unix time, s
    order: Order | None = None
    unfinished: tuple[Deployment, ...] = ()  # those that have not ended, the newest first
    holds: tuple[Hold, ...] = ()
    blocked: tuple[Blocked, ...] = ()
    bases: Mapping[str, Base] = field(default_factory=dict)
    known: Sequence[DriftRow] = ()  # the drift that was kept last
    rules: Rules | None = None
    head: str | None = None  # the source's, when the look began
    commit: str | None = None
    snapshot: Snapshot | None = None
    rendered: Rendered | None = None
    lives: Mapping[str, Live] = field(default_factory=dict)
    versions: Versions | None = None
    plan: Plan | None = None
    drift: tuple[DriftRow, ...] = ()
    deployment: Deployment | None = None
    findings: list[Finding] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.subject.name

    @property
    def application(self) -> Application:
        return self.subject.application
