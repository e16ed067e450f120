"""A repository, a target and stores in memory, for what the controller's steps do with them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

from fairlead.formats import documents
from fairlead.gitops.pieces import Gathered, Piece
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.model.gitops import Application
from fairlead.model.reconciling import (
    ApplicationState,
    Base,
    Blocked,
    Deployment,
    DeploymentState,
    Desired,
    DriftRow,
    Hold,
    Intent,
    IntentState,
    Live,
    Rendered,
)
from fairlead.ports import StoreAwayError
from fairlead.ports.gitops import (
    ChangedMeanwhileError,
    Commit,
    Health,
    Proposal,
    RevisionConflictError,
    TargetAwayError,
    Write,
)
from fairlead.stores.retained import KEPT, bounded

Document = Mapping[str, Any]


def tag_of(content: bytes) -> str:
    return sha256(content).hexdigest()[:8]


@dataclass
class MemorySnapshot:
    """A commit: the documents of all applications, by application and object."""

    commit: Commit
    documents: Mapping[str, Mapping[str, Document]]


@dataclass
class MemorySource:
    """Implements `ports.gitops.GitSource`."""

    name: str = "config"
    commits: list[MemorySnapshot] = field(default_factory=list)  # oldest first
    problem: tuple[str, str] | None = None
    age: float | None = 0.0
    proposals: list[Proposal] = field(default_factory=list)
    withdrawn: list[str] = field(default_factory=list)
    refused: Problem | None = None

    @property
    def head(self) -> MemorySnapshot | None:
        return self.commits[-1] if self.commits else None

    def add(self, documents_: Mapping[str, Mapping[str, Document]], author: str = "Ada <ada@x>") -> str:
        number = len(self.commits) + 1
        commit = Commit(f"c{number}", author, float(number), "", f"t{number}", {})
        self.commits.append(MemorySnapshot(commit, documents_))
        return commit.id

    async def snapshot(self, commit: str) -> MemorySnapshot:
        for each in self.commits:
            if each.commit.id == commit:
                return each
        raise ProblemError(Problem("unknown-commit", "No such commit", commit, 404, Fault.CLIENT))

    async def log(self, limit: int, *, path: str = "") -> list[Commit]:
        return [each.commit for each in reversed(self.commits)][:limit]

    async def refresh(self) -> bool:
        return False

    async def propose(self, proposal: Proposal) -> str:
        if self.refused is not None:
            raise ProblemError(self.refused)
        self.proposals.append(proposal)
        return proposal.branch

    async def withdraw(self, branch: str) -> None:
        self.withdrawn.append(branch)


class MemoryRenderer:
    """Implements `gitops.reconcile.Renderer`."""

    def __init__(self) -> None:
        self.rendered = 0

    async def render(self, application: Application, snapshot: MemorySnapshot) -> Rendered:
        self.rendered += 1
        said = snapshot.documents.get(application.name, {})
        for code in said.keys() & {"config-invalid", "source-refused", "source-unreadable"}:
            again = 1.0 if code == "source-unreadable" else None
            raise ProblemError(Problem(code, "Not valid", "line 1", 422, Fault.CLIENT, again))
        fleet = application.target.fleet is not None
        objects = {
            name: Desired(
                name, documents.format_of(name + (".yml" if fleet else "")),
                documents.write(documents.format_of(name + (".yml" if fleet else "")), document),
                document, whole=fleet,
            )
            for name, document in said.items()
        }  # fmt: skip
        digest = tag_of(
            json.dumps({name: dict(each) for name, each in said.items()}, sort_keys=True).encode()
        )
        return Rendered(snapshot.commit.id, digest, objects, snapshot.commit.author)

    async def gather(self, application: Application, snapshot: MemorySnapshot) -> Gathered:
        objects = (await self.render(application, snapshot)).objects.values()
        return Gathered(
            {each.id: (Piece(each.id, each.format, each.content, each.document, False),) for each in objects},
            (),
        )


class MemoryTarget:
    """Implements `ports.gitops.Target`. `away` makes it so; `meanwhile` is done right before a write."""

    def __init__(self, lives: Mapping[str, Document] | None = None) -> None:
        self.contents: dict[str, bytes] = {}
        for name, document in (lives or {}).items():
            self.put(name, document)
        self.away = False
        self.refusing: dict[str, str] = {}  # object -> why it cannot be read
        self.written: list[str] = []
        self.refused: Problem | None = None  # of writes that have an object in `bad`
        self.bad: Callable[[Document], bool] = lambda document: False
        self.sick: Callable[[Mapping[str, bytes]], Health | None] = lambda contents: None
        self.is_owned = True
        self.closed = False
        self.changed = asyncio.Event()

    def put(self, name: str, document: Document) -> None:
        self.contents[name] = documents.write(self._format(name), document)

    def document(self, name: str) -> Document | None:
        content = self.contents.get(name)
        return None if content is None else documents.read(self._format(name), content)

    def _format(self, name: str) -> Any:
        return documents.format_of(name if "." in name else name + ".yml")

    def _reach(self) -> None:
        if self.away:
            raise TargetAwayError("no route to it")

    async def read(self, objects: Sequence[str]) -> dict[str, Live]:
        self._reach()
        return {
            name: Live(name, tag_of(content), content, self.document(name) or {}, self.refusing.get(name, ""))
            for name, content in self.contents.items()
            if name in objects
        }

    def normal(self, document: Document) -> dict[str, Any]:
        return dict(document)

    async def check(self, writes: Sequence[Write]) -> str:
        self._reach()
        return f"{len(writes)} writes"

    async def write(self, write: Write) -> str | None:
        self._reach()
        there = self.contents.get(write.object)
        if (None if there is None else tag_of(there)) != write.tag:
            raise ChangedMeanwhileError(write.object)
        if self.refused is not None and self.bad(write.document or {}):
            raise ProblemError(self.refused)
        self.written.append(write.object)
        if write.content is None:
            del self.contents[write.object]
            return None
        self.contents[write.object] = write.content
        return tag_of(write.content)

    async def health(self) -> Health:
        return self.sick(self.contents) or Health(healthy=True, done=True, message="")

    async def changes(self) -> AsyncIterator[str]:
        yield ""
        while True:
            await self.changed.wait()
            self.changed.clear()
            yield ""

    async def close(self) -> None:
        self.closed = True


class MemoryApplications:
    """Implements `ports.gitops.ApplicationStore`. `now` is its clock; `away` makes it so."""

    def __init__(self, now: Callable[[], float] = lambda: 0.0) -> None:
        self.now = now
        self.kept: dict[str, ApplicationState] = {}
        self.kept_bases: dict[str, dict[str, Base]] = {}
        self.rows: dict[str, list[DriftRow]] = {}
        self.held: list[Hold] = []
        self.journal: dict[str, dict[tuple[int, str], Intent]] = {}
        self.lives: list[tuple[float, str, str, Live]] = []  # when, application, deployment
        self.leases: dict[str, tuple[int, str | None, float]] = {}  # token, holder, until
        self.away = False

    def _reach(self) -> None:
        if self.away:
            raise StoreAwayError("it is away")

    async def states(self) -> dict[str, ApplicationState]:
        self._reach()
        return dict(self.kept)

    async def save_state(self, state: ApplicationState) -> ApplicationState:
        return await self.finish(state, (), ())

    async def bases(self, application: str) -> dict[str, Base]:
        self._reach()
        return dict(sorted(self.kept_bases.get(application, {}).items()))

    async def finish(
        self, state: ApplicationState, changed: Sequence[Base], removed: Sequence[str]
    ) -> ApplicationState:
        self._reach()
        kept = self.kept.get(state.name)
        if state.revision != (kept.revision if kept else 0):
            raise RevisionConflictError(state.name)
        bases = self.kept_bases.setdefault(state.name, {})
        for name in removed:
            bases.pop(name, None)
        bases.update({base.object: base for base in changed})
        self.kept[state.name] = replace(state, revision=state.revision + 1)
        return self.kept[state.name]

    async def plan(self, intents: Sequence[Intent]) -> None:
        self._reach()
        for intent in intents:
            rows = self.journal.setdefault(intent.deployment, {})
            kept = rows.get((intent.order, intent.object))
            if kept is None or kept.state is IntentState.PLANNED:
                rows[intent.order, intent.object] = intent

    async def done(self, deployment: str, object_id: str, order: int) -> None:
        self._reach()
        rows = self.journal.get(deployment, {})
        if (order, object_id) in rows:
            rows[order, object_id] = replace(rows[order, object_id], state=IntentState.DONE)

    async def intents(self, deployment: str) -> list[Intent]:
        self._reach()
        return [intent for _, intent in sorted(self.journal.get(deployment, {}).items())]

    async def forget_intents(self, deployment: str) -> None:
        self._reach()
        self.journal.pop(deployment, None)

    async def drift(self, application: str | None = None) -> list[DriftRow]:
        self._reach()
        rows = [row for name, rows in self.rows.items() for row in rows if application in (None, name)]
        return sorted(rows, key=lambda row: (row.application, row.object, row.key))

    async def set_drift(
        self, application: str, rows: Sequence[DriftRow]
    ) -> tuple[list[DriftRow], list[DriftRow]]:
        self._reach()
        before = {(row.object, row.key): row for row in self.rows.get(application, [])}
        now = {(row.object, row.key): row for row in rows}
        kept = [
            replace(row, since=before[place].since) if place in before else row for place, row in now.items()
        ]
        self.rows[application] = kept
        new = [row for row in kept if before.get((row.object, row.key)) != row]
        return new, [row for place, row in before.items() if place not in now]

    async def keep_live(self, application: str, deployment: str, live: Live) -> None:
        self._reach()
        self.lives.append((self.now(), application, deployment, bounded(live)))

    async def kept_live(self, deployment: str) -> list[Live]:
        self._reach()
        return [live for _, _, each, live in self.lives if each == deployment]

    async def holds(self) -> list[Hold]:
        self._reach()
        return sorted(self.held, key=lambda hold: (hold.application, hold.path))

    async def put_hold(self, hold: Hold) -> None:
        self._reach()
        self._drop_hold(hold.application, hold.path)
        self.held.append(hold)

    async def remove_hold(self, application: str, path: str) -> bool:
        self._reach()
        return self._drop_hold(application, path)

    def _drop_hold(self, application: str, path: str) -> bool:
        before = len(self.held)
        self.held = [each for each in self.held if (each.application, each.path) != (application, path)]
        return len(self.held) < before

    async def acquire(self, target: str, holder: str, seconds: float) -> int | None:
        self._reach()
        token, by, until = self.leases.get(target, (0, None, 0.0))
        if by not in (None, holder) and until > self.now():
            return None
        self.leases[target] = token + 1, holder, self.now() + seconds
        return token + 1

    async def renew(self, target: str, holder: str, token: int, seconds: float) -> bool:
        self._reach()
        if self.leases.get(target, (0, None, 0.0))[:2] != (token, holder):
            return False
        self.leases[target] = token, holder, self.now() + seconds
        return True

    async def release(self, target: str, holder: str, token: int) -> None:
        self._reach()
        if self.leases.get(target, (0, None, 0.0))[:2] == (token, holder):
            self.leases[target] = token, None, 0.0

    async def prune(self, before: float) -> int:
        self._reach()
        kept = [each for each in self.lives if each[0] >= before]
        gone, self.lives = len(self.lives) - len(kept), kept
        return gone


class MemoryDeployments:
    """Implements `ports.gitops.DeploymentStore`. `away` makes it so."""

    def __init__(self) -> None:
        self.blocks: list[Blocked] = []
        self.rows: dict[str, Deployment] = {}
        self.away = False

    def _reach(self) -> None:
        if self.away:
            raise StoreAwayError("it is away")

    async def add(self, deployment: Deployment) -> None:
        self._reach()
        if self.rows.setdefault(deployment.id, deployment) != deployment:
            raise RevisionConflictError(deployment.id)

    async def update(self, deployment: Deployment) -> Deployment:
        self._reach()
        kept = self.rows.get(deployment.id)
        if kept is None or kept.revision != deployment.revision:
            raise RevisionConflictError(deployment.id)
        self.rows[deployment.id] = replace(deployment, revision=deployment.revision + 1)
        return self.rows[deployment.id]

    async def get(self, deployment_id: str) -> Deployment | None:
        self._reach()
        return self.rows.get(deployment_id)

    async def search(
        self,
        *,
        application: str | None = None,
        states: Sequence[DeploymentState] = (),
        before: float | None = None,
        limit: int = 50,
    ) -> list[Deployment]:
        self._reach()
        found = [
            row
            for row in self.rows.values()
            if application in (None, row.application)
            and (not states or row.state in states)
            and (before is None or row.created < before)
        ]
        return self._newest(found)[:limit]

    def _newest(self, rows: Iterable[Deployment]) -> list[Deployment]:
        return sorted(rows, key=lambda row: (row.created, row.id), reverse=True)

    async def block(self, blocked: Blocked) -> None:
        self._reach()
        self._drop_block(blocked.application, blocked.commit)
        self.blocks.append(blocked)

    async def unblock(self, application: str, commit: str) -> bool:
        self._reach()
        return self._drop_block(application, commit)

    def _drop_block(self, application: str, commit: str) -> bool:
        before = len(self.blocks)
        self.blocks = [
            each for each in self.blocks if (each.application, each.commit) != (application, commit)
        ]
        return len(self.blocks) < before

    async def blocked(self, application: str) -> list[Blocked]:
        self._reach()
        found = [each for each in self.blocks if each.application == application]
        return sorted(found, key=lambda each: (each.at, each.commit))

    async def prune(self, before: float) -> int:
        self._reach()
        stay: set[str] = set()
        for name in {row.application for row in self.rows.values()}:
            rows = self._newest(row for row in self.rows.values() if row.application == name)
            stay |= {row.id for row in rows[:KEPT]}
        gone = [
            row.id
            for row in self.rows.values()
            if row.id not in stay and row.ended is not None and row.ended < before
        ]
        for deployment_id in gone:
            del self.rows[deployment_id]
        return len(gone)
