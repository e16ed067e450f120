"""Carrying a deployment out: waves, health between them, and taking all of it back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final, TypeVar

from fairlead.core import discretion
from fairlead.formats import documents
from fairlead.gitops import journal
from fairlead.gitops.deployment_record import Record
from fairlead.gitops.journal import Entry
from fairlead.gitops.passes import Look, Subject
from fairlead.gitops.planning import FLEET
from fairlead.kit.tasks import attended
from fairlead.model.gitops import Application
from fairlead.model.reconciling import Format, Live, StepName
from fairlead.ports.gitops import (
    ApplicationStore,
    ChangedMeanwhileError,
    Health,
    Snapshot,
    TargetAwayError,
)

_T = TypeVar("_T")
Concerns = Callable[[Application, Snapshot, Snapshot], Awaitable[bool]]
"""Whether an application is another one in the second commit than in the first."""

LEASE: Final = 60.0  # s
RENEWED: Final = 20.0  # s after which a lease is renewed
FIRST_PAUSE: Final = 0.05  # s between questions for health
LONGEST_PAUSE: Final = 1.0  # s
GLANCE: Final = 0.25  # s between looks at what else there is, while the target is asked
TAKING_BACK: Final = 30.0  # s for which health is waited for after a roll-back
_TRIES: Final = 5


class Overtaken(Exception):  # noqa: N818 - no error: another commit is to be looked at
    """Git has a newer commit in which the application is another one, or a person wants something else."""


class Unhealthy(Exception):  # noqa: N818 - as above: the text says why
    """What was written does not become healthy, or somebody has cancelled it."""


class Leases:
    """Of targets, for one controller."""

    def __init__(self, store: ApplicationStore, holder: str) -> None:
        self._store = store
        self._holder = holder

    @asynccontextmanager
    async def held(self, application: Application) -> AsyncIterator[Lease]:
        """Raises TargetAwayError while somebody else has it."""
        target, holder = target_name(application), f"{self._holder}/{application.name}"
        token = await self._store.acquire(target, holder, LEASE)
        if token is None:
            raise TargetAwayError(f"somebody else is changing {target}: trying again")
        try:
            yield Lease(self._store, target, holder, token)
        finally:
            await self._store.release(target, holder, token)


async def every_commit(_: Application, before: Snapshot, after: Snapshot) -> bool:
    """A `Concerns` that knows nothing of what is in commits."""
    return before.commit.id != after.commit.id


class Lease:
    """One that is held. `token` is the fencing token."""

    def __init__(self, store: ApplicationStore, target: str, holder: str, token: int) -> None:
        self._store = store
        self._target = target
        self._holder = holder
        self.token = token
        self._renewed = asyncio.get_running_loop().time()

    async def keep(self) -> None:
        """Renew it when it is time. Raises TargetAwayError when it is somebody else's by now."""
        now = asyncio.get_running_loop().time()
        if now - self._renewed < RENEWED:
            return
        if not await self._store.renew(self._target, self._holder, self.token, LEASE):
            raise TargetAwayError(f"somebody else has begun to change {self._target}: looking again")
        self._renewed = now


def target_name(application: Application) -> str:
    target = application.target
    if target.fleet is not None:
        return f"fleet {target.fleet.url or 'of this machine'}"
    assert target.files is not None
    return f"files {target.files.root}"


class Execution:
    """Of one deployment, in one look. Its journal goes on from what earlier looks wrote."""

    def __init__(
        self,
        look: Look,
        record: Record,
        store: ApplicationStore,
        leases: Leases,
        at: Callable[[str], None],
    ) -> None:
        self._look = look
        self._record = record
        self._store = store
        self._leases = leases
        self._at = at
        self._known: list[Entry] | None = [] if record.is_new else None
        self._passed_over = look.head  # the source's newest commit that is no reason to stop
        self.cancelled: Callable[[], bool] = lambda: False
        self.concerns: Concerns = every_commit
        self.is_current: Callable[[Subject], bool] = lambda _: True
        self.conceal: Callable[[str], str] = str

    async def run(self) -> None:
        """Write what is planned, wave by wave.

        Raises Unhealthy, Overtaken, and what targets and stores raise.
        """
        look, plan = self._look, self._look.plan
        assert plan is not None
        assert look.versions is not None
        kept = await self.entries()
        if not plan.waves and not kept:
            return
        async with self._leases.held(look.application) as lease:
            first = 1 + max((each.order for each in kept), default=0)
            planned = journal.entries(look.versions, plan, first)
            await self._store.plan([journal.intent(self._record.row.id, each) for each in planned])
            self._known = [*kept, *planned]
            self._at("planned")
            tags: dict[str, str | None] = {}
            for number, wave in enumerate(plan.waves, first):
                names = ", ".join(write.object for write in wave.writes[:5])
                text = f"wave {number - first + 1} of {len(plan.waves)}: {names}"
                await self._record.step(StepName.APPLY, text)
                for write in wave.writes:
                    await lease.keep()
                    if write.object in plan.decisions.kept_objects and write.object not in tags:
                        await self._keep(look.lives.get(write.object))
                    self._at("before-write")
                    tag = tags.get(write.object, write.tag)
                    written = look.subject.target.write(replace(write, tag=tag))
                    tags[write.object] = await self.attended(written, lease)
                    self._at("written")
                    await self._store.done(self._record.row.id, write.object, number)
                    self._record.written += 1
                    self._at("write-noted")
                await self._become_healthy(lease, await self.entries())
            if not plan.waves:
                if self._record.last is not StepName.HEALTH:
                    self._record.enter(StepName.APPLY, "all was written before an interruption")
                await self._become_healthy(lease, kept)

    async def attended(self, asking: Coroutine[Any, Any, _T], lease: Lease | None = None) -> _T:
        """The target's answer, for as long as nothing is more important.

        An orchestrator's may take minutes. What was written by a request that is given up is seen once the
        target has settled; a target that does not do that is not left alone.
        """

        async def look() -> None:
            await self.look_up()
            if lease is not None:
                await lease.keep()

        if not hasattr(self._look.subject.target, "settle"):
            return await asking
        return await attended(asking, look, GLANCE)

    async def take_back(self) -> str:
        """Bring back what was there before the deployment; what came of it, for a person.

        Raises ProblemError where that is refused, TargetAwayError, ChangedMeanwhileError.
        """
        entries, target = await self.entries(), self._look.subject.target
        await settle(target, entries)
        by_object: dict[str, list[Entry]] = {}
        for each in entries:
            by_object.setdefault(each.object, []).append(each)
        changed = 0
        async with self._leases.held(self._look.application) as lease:
            for name in sorted(by_object, key=lambda name: -by_object[name][-1].order):
                changed += await self._take_back_one(by_object[name])
                await lease.keep()
            if not changed:
                return "all is as it was before"
            touched = journal.touched(entries)
            _recall(target, touched)
            error = await self._wait_for_health(lease, TAKING_BACK, 0.0)
        before = self._record.row.previous
        what = f"{before[:12]} is in force again" if before else "what was there before is there again"
        return f"{what}, but: {error}" if error else what

    async def _take_back_one(self, entries: Sequence[Entry]) -> bool:
        target, name = self._look.subject.target, entries[0].object
        for _ in range(_TRIES):
            live = (await target.read([name])).get(name)
            write = journal.taken_back(entries, live)
            if write is None:
                return False
            try:
                await target.write(write)
            except ChangedMeanwhileError:
                continue
            return True
        raise ChangedMeanwhileError(f"{name} changes all the time")

    async def entries(self) -> list[Entry]:
        """What the deployment has written, and was about to write."""
        if self._known is None:
            kept = await self._store.intents(self._record.row.id)
            self._known = [journal.entry(each) for each in kept]
        return self._known

    async def _keep(self, live: Live | None) -> None:
        if live is not None:
            await self._store.keep_live(self._look.name, self._record.row.id, _without_secrets(live))

    async def _become_healthy(self, lease: Lease, entries: Sequence[Entry]) -> None:
        gate = self._look.application.sync.health
        self._record.enter(StepName.HEALTH)
        self._at("before-health")
        touched = journal.touched(entries)
        # What a later wave removes does not count: it may be what is mended by that.
        counted = None if touched is None else touched - journal.removed(entries)
        _recall(self._look.subject.target, counted)
        if error := await self._wait_for_health(lease, gate.timeout, gate.stable_for):
            raise Unhealthy(error)

    async def _wait_for_health(self, lease: Lease, timeout: float, stable_for: float) -> str:  # noqa: ASYNC109
        """Empty when it is healthy, else why not."""
        loop = asyncio.get_running_loop()
        deadline, pause, since = loop.time() + timeout + stable_for, FIRST_PAUSE, None
        taking_back = self._record.last is StepName.ROLL_BACK
        while True:
            health = await self._health()
            now = loop.time()
            if health.healthy and health.done:
                since = now if since is None else since
                if now - since >= stable_for:
                    return ""
            elif health.done:
                return health.message
            else:
                since = None
            if now >= deadline:
                return f"not healthy after {timeout:g} s: {health.message}"
            if not taking_back:
                await self.look_up()
                if pause == FIRST_PAUSE:
                    await self._record.step(StepName.HEALTH, health.message)
            await lease.keep()
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE, pause * 1.5)

    async def _health(self) -> Health:
        try:
            return await self._look.subject.target.health()
        except TargetAwayError as away:
            return Health(healthy=False, done=False, message=str(away))

    async def look_up(self) -> None:
        """Whether something else is more important by now. Raises Unhealthy, Overtaken."""
        if self.cancelled():
            raise Unhealthy("cancelled")
        look, head = self._look, self._look.subject.source.head
        if not self.is_current(look.subject):
            raise Overtaken
        if look.order is not None or head is None or head.commit.id == self._passed_over:
            return
        if look.snapshot is None or await self.concerns(look.application, look.snapshot, head):
            raise Overtaken
        self._passed_over = head.commit.id


async def settle(target: object, entries: Sequence[Entry]) -> None:
    """Before it is looked at whether what was about to be written is there."""
    known = getattr(target, "settle", None)
    if known is not None and not all(entry.done for entry in entries):
        await known()


def _without_secrets(live: Live) -> Live:
    """As it may be kept: neither with values that were filled in, nor with what a person wrote out."""
    format_ = Format.YAML if live.object == FLEET else documents.format_of(live.object)
    if discretion.is_filled_in(live.document):  # its bytes have the secrets' values
        live = replace(live, content=documents.write(format_, live.document))
    if format_ in {Format.TEXT, Format.MARKDOWN}:
        content = _covered(live.content.decode("latin-1")).encode("latin-1")
        return replace(
            live, content=content, document={name: _covered(live.document[name]) for name in live.document}
        )
    shown = discretion.shown(live.document)
    if shown != live.document:
        live = replace(live, content=documents.write(format_, shown), document=shown)
    return live


def _covered(text: str) -> str:
    """Line by line: what else stands in a text is kept."""
    return "\n".join(map(discretion.shown, text.split("\n")))


def _recall(target: object, touched: frozenset[str] | None) -> None:
    """Tell a target that runs something what its health is about: it may have been restarted since."""
    recall = getattr(target, "recall", None)
    if recall is not None:
        recall(touched)
