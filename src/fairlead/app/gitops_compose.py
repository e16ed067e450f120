"""The GitOps controller's service, put together."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog
from fastapi import FastAPI

from fairlead import __version__
from fairlead.app.compose import secrets_of
from fairlead.app.configuration_check import check_file
from fairlead.app.gitops_catalogue import Catalogue, CheckoutRenderer
from fairlead.app.gitops_drift import ToolDrift, UncommittedDrift
from fairlead.app.gitops_sources import Ownership, Sources
from fairlead.app.gitops_targets import Targets, filler, is_valid
from fairlead.app.identities import Access, open_access
from fairlead.app.listening import Listener
from fairlead.app.logs import conceal
from fairlead.app.persistence import Persistence
from fairlead.app.settings import Settings
from fairlead.core.accounts import AccountLimits, Accounts, rate_of
from fairlead.core.admission import AdmissionPolicy
from fairlead.forges.choosing import forge_of
from fairlead.git.checkout_source import NAME as CHECKOUT
from fairlead.git.checkout_source import CheckoutSource
from fairlead.git.command import Git
from fairlead.git.repository import GitRepositoryManager
from fairlead.git.source import Workshop
from fairlead.gitops.controller import Declaration, GitOpsController
from fairlead.gitops.deployments import Deployments, Stores
from fairlead.gitops.drift import DriftDetector
from fairlead.gitops.environment import Environment
from fairlead.gitops.metrics import ApplicationHealth, MetricsExporter, Readings
from fairlead.gitops.operations import CHECK_SECONDS, GitOpsOperations, Parts
from fairlead.gitops.reconcile import Outcome, Tools
from fairlead.gitops.rendering import Renderer
from fairlead.gitops.synchronizer import ConfigSynchronizer
from fairlead.kit.tasks import Tasks
from fairlead.model.errors import Fault, Problem, ProblemError, SpecError
from fairlead.model.events import EventType
from fairlead.model.gitops import FleetTarget as FleetSpec
from fairlead.model.gitops import ForgeSpec, GitOpsFile, Mode
from fairlead.model.spec_problem import SpecProblem
from fairlead.notify.by_apprise import AppriseSender
from fairlead.notify.notifier import Notifier
from fairlead.ports import Recorder
from fairlead.ports.gitops import Forge, GitSource, TargetAwayError
from fairlead.stores.fleet_file import load_layers
from fairlead.stores.sql.database import Database
from fairlead.stores.sql.kept import kept_stores
from fairlead.stores.state import GITOPS, StateFolder
from fairlead.targets.orchestrator import ask
from fairlead.web.gitops_app import create_gitops_app
from fairlead.web.gitops_approval import Approvers
from fairlead.web.gitops_services import GitOpsServices
from fairlead.web.live import Door, Live, LiveLimits
from fairlead.web.live_gitops import gitops_table
from fairlead.web.services import SystemInfo

LOG = structlog.get_logger("fairlead.gitops")
PER_MINUTE: Final = 3000  # requests of one principal
RELEASE: Final = "/api/fleet/release"


class Told:
    """Implements `ports.Recorder`: tells several, and people by the channels that are configured now."""

    def __init__(self, recorders: Sequence[Recorder], tasks: Tasks, sender: AppriseSender) -> None:
        self._recorders = recorders
        self._notifier = Notifier([], sender)
        tasks.spawn(self._notifier.run(), "notify")

    def note(self, event_type: EventType, subject: str, data: Mapping[str, Any]) -> None:
        for recorder in (*self._recorders, self._notifier):
            recorder.note(event_type, subject, data)

    def configure(self, file: GitOpsFile) -> None:
        self._notifier.configure(file.notifications)


@dataclass(frozen=True, slots=True)
class GitOpsSystem:
    """The service, put together and not yet started."""

    settings: Settings
    state: StateFolder
    access: Access
    controller: GitOpsController
    sources: Sources
    manager: GitRepositoryManager
    checkout: CheckoutSource
    targets: Targets
    app: FastAPI
    live: Live
    kept: Persistence
    accounts: Accounts
    tasks: Tasks
    policies: Policies


class Policies:
    """Who may come in: compiled anew when identities change."""

    def __init__(self, settings: Settings, access: Access, port: int) -> None:
        self._settings = settings
        self._access = access
        self._port = port
        self.now = self._compiled()

    def refresh(self) -> None:
        self.now = self._compiled()

    def _compiled(self) -> AdmissionPolicy:
        return AdmissionPolicy.compile(
            self._access.keyring, (self._port,), hosts=(*self._settings.own_hosts, self._settings.host),
            origins=[], denied=(), webhooks=True,
        )  # fmt: skip


def compose_gitops(
    settings: Settings, state: StateFolder, listener: Listener, kept: Persistence, identities: Database
) -> GitOpsSystem:
    """Everything for a service that listens there. `identities` is the database of who may come in."""
    addresses = {GITOPS: listener.address}
    tasks = Tasks(_task_failed)
    access = open_access(settings, state, kept, addresses, identities)
    secrets = secrets_of(settings)
    fill = filler(secrets)
    git = Git(os.environ)
    manager = GitRepositoryManager(
        Workshop(state.mirrors, git, fill, lambda spec: _forge(spec, fill)),
        tasks,
        lambda source: controller.source_changed(source.name),
    )
    folder, name = settings.config.parent, settings.config.name
    checkout = CheckoutSource(folder, name, lambda: controller.source_changed(CHECKOUT))
    sources = Sources(settings.config.with_name("gitops.yml"), manager, checkout)
    targets = Targets(settings, state, secrets)
    store, rows = kept_stores(kept.database)
    stores = Stores(store, rows)
    metrics = MetricsExporter(Readings(
        applications=lambda: health(controller),
        queue=lambda: controller.statistics(),  # noqa: PLW0108 - it comes later
        source_ages=lambda: {each.name: each.age for each in _sources(controller)},
        git_operations=lambda: git.operations,
    ))  # fmt: skip
    told = Told([kept.journal, metrics], tasks, AppriseSender(lambda text: _filled(fill, text)))
    detector = DriftDetector(store, told, severities=lambda: sources.severities, conceal=conceal)
    deployments = Deployments(stores, told, holder=state.id(), conceal=conceal)
    environment = Environment()
    catalogue = Catalogue(
        targets, lambda: sources.configuration, fleet_file=name, enabled=lambda: ownership.enabled,
        managed=lambda: [each.subject.application for each in controller.applications.values()],
    )  # fmt: skip
    ownership = Ownership(
        state.ownership_file, checkout, may_enable=catalogue.may_enable,
        changed=lambda: _declared_again(controller), release=lambda: _release(targets),
    )  # fmt: skip
    tools = Tools(
        CheckoutRenderer(Renderer(load_layers)),
        detector,
        ConfigSynchronizer(deployments, valid=is_valid),
        store,
        rows,
        (
            ToolDrift(environment, lambda: sources.severities),
            UncommittedDrift(lambda: checkout.version),
        ),
    )
    controller = GitOpsController(catalogue, tools)
    deployments.on_changed = lambda application: _look(controller, application)
    deployments.concerns, deployments.is_current = catalogue.concerns, controller.is_current

    async def configured(found: list[GitSource], file: GitOpsFile) -> None:
        told.configure(file)
        await controller.configure(found)
        _refused_again(controller)

    sources.on_configured = configured
    controller.on_outcome = lambda outcome: _looked(outcome, ownership, tasks)
    operations = GitOpsOperations(
        Parts(controller, stores, deployments, detector, environment, told),
        ownership, lambda: sources.configuration, _validate, wake=sources.wake,
    )  # fmt: skip
    told_declared = controller.on_declared
    controller.on_declared = lambda declaration: _declared(controller, told_declared, declaration)
    operations.configuration_problem = lambda: sources.problem
    policies, accounts = Policies(settings, access, listener.port), Accounts()
    accounts.set_limits(AccountLimits(rate=rate_of(PER_MINUTE)))
    ground = _Ground(settings, state, kept, access, policies, accounts)
    live, app = _web(ground, operations, metrics, manager, addresses)
    return GitOpsSystem(
        settings, state, access, controller, sources, manager, checkout, targets, app, live, kept, accounts,
        tasks, policies,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Ground:
    """What the service stands on."""

    settings: Settings
    state: StateFolder
    kept: Persistence
    access: Access
    policies: Policies
    accounts: Accounts


def _web(
    ground: _Ground,
    operations: GitOpsOperations,
    metrics: MetricsExporter,
    webhooks: GitRepositoryManager,
    addresses: Mapping[str, str],
) -> tuple[Live, FastAPI]:
    settings, state, kept = ground.settings, ground.state, ground.kept
    access, policies, accounts = ground.access, ground.policies, ground.accounts
    live = Live(
        kept.feed,
        gitops_table(operations, Approvers(access.roster, lambda: policies.now)),
        Door(lambda: policies.now, accounts.of, kept.audit, kept.standing.away, kept.journal.settled),
        node=state.id(),
        limits=LiveLimits(settings.live.max_connections, settings.live.queue),
    )
    metrics.live_readers = lambda: live.readers
    services = GitOpsServices(
        metrics=metrics,
        policy=lambda: policies.now,
        info=SystemInfo(__version__, time.time(), os.getpid(), state.id(), addresses),
        limiter=accounts.of,
        live=live,
        audit=kept.audit,
        roster=access.roster,
        away=kept.standing.away,
        settled=kept.journal.settled,
        operations=operations,
        webhooks=webhooks,
    )
    return live, create_gitops_app(services)


def health(controller: GitOpsController) -> dict[str, ApplicationHealth]:
    """Of each application, as the last look found it."""
    found = {}
    for name, managed in controller.applications.items():
        drift = managed.outcome.look.drift if managed.outcome is not None else ()
        counts = Counter((row.kind.value, row.severity.value) for row in drift)
        ready = any(each.type == "Ready" and each.status for each in managed.conditions)
        environment = managed.subject.application.environment.value
        found[name] = ApplicationHealth(environment, ready, counts)
    return found


def _sources(controller: GitOpsController) -> list[GitSource]:
    return [declared.source for declared in controller.sources.values()]


def _forge(spec: ForgeSpec, fill: Any) -> Forge:
    return forge_of(spec, _filled(fill, spec.token))


def _filled(fill: Any, text: str) -> str:
    try:
        found: str = fill(text)
    except SpecError as error:
        detail = f"{error}; {error.hint}"
        raise ProblemError(Problem("secret-missing", "A secret lacks", detail, 422, Fault.CLIENT)) from None
    return found


def _look(controller: GitOpsController, application: str) -> None:
    if application in controller.applications:
        controller.look(application)


def _declared(
    controller: GitOpsController, told: Callable[[Declaration], None], declaration: Declaration
) -> None:
    told(declaration)
    _refused_again(controller)


def _refused_again(controller: GitOpsController) -> None:
    """What was in the way of those that are not taken may be gone."""
    for name, declared in controller.sources.items():
        if declared.refused:
            controller.declare_again(name)


async def _declared_again(controller: GitOpsController) -> bool:
    """Have the checkout's application declared anew, and looked at; whether that was over in time."""
    controller.declare_again(CHECKOUT)
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await controller.idle()
    except TimeoutError:
        return False
    return True


async def _release(targets: Targets) -> None:
    """Give this machine's fleet back to its file."""
    try:
        await ask(targets.locate(FleetSpec())(), "POST", RELEASE)
    except TargetAwayError as away:
        detail = f"{away}. The fleet is given back to its file as soon as that can be"
        raise ProblemError(
            Problem("fleet-away", "The fleet is still Git's", detail, 503, Fault.UPSTREAM, 5.0)
        ) from None


def _looked(outcome: Outcome, ownership: Ownership, tasks: Tasks) -> None:
    application, source = outcome.look.application, outcome.look.subject.source
    if ownership.is_to_release and source.name == CHECKOUT and application.sync.mode is Mode.OBSERVE:
        tasks.spawn(_release_by_and_by(ownership), "give the fleet back")


async def _release_by_and_by(ownership: Ownership) -> None:
    try:
        await ownership.release()
    except ProblemError as error:
        LOG.warning("the fleet is not given back to its file yet", why=error.problem.detail)


async def _validate(documents: Mapping[str, str]) -> Sequence[SpecProblem]:
    return [
        problem for name, text in documents.items() for problem in check_file(text.encode(), name).problems
    ]


def _task_failed(name: str, error: BaseException) -> None:
    LOG.error("task failed", task=name, exc_info=error)
