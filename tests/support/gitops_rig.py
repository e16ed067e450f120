"""One application, what it joins in memory, and the real steps and deployer between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fairlead.gitops.deployments import Deployments, Stores
from fairlead.gitops.drift import DriftDetector
from fairlead.gitops.passes import Order, Subject
from fairlead.gitops.reconcile import Outcome, Tools, reconcile
from fairlead.gitops.synchronizer import ConfigSynchronizer
from fairlead.model.gitops import Application
from fairlead.model.reconciling import Deployment, DeploymentReason, Reason
from support.gitops_memory import (
    MemoryApplications,
    MemoryDeployments,
    MemoryRenderer,
    MemorySource,
    MemoryTarget,
)

NOW = 1_800_000_000.0


@dataclass
class Noted:
    events: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)

    def note(self, event_type: Any, subject: str, data: Any) -> None:
        self.events.append((event_type.value, subject, dict(data)))

    @property
    def kinds(self) -> list[str]:
        return [kind for kind, _, _ in self.events]


@dataclass
class Rig:
    """A fleet or a folder, and Git."""

    source: MemorySource
    target: MemoryTarget
    application: Application
    store: MemoryApplications = field(default_factory=MemoryApplications)
    deployments: MemoryDeployments = field(default_factory=MemoryDeployments)
    noted: Noted = field(default_factory=Noted)
    at: Callable[[str], None] = lambda point: None

    def __post_init__(self) -> None:
        self.clock = NOW
        self.restart()

    def restart(self) -> None:
        """The controller is another process; stores, target and Git are as they were."""
        self.deployer = Deployments(
            Stores(self.store, self.deployments),
            self.noted,
            holder="here",
            now=lambda: self.clock,
            at=lambda point: self.at(point),  # noqa: PLW0108 - tests put another in its place
        )
        self.tools = Tools(
            MemoryRenderer(),
            DriftDetector(self.store, self.noted),
            ConfigSynchronizer(self.deployer),
            self.store,
            self.deployments,
        )

    @property
    def done(self) -> list[tuple[str, DeploymentReason, str]]:
        """Of each deployment its commit, reason and actor, the oldest first."""
        rows = sorted(self.deployments.rows.values(), key=lambda row: row.id)
        return [(row.commit, row.reason, row.actor) for row in rows]

    @property
    def latest(self) -> Deployment:
        return max(self.deployments.rows.values(), key=lambda row: row.id)

    def commit(self, **objects: Any) -> str:
        named = {name.replace("_", "."): document for name, document in objects.items()}
        return self.source.add({self.application.name: named})

    async def look(self, order: Order | None = None, now: float | None = None) -> Outcome:
        self.clock = self.clock + 1.0 if now is None else now
        now = self.clock
        return await reconcile(Subject(self.application, self.source, self.target), order, self.tools, now)

    async def reasons(self, order: Order | None = None, now: float | None = None) -> list[Reason]:
        return [finding.reason for finding in (await self.look(order, now)).findings]


def fleet(live: dict[str, Any], **more: Any) -> Rig:
    application = Application(name="app", target={"fleet": {}}, **more)
    return Rig(MemorySource(), MemoryTarget({"fleet": live}), application)


def folder(lives: dict[str, dict[str, Any]], **more: Any) -> Rig:
    application = Application(name="app", target={"files": {"root": "/home/ada"}}, **more)
    return Rig(MemorySource(), MemoryTarget(lives), application)
