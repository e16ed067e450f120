"""`GitOpsController`: which applications there are, what wakes them, and what is known of each.

Everything that happens only adds a key to one queue: a source that has another head, a target that changed, a
person's order, a time that has come. `app:NAME` is looked at by `reconcile`, `source:NAME` by reading which
applications it declares now. One worker a key; a look that fails is repeated by the queue, for ever.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

import structlog

from fairlead.core import rollout, summary
from fairlead.core.summary import Finding
from fairlead.gitops.passes import Order, Subject
from fairlead.gitops.reconcile import UNFINISHED, Outcome, Tools, reconcile
from fairlead.kit.keyed_queue import KeyedQueue, QueueStatistics
from fairlead.kit.tasks import Tasks
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.model.gitops import Application
from fairlead.model.reconciling import DeploymentState, Reason
from fairlead.model.status import Condition
from fairlead.ports.gitops import GitSource, Snapshot, Target

LOG = structlog.get_logger("fairlead.gitops")
WORKERS: Final = 8
RESYNC: Final = 300.0  # s between looks at an application that nothing wakes
SETTLE: Final = 0.05  # s: changes of a target that come together are one
_APP: Final = "app:"
_SOURCE: Final = "source:"


class Catalogue(Protocol):
    """What sources declare."""

    async def applications(self, source: GitSource, snapshot: Snapshot) -> list[Application]:
        """Raises ProblemError with all that is wrong; then those before stay."""
        ...

    async def concerns(self, application: Application, before: Snapshot, after: Snapshot) -> bool:
        """Whether what it takes from the repository is another in `after`."""
        ...

    def problem(self, source: GitSource) -> Finding | None:
        """What is wrong with some of what was declared last, while the rest of it is in force."""
        ...

    def target(self, application: Application) -> Target:
        """Raises ProblemError for one that cannot be."""
        ...


@dataclass(slots=True)
class Managed:
    """An application, and what was found when it was looked at last."""

    subject: Subject
    outcome: Outcome | None = None
    conditions: tuple[Condition, ...] = ()
    observed_generation: int = 0
    looked_at: float | None = None  # Unix time, s
    orders: list[Order] = field(default_factory=list)
    deployment: str | None = None  # the id of the latest that a look had to do with
    awaited: list[asyncio.Future[None]] = field(default_factory=list)  # who waits for the next look's end
    watching: asyncio.Task[None] | None = None


@dataclass(slots=True)
class Declared:
    """A source, and the commit whose declarations are in force."""

    source: GitSource
    snapshot: Snapshot | None = None
    problem: Finding | None = None  # why its newest declarations are not
    refused: dict[str, str] = field(default_factory=dict)  # application -> why it is not taken
    asked: int = 0  # how often it was to be read though its head is the same
    heard: int = 0  # of these, how many the last reading came after


@dataclass(frozen=True, slots=True)
class Declaration:
    """Which applications a commit of a source has changed: their names."""

    source: str
    commit: str
    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]


class GitOpsController:
    """Keeps targets as Git says. `run` works until it is cancelled."""

    def __init__(
        self,
        catalogue: Catalogue,
        tools: Tools,
        *,
        now: Callable[[], float] = time.time,
        rng: random.Random | None = None,
    ) -> None:
        self._catalogue = catalogue
        self._tools = tools
        self._now = now
        self._rng = rng or random.Random()  # noqa: S311 - spreads looks
        self._sources: dict[str, Declared] = {}
        self._managed: dict[str, Managed] = {}
        self._tasks = Tasks(_task_failed)
        self._queue: KeyedQueue | None = None
        self.on_outcome: Callable[[Outcome], None] = lambda outcome: None
        self.on_declared: Callable[[Declaration], None] = lambda declaration: None

    def __repr__(self) -> str:
        return f"GitOpsController(applications={len(self._managed)}, {self._queue})"

    # -- its life ----------------------------------------------------------------------------------------

    def start(self, sources: Iterable[GitSource]) -> None:
        """Begin to look. Call once, in the event loop."""
        self._queue = KeyedQueue(self._work, workers=WORKERS, on_failure=self._failed, rng=self._rng.random)
        for source in sources:
            self._add(source)

    async def configure(self, sources: Iterable[GitSource]) -> None:
        """Look at exactly these sources from now on. The applications of others go, their targets stay."""
        wanted = {source.name: source for source in sources}
        for name, declared in list(self._sources.items()):
            if name not in wanted:
                del self._sources[name]
                if self._queue is not None:
                    self._queue.forget(_SOURCE + name)
                for managed in self._of(declared.source):
                    await self._remove(managed)
        for name, source in wanted.items():
            if name not in self._sources or self._sources[name].source is not source:
                self._add(source)  # one with other settings keeps its applications

    def _add(self, source: GitSource) -> None:
        self._sources[source.name] = Declared(source)
        self.source_changed(source.name)

    async def close(self) -> None:
        """What is going on is cancelled: the next start takes it up again."""
        if self._queue is not None:
            await self._queue.close()
        await self._tasks.close()
        for managed in self._managed.values():
            await managed.subject.target.close()

    async def idle(self) -> None:
        """Wait until nothing waits to be looked at."""
        if self._queue is not None:
            await self._queue.idle()

    # -- what wakes it -----------------------------------------------------------------------------------

    def source_changed(self, name: str) -> None:
        """It has another head, or another problem."""
        if self._queue is not None and name in self._sources:
            self._queue.add(_SOURCE + name)

    def declare_again(self, name: str) -> None:
        """What a source declares may be another thing, though its head is not."""
        if name in self._sources:
            self._sources[name].asked += 1
            self.source_changed(name)

    def look(self, name: str | None = None) -> None:
        """Look at an application, or at all of them, now. Raises ProblemError (404)."""
        names = list(self._managed) if name is None else [self.managed(name).subject.name]
        for each in names:
            if self._queue is not None:
                self._queue.add(_APP + each)

    async def look_through(self, names: Sequence[str], seconds: float) -> bool:
        """Look at these now, and wait for that; whether it was over in time. Raises ProblemError (404)."""
        waiting = []
        for name in names:
            waiting.append(asyncio.get_running_loop().create_future())
            self.managed(name).awaited.append(waiting[-1])
            self.look(name)
        return not waiting or not (await asyncio.wait(waiting, timeout=seconds))[1]

    def order(self, name: str, order: Order) -> None:
        """Do what a person asks for at the next look, which is now. Raises ProblemError (404)."""
        self.managed(name).orders.append(order)
        self.look(name)

    # -- what is known -----------------------------------------------------------------------------------

    @property
    def applications(self) -> Mapping[str, Managed]:
        return self._managed

    @property
    def sources(self) -> Mapping[str, Declared]:
        return self._sources

    def managed(self, name: str) -> Managed:
        """Raises ProblemError (404)."""
        found = self._managed.get(name)
        if found is None:
            known = ", ".join(sorted(self._managed)[:20]) or "none"
            detail = f"there is no application {name[:80]!r}; known: {known}"
            raise ProblemError(
                Problem("unknown-application", "No such application", detail, 404, Fault.CLIENT)
            )
        return found

    def is_current(self, subject: Subject) -> bool:
        """Whether a look at an application is about what is wanted of it: as long as it is declared as it was
        when the look began, and nobody has ordered another commit since.
        """
        managed = self._managed.get(subject.name)
        if managed is None or managed.subject is not subject:
            return False
        return all(order.commit is None for order in managed.orders)

    def statistics(self) -> QueueStatistics:
        return self._queue.statistics() if self._queue is not None else QueueStatistics(0, 0, 0, 0, 0.0)

    # -- the work ----------------------------------------------------------------------------------------

    async def _work(self, key: str) -> float | None:
        if key.startswith(_SOURCE):
            declared = self._sources.get(key.removeprefix(_SOURCE))
            if declared is not None:
                await self._read_source(declared)
            return None
        managed = self._managed.get(key.removeprefix(_APP))
        if managed is None:
            return None
        awaited, managed.awaited = managed.awaited, []
        try:
            return await self._reconcile(managed)
        finally:
            _seen(awaited)

    async def _reconcile(self, managed: Managed) -> float | None:
        order = managed.orders.pop(0) if managed.orders else None
        now = self._now()
        outcome = await reconcile(managed.subject, order, self._tools, now)
        if order is not None and outcome.is_put_off and order.deployment is None:
            managed.orders.insert(0, order)  # one with a deployment is kept with that
            self._note(managed, outcome, outcome.findings)
            return outcome.again
        self._note(managed, outcome, outcome.findings)
        if managed.orders:
            return 0.0
        return RESYNC * (0.9 + 0.2 * self._rng.random()) if outcome.again is None else outcome.again

    def _note(self, managed: Managed, outcome: Outcome, findings: Sequence[Finding]) -> None:
        managed.outcome, managed.looked_at = outcome, self._now()
        if outcome.look.deployment is not None:
            managed.deployment = outcome.look.deployment.id
        managed.conditions = summary.conditions(findings, managed.conditions, managed.looked_at)
        managed.observed_generation = summary.observed(
            managed.subject.generation, managed.observed_generation, managed.conditions
        )
        self.on_outcome(outcome)

    async def _read_source(self, declared: Declared) -> None:
        """Which applications the source declares, and which of them its new head concerns."""
        source = declared.source
        before, asked = declared.snapshot, declared.asked
        again = asked != declared.heard
        head = source.head or (before if again else None)
        if head is None or (before is not None and before.commit.id == head.commit.id and not again):
            declared.problem = self._problem(declared)
            for managed in self._of(source):  # its problem may be another one
                self.look(managed.subject.name)
            return
        try:
            wanted = await self._catalogue.applications(source, head)
        except ProblemError as error:
            problem = error.problem
            declared.problem = Finding(Reason.INVALID_CONFIG, f"{problem.title}: {problem.detail}")
            LOG.warning("declarations refused", source=source.name, reason=declared.problem.message)
            return
        await self._take(declared, wanted, before, head)
        declared.snapshot, declared.heard = head, asked  # not before: what failed is done again
        declared.problem = self._problem(declared)

    def _problem(self, declared: Declared) -> Finding | None:
        return _refusal(declared.refused) or self._catalogue.problem(declared.source)

    async def _take(
        self, declared: Declared, wanted: Sequence[Application], before: Snapshot | None, after: Snapshot
    ) -> None:
        names, source = {each.name for each in wanted}, declared.source
        were = {each.subject.name: each.subject.application for each in self._of(source)}
        declared.refused = {}
        for managed in self._of(source):
            if managed.subject.name not in names:
                await self._remove(managed)
        for application in wanted:
            there = self._managed.get(application.name)
            if there is not None and there.subject.source.name != source.name:
                text = f"the source {there.subject.source.name} declares it already: choose another name"
                declared.refused[application.name] = text
                continue
            same = there is not None and there.subject.source is source
            if there is None or not same or there.subject.application != application:
                try:
                    await self._manage(application, source, there)
                except ProblemError as error:
                    declared.refused[application.name] = error.problem.detail
                    continue
            elif before is not None and not await self._catalogue.concerns(application, before, after):
                continue
            self.look(application.name)
        if before is not None:
            self._tell_declared(source, after, were)

    def _tell_declared(self, source: GitSource, after: Snapshot, were: Mapping[str, Application]) -> None:
        are = {each.subject.name: each.subject.application for each in self._of(source)}
        declaration = Declaration(
            source.name,
            after.commit.id,
            added=tuple(sorted(are.keys() - were.keys())),
            changed=tuple(sorted(name for name in are.keys() & were.keys() if are[name] != were[name])),
            removed=tuple(sorted(were.keys() - are.keys())),
        )
        if declaration.added or declaration.changed or declaration.removed:
            self.on_declared(declaration)

    async def _manage(self, application: Application, source: GitSource, there: Managed | None) -> None:
        generation, target = 1, self._catalogue.target(application)
        if there is not None:
            generation = there.subject.generation + 1
            await self._drop(there)
        subject = Subject(application, source, target, generation)
        managed = Managed(subject)
        if there is not None:
            managed.conditions, managed.observed_generation = there.conditions, there.observed_generation
            managed.orders, managed.awaited = there.orders, there.awaited
            managed.deployment = there.deployment
        self._managed[application.name] = managed
        managed.watching = self._tasks.spawn(self._watch(subject), f"watch {application.name}")

    def _of(self, source: GitSource) -> list[Managed]:
        return [each for each in self._managed.values() if each.subject.source.name == source.name]

    async def _remove(self, managed: Managed) -> None:
        """Git declares it no more. Another source that does takes it over."""
        name = managed.subject.name
        await self._drop(managed)
        _seen(managed.awaited)
        await self._tools.applications.set_drift(name, [])
        for row in await self._tools.deployments.search(application=name, states=UNFINISHED):
            state = rollout.move(row.state, DeploymentState.CANCELLED)
            ended = replace(
                row, state=state, ended=self._now(), message="Git declares the application no more"
            )
            await self._tools.deployments.update(ended)
        for declared in self._sources.values():
            if name in declared.refused:
                self.declare_again(declared.source.name)

    async def _drop(self, managed: Managed) -> None:
        """Its target stays as it is."""
        name = managed.subject.name
        self._managed.pop(name, None)
        if self._queue is not None:
            self._queue.forget(_APP + name)
        if managed.watching is not None:
            managed.watching.cancel()
        await managed.subject.target.close()

    async def _watch(self, subject: Subject) -> None:
        async for _ in subject.target.changes():
            if self._queue is not None:
                self._queue.add(_APP + subject.name, after=SETTLE)

    def _failed(self, key: str, error: Exception) -> None:
        LOG.error("look failed", key=key, exc_info=error)
        managed = self._managed.get(key.removeprefix(_APP))
        if managed is not None:
            says = Finding(Reason.FAULT, f"{type(error).__name__}: see the log")
            managed.conditions = summary.conditions([says], managed.conditions, self._now())


def _seen(awaited: Iterable[asyncio.Future[None]]) -> None:
    for each in awaited:
        if not each.done():
            each.set_result(None)


def _refusal(refused: Mapping[str, str]) -> Finding | None:
    if not refused:
        return None
    text = "; ".join(f"{name}: {why}" for name, why in sorted(refused.items())[:20])
    return Finding(Reason.INVALID_CONFIG, text)


def _task_failed(name: str, error: BaseException) -> None:
    LOG.error("task failed", task=name, exc_info=error)
