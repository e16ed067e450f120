"""What REST, the live connection and the command line show of the GitOps controller."""

from __future__ import annotations

from fairlead.model.gitops import DriftKind, Environment, Mode, Policy, Severity
from fairlead.model.reconciling import Case, DeploymentReason, DeploymentState, DriftState, StepName
from fairlead.model.spec_problem import Severity as ProblemSeverity
from fairlead.model.status import Condition, StatusModel


class DriftReport(StatusModel):
    """One thing that is not as Git says."""

    application: str
    object: str
    key: str  # dotted, empty for the whole object
    kind: DriftKind
    severity: Severity
    state: DriftState
    base: str | None = None  # what was applied last, as JSON; null where there was nothing
    live: str | None = None
    desired: str | None = None
    since: float  # Unix time, s
    by: str = ""
    message: str = ""


class DriftStatus(StatusModel):
    """All drift there is, the most severe first."""

    checked: float | None  # when everything was looked at last, Unix time in s
    applications: int
    drift: list[DriftReport]
    by_severity: dict[Severity, int]
    by_kind: dict[DriftKind, int]


class ApplicationReport(StatusModel):
    """One application, as the controller sees it."""

    name: str
    environment: Environment
    source: str
    target: str  # fleet http://..., files /...
    mode: Mode
    commit: str | None = None  # Git's newest that was looked at
    applied: str | None = None  # the one in force
    generation: int  # of the application's document
    observed_generation: int
    conditions: list[Condition]  # Ready, Reconciling, Stalled
    drift: int
    conflicts: int
    suspended: bool
    holds: list[HoldReport]
    blocked: list[BlockedReport]
    deployment: str | None = None  # the latest one's id


class HoldReport(StatusModel):
    path: str
    by: str
    reason: str
    until: float


class BlockedReport(StatusModel):
    commit: str
    at: float
    reason: str


class SyncStatus(StatusModel):
    """How far all applications are."""

    applications: list[ApplicationReport]
    waiting: int  # keys in the queue
    working: int
    failing: int
    lag: float  # s for which the oldest one waits


class StepReport(StatusModel):
    name: StepName
    started: float
    ended: float | None = None
    seconds: float | None = None
    message: str = ""
    error: str = ""


class DeploymentReport(StatusModel):
    id: str
    application: str
    environment: Environment
    commit: str
    previous: str | None = None
    reason: DeploymentReason
    actor: str
    author: str = ""  # of the commit: who may not approve it
    state: DeploymentState
    created: float
    ended: float | None = None
    seconds: float | None = None
    steps: list[StepReport]
    difference: str = ""
    approved_by: list[str]
    message: str = ""
    revision: int = 0  # grows with each change of this


class DeploymentList(StatusModel):
    """Without the differences."""

    deployments: list[DeploymentReport]  # newest first


class SyncTriggered(StatusModel):
    """What was asked for; it goes on by itself."""

    applications: list[str]  # that are looked at, and brought to what Git says
    observed: list[str]  # that are only looked at


class SourceReport(StatusModel):
    """One repository."""

    name: str
    url: str  # without credentials
    branch: str
    head: str | None = None  # the last verified commit
    subject: str = ""
    age: float | None = None  # s since the remote was last seen to be as the mirror
    reason: str = ""  # why it is not fresh, from the closed list of reasons
    message: str = ""


class GitStatus(StatusModel):
    sources: list[SourceReport]
    reason: str = ""  # why the newest gitops.yml is not in force, from the closed list of reasons
    message: str = ""  # where in it, and how to mend it


class CommitReport(StatusModel):
    id: str
    author: str
    time: float
    subject: str
    applied_to: list[str]  # applications that have it in force
    blocked_for: list[str]


class CommitList(StatusModel):
    source: str
    commits: list[CommitReport]


class ToolReport(StatusModel):
    """A declared tool and what is installed."""

    application: str
    tool: str
    wanted: str
    installed: str | None = None
    fits: bool
    message: str = ""


class EnvironmentHealth(StatusModel):
    """Whether the developers' environments and the fleet are as they should be."""

    healthy: bool
    environments: dict[Environment, bool]  # those that have applications
    tools: list[ToolReport]
    applications: list[ApplicationReport]


class Difference3(StatusModel):
    """One place with its three versions, for a person to decide."""

    object: str
    key: str
    case: Case
    action: str  # what a sync does about it: write, propose, merge, wait, hold, defer
    base: str | None = None
    live: str | None = None
    desired: str | None = None
    policy: Policy


class ApplicationDiff(StatusModel):
    """What a sync would do now."""

    application: str
    commit: str | None
    differences: list[Difference3]
    text: str  # unified, for people


class ApplicationList(StatusModel):
    applications: list[ApplicationReport]  # by name


class OwnershipReport(StatusModel):
    """Whether Git is in charge of what the checkout declares, or it is only observed."""

    enabled: bool


class CheckedProblem(StatusModel):
    """One finding; `line` and `column` count from 1."""

    severity: ProblemSeverity
    file: str
    line: int
    column: int
    path: str  # of keys
    message: str
    hint: str = ""


class Validation(StatusModel):
    """What is wrong in documents; warnings among it do not make them invalid."""

    valid: bool
    problems: list[CheckedProblem]
