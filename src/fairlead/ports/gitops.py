"""What the GitOps controller needs of the world. Implementations are found by their shape."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from fairlead.model.reconciling import (
    ApplicationState,
    Base,
    Blocked,
    Deployment,
    DeploymentState,
    DriftRow,
    Hold,
    Intent,
    Key,
    Live,
    Symptom,
)


@dataclass(frozen=True, slots=True)
class Commit:
    """`time` is the committer's, Unix time in s; `trailers` are those of the message's last paragraph."""

    id: str
    author: str  # Name <address>
    time: float
    subject: str
    tree: str
    trailers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a tree: a regular one, or it is refused (`problem`: a symlink, a submodule, too large)."""

    path: str  # from the repository's root
    blob: str
    size: int
    executable: bool
    problem: str = ""


class Snapshot(Protocol):
    """A commit's tree, read from the mirror. Methods take long: they run off the event loop."""

    @property
    def commit(self) -> Commit: ...

    async def tree_id(self, folder: str) -> str | None:
        """The tree's (or blob's) object id, None where there is none: equal ids are equal content."""
        ...

    async def entries(self, folder: str) -> list[Entry]:
        """All files below, by path. Raises ProblemError beyond the bounds of count and depth."""
        ...

    async def read(self, blobs: Sequence[str]) -> list[bytes]: ...


class GitSource(Protocol):
    """One repository's branch, as last verified. `GitRepositoryManager` keeps it fresh."""

    @property
    def name(self) -> str: ...

    @property
    def head(self) -> Snapshot | None:
        """The last verified commit; None before there is one."""
        ...

    @property
    def problem(self) -> tuple[str, str] | None:
        """`(Reason, message for a person)` while fetching or verifying fails; the head stays in force."""
        ...

    @property
    def age(self) -> float | None:
        """Seconds since the remote was last seen to be as the mirror; None if never."""
        ...

    async def snapshot(self, commit: str) -> Snapshot:
        """Another commit. Raises ProblemError where it is not there."""
        ...

    async def log(self, limit: int, *, path: str = "") -> list[Commit]: ...

    async def refresh(self) -> bool:
        """Fetch and verify now; whether the head is another one. Never raises for what is away."""
        ...

    async def propose(self, proposal: Proposal) -> str:
        """Push the branch, open the pull request. Returns a URL or the branch's name. Idempotent.

        Raises ProblemError.
        """
        ...

    async def withdraw(self, branch: str) -> None:
        """Close the pull request and remove the branch, if they are there."""
        ...


@dataclass(frozen=True, slots=True)
class Proposal:
    """A change of files, for Git to take. `None` removes a file."""

    branch: str
    onto: str  # the commit that it was made on
    title: str
    body: str
    files: Mapping[str, bytes | None]
    trailers: Mapping[str, str]
    merge: Mapping[str, Sequence[tuple[Key, Any]]] | None = None
    """By file, the edits that it consists of: carried out anew on a newer commit when the push is refused."""

    modes: Mapping[str, bool] = field(default_factory=dict)
    """Whether a file is to be executable; one that is not named is as it was."""


class Forge(Protocol):
    """Where pull requests of one repository are opened. Every method raises ProblemError."""

    async def propose(self, *, branch: str, onto: str, title: str, body: str) -> str:
        """The URL of the open pull request from one branch to another: the one that is there, or a new."""
        ...

    async def withdraw(self, branch: str) -> None:
        """Close the open pull request from `branch`, if there is one."""
        ...


@dataclass(frozen=True, slots=True)
class Write:
    """What is to become of one object; `content` None removes it.

    Written only if the object still has `tag` (None: there is nothing). `keeps` are keys of live edits, as
    `Live.by` has them, that are in it, and stay somebody's live edits: Git does not say them.
    """

    object: str
    tag: str | None
    content: bytes | None
    document: Mapping[str, Any] | None
    executable: bool = False
    keeps: tuple[str, ...] = ()


class ChangedMeanwhileError(Exception):
    """Somebody else changed the object: look again, decide again."""


class TargetAwayError(Exception):
    """The target cannot be reached now. The message says why, for a person."""


@dataclass(frozen=True, slots=True)
class Health:
    """Of what was applied. `done` is False while it is still on its way."""

    healthy: bool
    done: bool
    message: str


class Target(Protocol):
    """Where objects are.

    Every method raises TargetAwayError, or ProblemError for what waiting does not mend.
    """

    async def read(self, objects: Sequence[str]) -> dict[str, Live]:
        """Those of them that are there."""
        ...

    def normal(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """The document in the spelling that `read` gives: units, defaults. For comparing."""
        ...

    async def check(self, writes: Sequence[Write]) -> str:
        """A dry run: what the writes would do, for a person. Raises ProblemError for what is refused."""
        ...

    async def write(self, write: Write) -> str | None:
        """Carry it out; the new tag. Raises ChangedMeanwhileError."""
        ...

    async def health(self) -> Health:
        """Of the generation that was written last, and of no earlier one."""
        ...

    def changes(self) -> AsyncIterator[str]:
        """What may have changed: an object's id, or "" for anything. First "". Never raises."""
        ...

    async def close(self) -> None: ...


class RunningTarget(Target, Protocol):
    """One that runs something: a fleet."""

    @property
    def generation(self) -> int | None:
        """That of the last write; None before one."""
        ...

    async def settle(self) -> None:
        """Wait until a write whose answer nobody has seen is in force, or never will be. Such a target's
        writes may be given up, which is by cancelling them.
        """
        ...

    async def symptoms(self) -> list[Symptom]:
        """What does not run as it was told to. Raises as `Target`'s methods do."""
        ...


class ApplicationStore(Protocol):
    """What is kept of applications. Every method raises StoreAwayError."""

    async def states(self) -> dict[str, ApplicationState]: ...

    async def save_state(self, state: ApplicationState) -> ApplicationState:
        """With the next revision. Raises RevisionConflictError when it is not the one that is kept."""
        ...

    async def bases(self, application: str) -> dict[str, Base]: ...

    async def finish(
        self, state: ApplicationState, changed: Sequence[Base], removed: Sequence[str]
    ) -> ApplicationState:
        """In one transaction: the new bases, without those that are removed, and the state."""
        ...

    async def plan(self, intents: Sequence[Intent]) -> None:
        """Write ahead, all or none."""
        ...

    async def done(self, deployment: str, object_id: str, order: int) -> None:
        """One intent is carried out."""
        ...

    async def intents(self, deployment: str) -> list[Intent]:
        """By `order`, then by object; kept until `forget_intents`."""
        ...

    async def forget_intents(self, deployment: str) -> None: ...

    async def drift(self, application: str | None = None) -> list[DriftRow]: ...

    async def set_drift(
        self, application: str, rows: Sequence[DriftRow]
    ) -> tuple[list[DriftRow], list[DriftRow]]:
        """All there is now; those that are new or changed, and those that are gone. `since` is kept."""
        ...

    async def keep_live(self, application: str, deployment: str, live: Live) -> None:
        """A live version that is about to be overwritten."""
        ...

    async def kept_live(self, deployment: str) -> list[Live]: ...

    async def holds(self) -> list[Hold]: ...

    async def put_hold(self, hold: Hold) -> None:
        """In the place of one with the same application and path."""
        ...

    async def remove_hold(self, application: str, path: str) -> bool: ...

    async def acquire(self, target: str, holder: str, seconds: float) -> int | None:
        """A fencing token, higher than every earlier one of this target; None while another holder has it."""
        ...

    async def renew(self, target: str, holder: str, token: int, seconds: float) -> bool:
        """False: it is another one's by now."""
        ...

    async def release(self, target: str, holder: str, token: int) -> None: ...

    async def prune(self, before: float) -> int:
        """Forget kept live versions from before a time."""
        ...


class DeploymentStore(Protocol):
    """The history. Every method raises StoreAwayError."""

    async def add(self, deployment: Deployment) -> None: ...

    async def update(self, deployment: Deployment) -> Deployment:
        """With the next revision. Raises RevisionConflictError when it is not the one that is kept."""
        ...

    async def get(self, deployment_id: str) -> Deployment | None: ...

    async def search(
        self,
        *,
        application: str | None = None,
        states: Sequence[DeploymentState] = (),
        before: float | None = None,
        limit: int = 50,
    ) -> list[Deployment]:
        """Newest first."""
        ...

    async def block(self, blocked: Blocked) -> None: ...

    async def unblock(self, application: str, commit: str) -> bool: ...

    async def blocked(self, application: str) -> list[Blocked]: ...

    async def prune(self, before: float) -> int:
        """Forget ended ones; the last 20 of each application stay whatever their age."""
        ...


class RevisionConflictError(Exception):
    """Somebody else has changed the row meanwhile: read it again."""
