"""`GitOpsOperations`: what people ask of the GitOps controller, over REST or the live connection.

Reading shows what the controller found last, and what is kept. What changes something is kept first, then
the application is looked at, and the look does it: so what is asked for survives a restart, and takes its
turn with everything else. Every method raises ProblemError for what cannot be, and StoreAwayError.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from fairlead.core import severity
from fairlead.core.overrides import Key, parse_key
from fairlead.core.patterns import Pattern
from fairlead.core.summary import KINDS, Finding, Kind
from fairlead.gitops import reports
from fairlead.gitops.controller import Declaration, Declared, GitOpsController, Managed
from fairlead.gitops.deployments import Check, Deployments, Stores
from fairlead.gitops.drift import DriftDetector
from fairlead.gitops.environment import Environment as Tools
from fairlead.gitops.orders import Orders, is_enforced, refused
from fairlead.gitops.passes import Order
from fairlead.model.errors import SpecError
from fairlead.model.event_data import DeclarationsChanged
from fairlead.model.events import EventType
from fairlead.model.gitops import DriftKind, Environment, GitOpsFile, Policy, Severity
from fairlead.model.gitops_reports import (
    ApplicationDiff,
    ApplicationReport,
    CheckedProblem,
    CommitList,
    DeploymentReport,
    DriftStatus,
    EnvironmentHealth,
    GitStatus,
    HoldReport,
    OwnershipReport,
    SyncStatus,
    SyncTriggered,
    ToolReport,
    Validation,
)
from fairlead.model.reconciling import (
    ApplicationState,
    DeploymentState,
    DriftRow,
    DriftState,
    Hold,
    Reason,
    Resolution,
)
from fairlead.model.spec_problem import Severity as ProblemSeverity
from fairlead.model.spec_problem import SpecProblem
from fairlead.ports import Recorder, StoreAwayError
from fairlead.ports.gitops import RevisionConflictError

CHECK_SECONDS: Final = 15.0  # s for which an answer waits for looks that it has asked for
LONGEST_HOLD: Final = 30 * 86400.0  # s
_TRIES: Final = 10
_ODD_CHECKOUT: Final = frozenset({Reason.NO_REPOSITORY, Reason.NO_COMMIT, Reason.FOREIGN_OWNER})

Validate = Callable[[Mapping[str, str]], Awaitable[Sequence[SpecProblem]]]
"""What is wrong in documents, by file: `applications/x.yml`, `config/gitops.yml`, a fleet file."""


class Ownership(Protocol):
    """Who is in charge of the checkout that one stands in. Methods raise ProblemError."""

    @property
    def enabled(self) -> bool:
        """Whether Git is; else it is only observed."""
        ...

    async def enable(self, actor: str) -> None: ...

    async def disable(self, actor: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Parts:
    """Of the controller."""

    controller: GitOpsController
    stores: Stores
    deployments: Deployments
    detector: DriftDetector
    tools: Tools
    recorder: Recorder


@dataclass(frozen=True, slots=True)
class DriftFilter:
    """All that are given must fit."""

    application: str | None = None
    kind: DriftKind | None = None
    severity: Severity | None = None  # at least
    state: DriftState | None = None

    def fits(self, row: DriftRow) -> bool:
        return (
            self.application in (None, row.application)
            and self.kind in (None, row.kind)
            and (self.severity is None or severity.at_least(row.severity, self.severity))
            and self.state in (None, row.state)
        )


class GitOpsOperations:
    """See the top of this file."""

    def __init__(
        self,
        parts: Parts,
        ownership: Ownership,
        configuration: Callable[[], GitOpsFile],
        validate: Validate,
        *,
        wake: Callable[[str], None],
        now: Callable[[], float] = time.time,
    ) -> None:
        """`configuration` is what is in force, the checkout among its sources where there is one; `wake`
        has a source fetched now, by its name. Set `configuration_problem` for why its newest is not.
        """
        self._controller = parts.controller
        self._stores = parts.stores
        self._deployments = parts.deployments
        self._detector = parts.detector
        self._tools = parts.tools
        self._recorder = parts.recorder
        self.configuration_problem: Callable[[], Finding | None] = lambda: None
        self._ownership = ownership
        self._configuration = configuration
        self._validate = validate
        self._wake = wake
        self._now = now
        self._orders = Orders(parts.controller, parts.stores, now)
        parts.controller.on_declared = self._declared

    def __repr__(self) -> str:
        return f"GitOpsOperations({self._controller})"

    @property
    def count(self) -> int:
        """Of applications."""
        return len(self._controller.applications)

    # -- applications ------------------------------------------------------------------------------------

    async def applications(self) -> list[ApplicationReport]:
        """All, by name."""
        states, holds = await self._kept()
        managed = sorted(self._controller.applications.items())
        return [await self._report(each, states.get(name), holds) for name, each in managed]

    async def application(self, name: str) -> ApplicationReport:
        states, holds = await self._kept()
        return await self._report(self._controller.managed(name), states.get(name), holds)

    def diff(self, name: str) -> ApplicationDiff:
        """What a sync would do now, as the last look found it."""
        return reports.diff(self._controller.managed(name), self._detector)

    async def suspend(self, name: str, actor: str) -> ApplicationReport:
        """Nothing is written until somebody lets it go on; it is looked at as before."""
        return await self._set_suspended(name, actor)

    async def resume(self, name: str) -> ApplicationReport:
        return await self._set_suspended(name, None)

    async def hold(self, name: str, path: str, seconds: float, reason: str, actor: str) -> HoldReport:
        """Nothing is written at `path` for so many seconds, whatever Git says. In the place of one before."""
        application = self._controller.managed(name).subject.application
        try:
            Pattern.parse(path, fleet=application.target.fleet is not None)
        except SpecError as error:
            raise refused("bad-path", f"{error}; {error.hint}", 422) from None
        hold = Hold(name, path, actor, reason, self._now() + min(seconds, LONGEST_HOLD))
        await self._stores.applications.put_hold(hold)
        self._controller.look(name)
        return reports.hold(hold)

    async def release(self, name: str, path: str) -> None:
        """End a hold."""
        self._controller.managed(name)
        if not await self._stores.applications.remove_hold(name, path):
            raise refused("unknown-hold", f"{name} has no hold on {path[:200]!r}", 404)
        self._controller.look(name)

    async def unblock(self, name: str, commit: str) -> None:
        """Take a commit that was taken back as any other again."""
        self._controller.managed(name)
        blocked = [each.commit for each in await self._stores.deployments.blocked(name)]
        found = [each for each in blocked if each.startswith(commit.lower())]
        if len(found) != 1 or not await self._stores.deployments.unblock(name, found[0]):
            known = ", ".join(each[:12] for each in blocked[:20]) or "none"
            raise refused("unknown-commit", f"{name} has no such blocked commit; there are: {known}", 404)
        self._controller.look(name)

    async def resolve(
        self, name: str, object_id: str, key: str, take: Policy, actor: str
    ) -> ApplicationReport:
        """A person decides one place: Git's version, the live one, or both together (see `Policy`)."""
        managed = self._orders.enforced(name)
        try:
            place = parse_key(key) if key else ()
        except SpecError as error:
            raise refused("bad-key", f"{error}; {error.hint}", 422) from None
        differs = [each for each in self.diff(name).differences if each.object == object_id]
        if all(each.key != key for each in differs):
            known = ", ".join(repr(each.key) for each in differs[:20]) or "none"
            detail = f"{name}: {object_id[:200]!r} differs at no such place; it does at: {known}"
            raise refused("unknown-difference", detail, 404)
        resolutions = (Resolution(object_id, place, take),)
        self._controller.order(managed.subject.name, Order(actor, resolutions=resolutions))
        await self._controller.look_through([name], CHECK_SECONDS)
        return await self.application(name)

    # -- drift and syncs ---------------------------------------------------------------------------------

    async def drift_status(self, wanted: DriftFilter | None = None, limit: int = 1000) -> DriftStatus:
        """What fits, the worst first, at most `limit`; the counts are of all that fit."""
        applications = self._controller.applications
        if wanted is not None and wanted.application is not None:
            self._controller.managed(wanted.application)
        try:
            rows: Sequence[DriftRow] = await self._stores.applications.drift(
                wanted.application if wanted else None
            )
        except StoreAwayError:  # what was seen last is better than nothing
            outcomes = [each.outcome for each in applications.values() if each.outcome is not None]
            rows = [row for outcome in outcomes for row in outcome.look.drift]
        fitting = [
            row for row in rows if row.application in applications and (wanted is None or wanted.fits(row))
        ]
        fitting.sort(
            key=lambda row: (severity.ORDER.index(row.severity), row.application, row.object, row.key)
        )
        looked = [each.looked_at for each in applications.values()]
        times = [each for each in looked if each is not None]
        return DriftStatus(
            checked=min(times) if times and len(times) == len(looked) else None,
            applications=len(applications),
            drift=[reports.drift(row) for row in fitting[:limit]],
            by_severity=Counter(row.severity for row in fitting),
            by_kind=Counter(row.kind for row in fitting),
        )

    async def check(self, name: str | None = None) -> DriftStatus:
        """Look at an application, or at all, now, and wait for that, but not for ever."""
        names = list(self._controller.applications) if name is None else [name]
        subjects = [self._controller.managed(each).subject for each in names]
        declares = next((each for each in subjects if each.application.tools.model_fields_set), None)
        if declares is not None:
            await self._tools.reports(declares.application, fresh=True)
        await self._controller.look_through(names, CHECK_SECONDS)
        return await self.drift_status(DriftFilter(name))

    async def sync_status(self) -> SyncStatus:
        queue = self._controller.statistics()
        return SyncStatus(
            applications=await self.applications(),
            waiting=queue.waiting,
            working=queue.working,
            failing=queue.failing,
            lag=queue.lag,
        )

    async def trigger(
        self, name: str | None, *, commit: str | None = None, confirm: bool = False, actor: str
    ) -> SyncTriggered:
        """Fetch, and bring an application, or all, to what Git says now. `confirm` agrees to the removals
        that wait for that, as they are shown; not to others that the fetch brings.
        """
        if name is None:
            if commit is not None:
                raise refused("application-missing", "a commit is of one application: name it", 422)
            every = list(self._controller.applications.values())
        else:
            every = [self._orders.enforced(name)]
        chosen = None
        if commit is not None:
            chosen = (await self._orders.deployable(every[0], commit)).id
        for source in {each.subject.source.name for each in every}:
            self._wake(source)
        enforced = [each.subject.name for each in every if is_enforced(each)]
        observed = [each.subject.name for each in every if not is_enforced(each)]
        for each in enforced:
            agreed = _waiting(self._controller.managed(each))
            order = Order(actor, commit=chosen, confirmed=confirm, agreed=agreed)
            self._controller.order(each, order)
        for each in observed:
            self._controller.look(each)
        return SyncTriggered(applications=sorted(enforced), observed=sorted(observed))

    # -- deployments -------------------------------------------------------------------------------------

    async def deployments(
        self,
        *,
        application: str | None = None,
        states: Sequence[DeploymentState] = (),
        limit: int = 50,
        before: float | None = None,
    ) -> list[DeploymentReport]:
        """The newest first, those made before a time; without their differences."""
        rows = await self._stores.deployments.search(
            application=application, states=states, before=before, limit=limit
        )
        return [reports.deployment(row, whole=False) for row in rows]

    async def deployment(self, deployment_id: str) -> DeploymentReport:
        return reports.deployment(await self._orders.row(deployment_id))

    async def deploy(self, name: str, commit: str, actor: str) -> DeploymentReport:
        """Bring an application to a commit of its branch, also to one that was taken back.

        It begins at once and goes on by itself. One that is on its way to the same commit is the answer.
        """
        return reports.deployment(await self._orders.deploy(name, commit, actor))

    async def rollback(self, deployment_id: str, actor: str, to: str | None = None) -> DeploymentReport:
        """Go back to the commit before a deployment, or to that of an earlier one that succeeded.

        `to` is such a deployment, or its commit. What Git has beyond it is not taken again by itself.
        """
        return reports.deployment(await self._orders.rollback(deployment_id, actor, to))

    async def promote(self, name: str, actor: str) -> DeploymentReport:
        """Deploy the commit that is in force at the application that this one is promoted from."""
        return reports.deployment(await self._orders.promote(name, actor))

    async def approve(self, deployment_id: str, actor: str, check: Check | None = None) -> DeploymentReport:
        return reports.deployment(await self._deployments.approve(deployment_id, actor, check))

    async def cancel(self, deployment_id: str, actor: str, check: Check | None = None) -> DeploymentReport:
        return reports.deployment(await self._deployments.cancel(deployment_id, actor, check))

    # -- repositories, hosts, configuration --------------------------------------------------------------

    def git_status(self) -> GitStatus:
        specs = self._configuration().sources
        found = sorted(self._controller.sources.items())
        refused = self.configuration_problem()
        return GitStatus(
            sources=[reports.source(each, specs.get(name)) for name, each in found],
            reason=refused.reason.value if refused else "",
            message=refused.message if refused else "",
        )

    async def commits(self, source: str | None = None, limit: int = 50) -> CommitList:
        """The newest first; without a source, of the first one that has any."""
        sources = self._controller.sources
        first = min(sources, key=lambda each: (sources[each].source.head is None, each), default="")
        name = first if source is None else source
        if name not in sources:
            known = ", ".join(sorted(sources)[:20]) or "none"
            raise refused("unknown-source", f"there is no source {name[:80]!r}; known: {known}", 404)
        of = sources[name].source
        managed = [each for each in self._controller.applications.values() if each.subject.source is of]
        states, _ = await self._kept()
        applied = {each: state.applied for each, state in states.items()}
        log = await of.log(limit)
        return CommitList(source=name, commits=[reports.commit(each, managed, applied) for each in log])

    async def environment_health(self) -> EnvironmentHealth:
        """Whether declared tools are installed, and applications are as Git says."""
        shown = await self.applications()
        tools: list[ToolReport] = []
        for managed in list(self._controller.applications.values()):
            tools += await self._tools.reports(managed.subject.application)
        lacking = {each.application for each in tools if not each.fits}
        healthy: dict[Environment, bool] = {}
        for each in shown:
            ready = any(one.type == "Ready" and one.status for one in each.conditions)
            good = ready and each.name not in lacking
            healthy[each.environment] = healthy.get(each.environment, True) and good
        return EnvironmentHealth(
            healthy=all(healthy.values()),
            environments={each: healthy[each] for each in Environment if each in healthy},
            tools=tools,
            applications=shown,
        )

    def configuration(self) -> dict[str, Any]:
        """What is in force, without secrets."""
        return reports.configuration(self._configuration())

    async def validate(self, documents: Mapping[str, str]) -> Validation:
        """Check documents of a configuration repository, by file. Nothing is kept."""
        found = await self._validate(documents)
        return Validation(
            valid=all(each.severity is not ProblemSeverity.ERROR for each in found),
            problems=[
                CheckedProblem(
                    severity=each.severity,
                    file=each.file,
                    line=each.line,
                    column=each.column,
                    path=each.path,
                    message=each.message,
                    hint=each.hint,
                )
                for each in found
            ],
        )

    def ownership(self) -> OwnershipReport:
        return OwnershipReport(enabled=self._ownership.enabled)

    async def enable(self, actor: str) -> OwnershipReport:
        """Put Git in charge of what the checkout declares."""
        await self._ownership.enable(actor)
        return self.ownership()

    async def disable(self, actor: str) -> OwnershipReport:
        """Only observe it."""
        await self._ownership.disable(actor)
        return self.ownership()

    # -- for probes --------------------------------------------------------------------------------------

    def is_starting(self) -> bool:
        """Whether something was not looked at yet."""
        waiting = any(each.looked_at is None for each in self._controller.applications.values())
        sources = self._controller.sources.values()
        return waiting or any(each.source.head is None and each.source.problem is None for each in sources)

    def has_failed(self) -> bool:
        """Whether a source is not as it should be, or Fairlead itself failed at an application."""
        failing = self._controller.statistics().failing > 0 or self.configuration_problem() is not None
        return failing or any(self._is_trouble(each) for each in self._controller.sources.values())

    def _is_trouble(self, declared: Declared) -> bool:
        """What is odd about a checkout that is only observed is none: nothing depends on it."""
        if declared.source.problem is None:
            return False
        reason = Reason(declared.source.problem[0])
        odd = reason in _ODD_CHECKOUT and not self._ownership.enabled
        return KINDS[reason] is not Kind.NOTE and not odd

    # -- parts of the above ------------------------------------------------------------------------------

    async def _kept(self) -> tuple[Mapping[str, ApplicationState], Sequence[Hold]]:
        """States and holds; while the store is away, as they were seen last."""
        store = self._stores.applications
        try:
            return await store.states(), await store.holds()
        except StoreAwayError:
            looks = [each.outcome.look for each in self._controller.applications.values() if each.outcome]
            return {each.name: each.state for each in looks}, [hold for each in looks for hold in each.holds]

    async def _report(
        self, managed: Managed, state: ApplicationState | None, holds: Sequence[Hold]
    ) -> ApplicationReport:
        name, now = managed.subject.name, self._now()
        if managed.deployment is None:
            try:
                latest = await self._stores.deployments.search(application=name, limit=1)
            except StoreAwayError:
                latest = []
            managed.deployment = latest[0].id if latest else ""  # asked once, then the looks tell
        in_force = [each for each in holds if each.application == name and each.until > now]
        return reports.application(
            managed, state or ApplicationState(name), in_force, managed.deployment or None
        )

    async def _set_suspended(self, name: str, actor: str | None) -> ApplicationReport:
        self._controller.managed(name)
        store = self._stores.applications
        for _ in range(_TRIES):
            state = (await store.states()).get(name, ApplicationState(name))
            if (state.suspended_by is None) == (actor is None):
                break
            at = None if actor is None else self._now()
            try:
                await store.save_state(replace(state, suspended_by=actor, suspended_at=at))
            except RevisionConflictError:
                continue
            self._controller.look(name)
            break
        else:
            raise refused("changed-meanwhile", f"{name} changes all the time: try again", 409)
        return await self.application(name)

    def _declared(self, declaration: Declaration) -> None:
        data = DeclarationsChanged(
            source=declaration.source,
            commit=declaration.commit,
            added=list(declaration.added),
            changed=list(declaration.changed),
            removed=list(declaration.removed),
        )
        self._recorder.note(EventType.CONFIG_CHANGED, declaration.source, data)


def _waiting(managed: Managed) -> frozenset[tuple[str, Key]]:
    """The removals that people can see wait."""
    plan = managed.outcome.look.plan if managed.outcome else None
    return frozenset((each.object, each.key) for each in plan.removals.waiting) if plan else frozenset()
