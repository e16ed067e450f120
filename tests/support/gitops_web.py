"""What stands behind the GitOps controller's web app in its tests: the real controller, over memory."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from fairlead.audit.recorder import AuditTrail
from fairlead.buses.memory import MemoryBus
from fairlead.core.access import KnownTokens
from fairlead.core.admission import AdmissionPolicy, Limits
from fairlead.core.ratelimit import Gcra
from fairlead.events.feed import Feed
from fairlead.git.webhooks import UNPROVED, Deliveries, Refusal, WebhookEvent, verify
from fairlead.gitops.controller import GitOpsController
from fairlead.gitops.deployments import Deployments, Stores
from fairlead.gitops.documents import read_application
from fairlead.gitops.drift import DriftDetector
from fairlead.gitops.environment import Environment
from fairlead.gitops.metrics import MetricsExporter
from fairlead.gitops.operations import GitOpsOperations, Parts
from fairlead.gitops.reconcile import Tools
from fairlead.gitops.synchronizer import ConfigSynchronizer
from fairlead.model.access import Caller, Grant, Role
from fairlead.model.events import EventType
from fairlead.model.gitops import Application, GitOpsFile
from fairlead.model.reconciling import Deployment, DeploymentReason, DeploymentState
from fairlead.model.spec_problem import SpecProblem
from fairlead.ports import Auditor, Recorder
from fairlead.ports.gitops import Commit
from fairlead.web.gitops_approval import Approvers
from fairlead.web.gitops_services import GitOpsServices
from fairlead.web.live import Door, Live, LiveLimits
from fairlead.web.live_gitops import gitops_table
from support.audit_logs import MemoryAuditLog
from support.event_logs import MemoryEventLog
from support.gitops_memory import (
    MemoryApplications,
    MemoryDeployments,
    MemoryRenderer,
    MemorySnapshot,
    MemorySource,
    MemoryTarget,
)
from support.gitops_rig import Noted
from support.web_services import INFO

FIRST, SECOND, THIRD = (digit * 40 for digit in "abc")
SECRET = "a-secret-of-the-webhooks"
TOKENS = {role: f"a-token-of-the-role-{role.word}" for role in Role}
BEARER = {role: {"authorization": f"Bearer {token}"} for role, token in TOKENS.items()}


def servers(args: Sequence[str] = ("x",), **more: Any) -> dict[str, Any]:
    """The documents of an application whose fleet has one server."""
    return {"fleet": {"servers": {"a": {"args": list(args)}}, **more}}


@dataclass
class MemoryCatalogue:
    """A source declares what its newest commit has documents for. `more` is of their documents."""

    targets: dict[str, MemoryTarget] = field(default_factory=dict)
    more: dict[str, dict[str, Any]] = field(default_factory=dict)

    async def applications(self, source: MemorySource, snapshot: MemorySnapshot) -> list[Application]:
        return [
            Application(name=name, target={"fleet": {}}, **self.more.get(name, {}))
            for name in snapshot.documents
        ]

    async def concerns(self, application: Application, before: MemorySnapshot, after: MemorySnapshot) -> bool:
        return before.documents.get(application.name) != after.documents[application.name]

    def problem(self, source: MemorySource) -> None:
        """There is none."""

    def target(self, application: Application) -> MemoryTarget:
        return self.targets.setdefault(application.name, MemoryTarget({"fleet": {}}))


class MemoryOwnership:
    """Implements `gitops.operations.Ownership`."""

    def __init__(self) -> None:
        self.enabled = False
        self.by: list[str] = []

    async def enable(self, actor: str) -> None:
        self.enabled = True
        self.by.append(actor)

    async def disable(self, actor: str) -> None:
        self.enabled = False
        self.by.append(actor)


class OneSourceWebhooks:
    """Implements `web.gitops_services.Webhooks` for the source `config`."""

    def __init__(self) -> None:
        self.deliveries = Deliveries()

    def receive(
        self, name: str, headers: Mapping[str, str], body: bytes, now: float
    ) -> WebhookEvent | Refusal:
        found = verify(headers, body, SECRET if name == "config" else "nobody's", now)
        return UNPROVED if isinstance(found, Refusal) and not found.proved else found


def signed(body: bytes, kind: str = "github", secret: str = SECRET) -> dict[str, str]:
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {"content-type": "application/json"} | {
        "github": {"X-GitHub-Event": "push", "X-Hub-Signature-256": f"sha256={digest}"},
        "gitea": {"X-Gitea-Event": "push", "X-Gitea-Signature": digest},
        "gitlab": {"X-Gitlab-Event": "Push Hook", "X-Gitlab-Token": secret},
    }[kind]


async def validate(documents: Mapping[str, str]) -> Sequence[SpecProblem]:
    return [problem for file, text in documents.items() for problem in read_application(text, file).problems]


async def no_tool(_: Sequence[str]) -> str | None:
    return None


@dataclass
class GitOpsRig:
    """One source, `config`; its applications are what its newest commit has."""

    more: dict[str, dict[str, Any]] = field(default_factory=dict)  # of the applications' documents
    file: GitOpsFile = field(
        default_factory=lambda: GitOpsFile.model_validate(
            {"sources": {"config": {"url": "https://ada:hunter2@git.example/config.git"}}}
        )
    )

    def __post_init__(self) -> None:
        self.source = MemorySource()
        self.store, self.rows = MemoryApplications(), MemoryDeployments()
        self.noted = Noted()
        self._others: list[Recorder] = []
        self.catalogue = MemoryCatalogue(more=self.more)
        self.ownership = MemoryOwnership()
        self.woken: list[str] = []
        detector = DriftDetector(self.store, self)
        self.deployments = Deployments(Stores(self.store, self.rows), self, holder="here")
        tools = Tools(MemoryRenderer(), detector, ConfigSynchronizer(self.deployments), self.store, self.rows)
        self.controller = GitOpsController(self.catalogue, tools)
        self.deployments.on_changed = self.look
        self.operations = GitOpsOperations(
            Parts(
                self.controller,
                Stores(self.store, self.rows),
                self.deployments,
                detector,
                Environment(no_tool),
                self,
            ),
            self.ownership,
            lambda: self.file,
            validate,
            wake=self.woken.append,
        )

    def also(self, recorder: Recorder) -> None:
        """Note there, too, what happens."""
        self._others.append(recorder)

    def note(self, event_type: Any, subject: str, data: Any) -> None:
        for recorder in (self.noted, *self._others):
            recorder.note(event_type, subject, data)

    def look(self, name: str) -> None:
        if name in self.controller.applications:
            self.controller.look(name)

    def commit(self, id_: str, documents: Mapping[str, Any], author: str = "Bob <bob@example.org>") -> str:
        number = len(self.source.commits) + 1
        commit = Commit(id_, author, float(number), f"commit {number}", f"t{number}", {})
        self.source.commits.append(MemorySnapshot(commit, documents))
        if self.source.name in self.controller.sources:
            self.controller.source_changed(self.source.name)
        return id_

    def target(self, name: str) -> MemoryTarget:
        return self.catalogue.targets.setdefault(name, MemoryTarget({"fleet": {}}))

    def edit(self, name: str, document: Mapping[str, Any]) -> None:
        """By hand, at the target."""
        self.target(name).put("fleet", document)
        self.target(name).changed.set()

    async def settle(self) -> None:
        """Until everything that has happened until now was looked at."""
        await self.controller.idle()
        await self.controller.look_through(list(self.controller.applications), 60.0)
        await self.controller.idle()

    async def state_of(self, deployment: str, state: DeploymentState) -> Deployment:
        """Wait until a deployment has it."""
        async with asyncio.timeout(60):
            while self.rows.rows[deployment].state is not state:
                await self.controller.look_through([self.rows.rows[deployment].application], 5.0)
        return self.rows.rows[deployment]

    def row(self, id_: str, application: str = "fleet", **members: Any) -> Deployment:
        """A deployment as one before has left it."""
        row = Deployment(
            id=id_,
            application=application,
            environment=self.controller.managed(application).subject.application.environment,
            commit=SECOND,
            previous=FIRST,
            reason=DeploymentReason.COMMIT,
            actor="Bob <bob@example.org>",
            state=DeploymentState.SUCCEEDED,
            created=time.time() - 100,
            ended=time.time() - 90,
            author="Bob <bob@example.org>",
        )
        self.rows.rows[id_] = row = replace(row, **members)
        return row

    @asynccontextmanager
    async def running(self) -> AsyncIterator[GitOpsRig]:
        self.controller.start([self.source])
        try:
            await self.settle()
            yield self
        finally:
            await self.controller.close()


def policy(port: int = 3002, grants: tuple[Grant, ...] = (), **bounds: Any) -> AdmissionPolicy:
    """A token for each role, whose name is the role's word; and webhooks."""
    callers = {
        hashlib.sha256(token.encode()).digest(): Caller(role.word, role, grants, f"key:{role.word}")
        for role, token in TOKENS.items()
    }
    return AdmissionPolicy.compile(KnownTokens(callers), port, limits=Limits(**bounds), webhooks=True)


def gitops_services(
    rig: GitOpsRig,
    *,
    admits: AdmissionPolicy | None = None,
    limiter: Callable[[str], Gcra | None] = lambda _: None,
    away: Callable[[], Mapping[str, str]] = dict,
    audit: Auditor | None = None,
    feed: Feed | None = None,
    **more: Any,
) -> GitOpsServices:
    admits = admits or policy()
    trail = audit or AuditTrail(MemoryAuditLog())
    feed = feed or Feed(MemoryEventLog(), MemoryBus())
    table = gitops_table(rig.operations, Approvers(more.get("roster"), lambda: admits))
    door = Door(lambda: admits, limiter, trail, away)
    metrics = MetricsExporter()
    parts: dict[str, Any] = {
        "operations": rig.operations,
        "webhooks": OneSourceWebhooks(),
        "metrics": metrics,
        "policy": lambda: admits,
        "info": INFO,
        "limiter": limiter,
        "live": Live(feed, table, door, node="node-1", limits=LiveLimits()),
        "audit": trail,
        "away": away,
    }
    return GitOpsServices(**parts | more)


EVENTS = (
    EventType.DRIFT_DETECTED,
    EventType.SYNC_STARTED,
    EventType.SYNC_COMPLETED,
    EventType.DEPLOYMENT_STARTED,
    EventType.DEPLOYMENT_COMPLETED,
    EventType.CONFIG_CHANGED,
)
