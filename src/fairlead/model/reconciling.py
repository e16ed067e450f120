"""What a reconciliation works on: objects with three versions, and what is known of an application.

An *object* is one thing that a target keeps: `fleet`, or a file by its path below the target's root. It has
a *document*: JSON data, whatever its format is. Text is a document, too: `{"": text}`, or where it has
managed blocks, `{name: text}` of those. A *key* is the path to a place in a document, see `core.overrides`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from fairlead.model.gitops import DriftKind, Environment, Policy, Severity

Key = tuple[str, ...]

EXECUTABLE: Final[Key] = ("[executable]",)
"""In a difference, or an edit: whether a file may be executed. It stands in no document."""


class Format(StrEnum):
    """How an object is written. What is none of the others is `text`."""

    JSON = "json"  # comments and trailing commas are understood, and kept
    YAML = "yaml"
    TOML = "toml"
    MARKDOWN = "markdown"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Desired:
    """An object as Git says it should be. Placeholders are as they were written."""

    id: str
    format: Format
    content: bytes = field(repr=False)
    document: Mapping[str, Any] = field(repr=False)
    executable: bool = False  # a file's mode: 0755, else 0644
    whole: bool = False  # Git owns all of it; else only the keys that it says, or has said


@dataclass(frozen=True, slots=True)
class Rendered:
    """All objects of an application at one commit."""

    commit: str
    digest: str  # of everything in it: equal digests are equal objects
    objects: Mapping[str, Desired]
    author: str = ""  # of the commit: who may not approve it


@dataclass(frozen=True, slots=True)
class Base:
    """What was applied to an object last. `commit` is where it came from."""

    object: str
    commit: str
    content: bytes = field(repr=False)
    document: Mapping[str, Any] = field(repr=False)
    executable: bool | None = None  # None: nothing is applied yet


@dataclass(frozen=True, slots=True)
class Live:
    """What is there now. `tag` names this state of it: what is written over must still have it."""

    object: str
    tag: str
    content: bytes = field(repr=False)
    document: Mapping[str, Any] = field(repr=False)
    problem: str = ""  # why it could not be read, for a person; then nothing is written over it
    by: Mapping[str, str] = field(default_factory=dict)  # dotted key -> who changed it, where that is known
    executable: bool = False


class Case(StrEnum):
    """What the three versions of a place in a document say."""

    DEPLOY = "deploy"  # Git changed it: L = B, D differs
    DRIFT = "drift"  # somebody else did: D = B, L differs
    CONFLICT = "conflict"  # both did, in different ways
    ADOPT = "adopt"  # nothing was applied yet, and what is there differs from D


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where the versions differ; `core.overrides.ABSENT` where one has nothing.

    An empty key is the object itself.
    """

    object: str
    key: Key
    case: Case
    base: Any
    live: Any
    desired: Any


class DriftState(StrEnum):
    OPEN = "open"  # will be dealt with, or waits for its window
    HELD = "held"  # a person holds it
    PROPOSED = "proposed"  # Git was asked to take it
    CONFLICT = "conflict"  # waits for a person
    UNCOMMITTED = "uncommitted"  # an edit in a checkout that is only observed


@dataclass(frozen=True, slots=True)
class DriftRow:
    """One thing that is not as Git says. Values are shortened, and never hold what came from a secret."""

    application: str
    object: str
    key: str  # dotted, empty for the whole object
    kind: DriftKind
    severity: Severity
    state: DriftState
    base: str | None  # as JSON; None where there is nothing
    live: str | None
    desired: str | None
    since: float  # Unix time, s
    by: str = ""  # who changed it, if that is known
    message: str = ""  # for a person, where there are no three versions: a tool's version, an instance


@dataclass(frozen=True, slots=True)
class Symptom:
    """How a target runs otherwise than it should, though what it was told is right. Becomes a `DriftRow`."""

    object: str
    key: str  # dotted, empty for the whole object
    severity: Severity
    live: str | None  # as JSON
    desired: str | None
    message: str


class Reason(StrEnum):
    """Why an application is not Ready: the closed list of its conditions' reasons."""

    SYNCED = "Synced"
    PROGRESSING = "Progressing"
    DRIFTED = "Drifted"
    CONFLICT = "Conflict"
    OBSERVED = "Observed"
    SUSPENDED = "Suspended"
    HELD = "Held"
    WINDOW_CLOSED = "WindowClosed"
    AWAITING_APPROVAL = "AwaitingApproval"
    AWAITING_PRUNE = "AwaitingPrune"
    BLOCKED_COMMIT = "BlockedCommit"
    SOURCE_AWAY = "SourceAway"
    SOURCE_REFUSED = "SourceRefused"  # unsigned, forbidden content, wrong credentials
    HISTORY_REWRITTEN = "HistoryRewritten"
    INVALID_CONFIG = "InvalidConfig"
    TARGET_AWAY = "TargetAway"
    TARGET_REFUSED = "TargetRefused"
    OBJECT_REFUSED = "ObjectRefused"  # one of them cannot be read or written; the others are
    UNHEALTHY = "Unhealthy"
    STORE_AWAY = "StoreAway"
    NO_REPOSITORY = "NoRepository"
    NO_COMMIT = "NoCommit"
    DETACHED_HEAD = "DetachedHead"
    SHALLOW_CLONE = "ShallowClone"
    LINKED_WORKTREE = "LinkedWorktree"
    FOREIGN_OWNER = "ForeignOwner"
    FAULT = "Fault"  # of Fairlead's own


@dataclass(frozen=True, slots=True)
class Hold:
    """Nothing is written below `path` (a pattern) until then."""

    application: str
    path: str
    by: str
    reason: str
    until: float  # Unix time, s


class DeploymentState(StrEnum):
    """See `core.rollout` for the moves between them."""

    PENDING = "pending"
    RUNNING = "running"
    WAITING = "waiting"  # for approval, a window, or agreement to a removal
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # nothing was changed, or what was could not be taken back: the message says which
    ROLLED_BACK = "rolled-back"
    SUPERSEDED = "superseded"  # a newer commit came
    CANCELLED = "cancelled"


class DeploymentReason(StrEnum):
    COMMIT = "commit"
    HEAL = "heal"  # drift
    MANUAL = "manual"
    PROMOTION = "promotion"
    ROLLBACK = "rollback"


class StepName(StrEnum):
    """Of a deployment, in this order; the last one only after a failure."""

    FETCH = "fetch"
    VERIFY = "verify"
    PLAN = "plan"
    GATE = "gate"
    APPLY = "apply"
    HEALTH = "health"
    FINISH = "finish"
    ROLL_BACK = "roll-back"


@dataclass(frozen=True, slots=True)
class Step:
    """`ended` is None while it runs; `error` is empty where all went well. Times are Unix time, s."""

    name: StepName
    started: float
    ended: float | None = None
    message: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Deployment:
    """One change of a target, from why to how it ended."""

    id: str
    application: str
    environment: Environment
    commit: str
    previous: str | None  # the commit that was applied before
    reason: DeploymentReason
    actor: str
    state: DeploymentState
    created: float  # Unix time, s
    author: str = ""  # of the commit: who may not approve it
    ended: float | None = None
    steps: tuple[Step, ...] = ()
    difference: str = ""  # for people: a unified difference, bounded
    approved_by: tuple[str, ...] = ()
    message: str = ""
    revision: int = 0  # grows with each change of this row


@dataclass(frozen=True, slots=True)
class Blocked:
    """A commit that is not applied to an application again."""

    application: str
    commit: str
    at: float
    reason: str


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a person has decided for one place: `remote`, `local` or `merge`."""

    object: str
    key: Key
    take: Policy


@dataclass(frozen=True, slots=True)
class ApplicationState:
    """What is kept of an application between starts. `revision` grows with each change of the row."""

    name: str
    seen: str | None = None  # the newest commit that was looked at
    applied: str | None = None  # the commit that the bases are of, once it was healthy
    applied_digest: str | None = None  # of `Rendered`
    target_generation: int | None = None  # of the fleet that has it
    suspended_by: str | None = None
    suspended_at: float | None = None
    proposal: str | None = None  # the branch that Git is asked to take
    resolutions: tuple[Resolution, ...] = ()  # until the next commit or heal is applied
    revision: int = 0


class IntentState(StrEnum):
    PLANNED = "planned"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Intent:
    """A row of the write-ahead journal: what is about to be written to one object in one wave.

    `content` is JSON: what is written, what brings it back, and the base afterwards, see `gitops.journal`.
    """

    deployment: str
    object: str
    order: int  # the wave's number: lower ones are written first
    content: bytes = field(repr=False)
    state: IntentState = IntentState.PLANNED
