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
from dataclasses import dataclass, field
from typing import Final, Protocol

import structlog

from fairlead.core import summary
from fairlead.core.summary import Finding
from fairlead.gitops.passes import Order, Subject
from fairlead.gitops.reconcile import Outcome, Tools, reconcile
from fairlead.kit.keyed_queue import KeyedQueue, QueueStatistics
from fairlead.kit.tasks import Tasks
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.model.gitops import Application
from fairlead.model.reconciling import Reason
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

    def target(self, application: Application) -> Target: ...


@dataclass(slots=True)
class Managed:
    """An application, and what was found when it was looked at last."""

    subject: Subject
    outcome: Outcome | None = None
    conditions: tuple[Condition, ...] = ()
    observed_generation: int = 0
    looked_at: float | None = None  # Unix time, s
    orders: list[Order] = field(default_factory=list)
    watching: asyncio.Task[None] | None = None


@dataclass(slots=True)
class Declared:
    """A source, and the commit whose declarations are in force."""

    source: GitSource
    snapshot: Snapshot | None = None
    problem: Finding | None = None  # why its newest declarations are not


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

    def __repr__(self) -> str:
        return f"GitOpsController(applications={len(self._managed)}, {self._queue})"

    # -- its life ----------------------------------------------------------------------------------------

    def start(self, sources: Iterable[GitSource]) -> None:
        """Begin to look. Call once, in the event loop."""
        self._queue = KeyedQueue(self._work, workers=WORKERS, on_failure=self._failed, rng=self._rng.random)
        for source in sources:
            self._sources[source.name] = Declared(source)
            self._queue.add(_SOURCE + source.name)

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

    def look(self, name: str | None = None) -> None:
        """Look at an application, or at all of them, now. Raises ProblemError (404)."""
        names = list(self._managed) if name is None else [self.managed(name).subject.name]
        for each in names:
            if self._queue is not None:
                self._queue.add(_APP + each)

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

    def statistics(self) -> QueueStatistics:
        return self._queue.statistics() if self._queue is not None else QueueStatistics(0, 0, 0, 0, 0.0)

    # -- the work ----------------------------------------------------------------------------------------

    async def _work(self, key: str) -> float | None:
        if key.startswith(_SOURCE):
            await self._read_source(self._sources[key.removeprefix(_SOURCE)])
            return None
        managed = self._managed.get(key.removeprefix(_APP))
        return None if managed is None else await self._reconcile(managed)

    async def _reconcile(self, managed: Managed) -> float:
        order = managed.orders.pop(0) if managed.orders else None
        now = self._now()
        outcome = await reconcile(managed.subject, order, self._tools, now)
        self._note(managed, outcome, outcome.findings)
        if managed.orders:
            return 0.0
        return RESYNC * (0.9 + 0.2 * self._rng.random()) if outcome.again is None else outcome.again

    def _note(self, managed: Managed, outcome: Outcome, findings: Sequence[Finding]) -> None:
        managed.outcome, managed.looked_at = outcome, self._now()
        managed.conditions = summary.conditions(findings, managed.conditions, managed.looked_at)
        managed.observed_generation = summary.observed(
            managed.subject.generation, managed.observed_generation, managed.conditions
        )
        self.on_outcome(outcome)

    async def _read_source(self, declared: Declared) -> None:
        """Which applications the source declares, and which of them its new head concerns."""
        source = declared.source
        head, before = source.head, declared.snapshot
        mine = [each for each in self._managed.values() if each.subject.source is source]
        if head is None or (before is not None and before.commit.id == head.commit.id):
            for managed in mine:  # its problem may be another one
                self.look(managed.subject.name)
            return
        try:
            wanted = await self._catalogue.applications(source, head)
        except ProblemError as error:
            problem = error.problem
            declared.problem = Finding(Reason.INVALID_CONFIG, f"{problem.title}: {problem.detail}")
            LOG.warning("declarations refused", source=source.name, reason=declared.problem.message)
            return
        declared.snapshot, declared.problem = head, None
        await self._take(source, wanted, before, head)

    async def _take(
        self, source: GitSource, wanted: Sequence[Application], before: Snapshot | None, after: Snapshot
    ) -> None:
        names = {each.name for each in wanted}
        for managed in list(self._managed.values()):
            if managed.subject.source is source and managed.subject.name not in names:
                await self._drop(managed)
        for application in wanted:
            there = self._managed.get(application.name)
            if there is None or there.subject.application != application:
                await self._manage(application, source, there)
            elif before is not None and not await self._catalogue.concerns(application, before, after):
                continue
            self.look(application.name)

    async def _manage(self, application: Application, source: GitSource, there: Managed | None) -> None:
        if there is not None and there.subject.source is not source:
            LOG.error("two sources declare one application", application=application.name)
            return
        generation = 1
        if there is not None:
            generation = there.subject.generation + 1
            await self._drop(there)
        subject = Subject(application, source, self._catalogue.target(application), generation)
        managed = Managed(subject)
        if there is not None:
            managed.conditions, managed.observed_generation = there.conditions, there.observed_generation
            managed.orders = there.orders
        self._managed[application.name] = managed
        managed.watching = self._tasks.spawn(self._watch(subject), f"watch {application.name}")

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


def _task_failed(name: str, error: BaseException) -> None:
    LOG.error("task failed", task=name, exc_info=error)
