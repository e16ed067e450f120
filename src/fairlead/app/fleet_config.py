"""The fleet spec in force: whose it is, what it is made of, and the one way by which it changes.

The accepted spec has one owner: the fleet file, which is watched, or GitOps. Live edits lie on top, by key
(`fleet_layers`). Whatever asks for a change (the file, REST, GitOps) waits for one lock, so that each sees
the outcome of the one before. Under it: compose the wanted spec from the layers, check that all of it can be
put in force, have the fleet apply it, and only when that has accepted it, take the layers over and keep them
(`SpecKeeper`). What is refused on the way changes nothing.

Several processes may keep their spec in one database. Each follows what the others keep, and looks before a
change of its own; of two that change it in the same moment, one is told to try again.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Protocol

import structlog

from fairlead.app.fleet_conditions import Troubles, facts, settled, since
from fairlead.app.fleet_layers import Composed, Layers, accept, edited, read
from fairlead.app.fleet_reading import (
    Stated,
    complaint,
    content_of,
    problem,
    spec_of_body,
    spec_of_edit,
    spec_of_file,
)
from fairlead.app.spec_keeper import UNAVAILABLE, SpecKeeper, without_spec
from fairlead.core.overrides import Edit
from fairlead.formats.model_messages import some
from fairlead.kit.tasks import attended
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.model.event_data import ConfigChanged
from fairlead.model.events import EventType
from fairlead.model.fleet import FleetSpec
from fairlead.model.reports import Change, FleetStatus, Origin, Override, Owner, ServerChange
from fairlead.model.status import Condition, ServerStatus
from fairlead.orchestrator.orchestrator import Applied
from fairlead.ports import NO_RECORDER, Recorder, SpecConflictError
from fairlead.stores.fleet_file import load, load_document
from fairlead.stores.fleet_watch import watch
from fairlead.stores.overrides import Found, Kept
from fairlead.web.preconditions import changed_meanwhile

LOG = structlog.get_logger("fairlead.config")
FILE: Final = "the fleet file"  # who changed something, where it was no person
UNREADABLE: Final = "fleet-file-unreadable"
ELSEWHERE: Final = "another process"
AGAIN: Final = 1.0  # s until the file is followed again after a fault of ours
LOOK: Final = 1.0  # s between looks at what other processes have kept
REFUSED_AGAIN: Final = 30.0  # s until what they have kept, and this one cannot run, is tried again
RETURN: Final = "the database's return"
MEANWHILE: Final = "changed-meanwhile"  # a problem's code
GLANCE: Final = 0.2  # s between looks at whether somebody still waits for a change
GIVEN_UP: Final = Problem(
    code="given-up",
    title="Given up",
    detail="GitOps has gone before the new versions of servers were up: it looks again, and decides anew",
    status=409,
    fault=Fault.CLIENT,
)
STARTING: Final = Problem(
    code="starting",
    title="Fairlead is starting",
    detail="the fleet spec can be changed when the first one is in force; try again",
    status=503,
    fault=Fault.GATEWAY,
    retry_after=1.0,
)


Gone = Callable[[], Awaitable[bool]]
"""Whether whoever asks for a change waits for it no more."""


async def _stays() -> bool:
    return False


class Fleet(Protocol):
    """The part of `MCPOrchestrator` that this needs."""

    @property
    def spec(self) -> FleetSpec: ...

    generation: int

    async def apply(self, spec: FleetSpec, *, dry_run: bool = False) -> Applied: ...

    def servers(self) -> list[ServerStatus]: ...


class FleetConfig:
    """Implements `web.services.ConfigService`."""

    def __init__(
        self,
        path: Path,
        fleet: Fleet,
        keeper: SpecKeeper,
        *,
        check: Callable[[FleetSpec], object] = lambda _: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`check` raises ValueError for a spec that cannot be put in force, although the file may say so."""
        self._path = path
        self._fleet = fleet
        self._keeper = keeper
        self._check = check
        self._now = now
        self._started = False
        self._read = False  # what is kept
        self._lock = asyncio.Lock()
        self._owner = Owner.FILE
        self._in_force = Composed(Layers(), FleetSpec())
        self._edition = 0
        self._run = secrets.token_hex(4)  # no tag of another run is one of this
        self._kept = Kept()  # what stands in the database
        self._seen: bytes | None = None  # the file's content that was looked at last, by whomever
        self._changing = False
        self._troubles = Troubles()
        self._last: Condition = self._changed("None", "nothing was changed yet")
        self._conditions: list[Condition] = []
        self._observed = 0
        self._unobserved = True
        self.on_applied: Callable[[], None] = lambda: None
        self.recorder: Recorder = NO_RECORDER

    def __repr__(self) -> str:
        overrides = [each.key for each in self._overrides]
        return f"<FleetConfig {self._owner} generation={self._fleet.generation} overrides={overrides}>"

    # -- what holds --------------------------------------------------------------------------------------

    def current(self) -> dict[str, Any]:
        """The spec in force, with every default, placeholders unresolved."""
        return self._fleet.spec.model_dump(mode="json", by_alias=True)

    @property
    def tag(self) -> str:
        """Another one with each change of the spec in force, its owner or the live edits; never again."""
        return f"{self._run}-{self._edition}"

    @property
    def _overrides(self) -> tuple[Override, ...]:
        return self._in_force.layers.overrides

    def status(self) -> FleetStatus:
        """The spec in force, what it is made of, and how far the fleet is with it."""
        self._observe()
        return FleetStatus(
            owner=self._owner,
            generation=self._fleet.generation,
            observed_generation=self._observed,
            conditions=[*self._conditions, self._last],
            overrides=list(self._overrides),
            spec=self._in_force.document,
        )

    def states_changed(self) -> None:
        """The state of a server has changed."""
        self._unobserved = True

    def tick(self) -> None:
        """About once a second: conditions tell since when they hold, whether somebody looks or not."""
        if self._unobserved:
            self._observe()

    def _observe(self) -> None:
        servers = self._fleet.servers()
        if settled(servers) and not self._changing:
            self._observed = self._fleet.generation
        troubles = self._troubles
        if self._owner is not Owner.FILE:
            troubles = replace(troubles, refused_file="")
        found = facts(servers, troubles, changing=self._changing)
        self._conditions = since(found, self._conditions, self._now())
        self._unobserved = False

    # -- changes by the owner ----------------------------------------------------------------------------

    async def start(self) -> None:
        """Put in force what held before the last stop, with what the file's owner changed meanwhile.

        When the file cannot be read or is wrong, the last spec that was accepted from it holds; without one,
        ProblemError is raised. While the database is away, the file alone holds until it is back.
        """
        async with self._lock:
            try:
                await self._begin()
            except ProblemError as away:
                if away.problem.code != UNAVAILABLE:
                    raise
                await self._accept(Owner.FILE, await self._file_spec(), by=FILE)
                why = f"live edits, and GitOps' spec, are not known yet: {away.problem.detail}"
                self._set_troubles(unsaved=why)
                LOG.warning("the fleet file alone is in force until the database is back", why=why)
            self._started = True

    async def _begin(self) -> None:
        found, accepted = await self._remembered_state()
        self._read = True
        self._kept, self._troubles = found.kept, Troubles(lost=found.lost)
        before = self._in_force
        self._in_force = Composed(Layers(before.layers.accepted, found.kept.overrides), before.spec)
        self._fleet.generation = max(0, self._keeper.generation - 1)  # the next one is in force
        if found.kept.owner is Owner.GITOPS and accepted is not None:
            await self._accept(Owner.GITOPS, accepted, by="GitOps, before the restart")
        else:
            await self._start_from_file(accepted)

    async def _start_from_file(self, last: Stated | None) -> None:
        """`last`: what was accepted from this file before."""
        try:
            await self._accept_file(FILE)
        except ProblemError as refused:
            if last is None:
                raise
            detail = refused.problem.detail
            LOG.error("the fleet file is refused, the last accepted one is in force", detail=detail)
            self._refuse(FILE, detail)
            said = self._last
            await self._accept(Owner.FILE, last, by=f"{FILE}, as it was accepted last")
            self._last = said
            self._set_troubles(refused_file=detail)

    async def follow(self) -> None:
        """Apply each good content that the file takes, for ever; none while GitOps owns the spec."""
        while True:
            try:
                async for content in watch(self._path, seen=self._seen):
                    await self._take_saved(content)
            except Exception as error:  # the next content must be taken all the same
                what = f"putting it in force failed ({type(error).__name__}); the log has more"
                self._refuse(FILE, what)
                self._set_troubles(refused_file=what)
                LOG.error("following the fleet file failed", exc_info=error)
                await asyncio.sleep(AGAIN)

    async def follow_others(self) -> None:
        """Put in force what other processes keep, and keep what could not be kept yet; for ever."""
        while True:
            pause = LOOK
            try:
                async with self._lock:
                    if not self._read:
                        await self._begin()
                    if self._troubles.unsaved:
                        with suppress(SpecConflictError):  # it gives way to what another has kept meanwhile
                            await self._keep(RETURN)
                    await self._catch_up()
            except ProblemError as refused:
                if refused.problem.code != UNAVAILABLE:  # of which others tell
                    pause = REFUSED_AGAIN
                    LOG.error("cannot put in force what another process has", detail=refused.problem.detail)
            except Exception as error:  # the next spec must be taken all the same
                LOG.error("following the kept fleet spec failed", exc_info=error)
            await asyncio.sleep(pause)

    async def _catch_up(self) -> None:
        """Put in force what another process has kept since we looked last. Raises ProblemError."""
        before = self._keeper.generation
        found = await self._keeper.newer()
        if self._keeper.generation < before:
            await self._keep_again(before)
            return
        if found is None:
            return
        if found.kept == self._kept:
            self._fleet.generation = self._keeper.generation
            return
        try:
            with self._remembered(ELSEWHERE):
                stated = await asyncio.to_thread(_stated, found)
                wanted = await asyncio.to_thread(accept, stated, found.kept.overrides)
                await self._put(found.kept.owner, wanted, by=ELSEWHERE, keep=False)
                self._kept = found.kept
        except ProblemError:
            self._keeper.generation = before  # it is still to be done
            raise
        if self._troubles.unsaved:
            LOG.warning("what could not be kept gave way to what another process has kept meanwhile")
            self._set_troubles(unsaved="")

    async def _keep_again(self, before: int) -> None:
        """The database has forgotten generations up to `before`, as a standby does that lagged."""
        why = f"the database has gone back from generation {before} to {self._keeper.generation}"
        LOG.error("what is in force is kept once more", why=why)
        self._set_troubles(unsaved=why)
        self._fleet.generation = max(before, self._fleet.generation) + 1  # a new one, for all to see
        with suppress(SpecConflictError):  # another process was first
            await self._keep(RETURN)

    async def _take_saved(self, content: bytes) -> None:
        async with self._lock:
            # What was seen is in force or refused already; what the file no longer has comes again.
            stale = content == self._seen or content != await asyncio.to_thread(content_of, self._path)
            if not stale and self._owner is Owner.FILE:
                with suppress(ProblemError):  # it is logged, and shows in the status
                    await self._take_file()

    async def reload(self) -> Change:
        """Read the file, put it in force, say what it changed. On ProblemError nothing has changed."""
        async with self._turn():
            if self._owner is Owner.GITOPS:
                raise problem(
                    "not-the-owner",
                    "The fleet file does not own the fleet spec",
                    f"GitOps does, so {self._path} is not read; give the spec back to the file with "
                    "POST /api/fleet/release, which reads it, too",
                    409,
                )
            return await self._take_file()

    async def release(self) -> Change:
        """The file owns the spec again, and is read. On ProblemError nothing has changed."""
        async with self._turn():
            return await self._take_file(by="a release to the fleet file")

    async def _take_file(self, by: str = FILE) -> Change:
        try:
            with self._remembered(by):
                change = await self._accept_file(by)
        except ProblemError as refused:
            if refused.problem.code != UNREADABLE:  # else it may come back as what is in force
                self._set_troubles(refused_file=refused.problem.detail)
            raise
        self._set_troubles(refused_file="")
        return change

    async def _accept_file(self, by: str) -> Change:
        """What the file says now. Nobody is there who could be told to try again."""
        stated = await self._file_spec()
        while True:
            try:
                return await self._accept(Owner.FILE, stated, by=by)
            except ProblemError as refused:
                if refused.problem.code != MEANWHILE:
                    raise

    # -- changes by people and GitOps --------------------------------------------------------------------

    async def replace(
        self,
        content: bytes,
        *,
        expected: str | None,
        dry_run: bool,
        origin: Origin,
        by: str,
        keep: Sequence[str] = (),
        gone: Gone = _stays,
    ) -> Change:
        """Put a whole spec in force; `content` is a fleet file as JSON.

        `expected` is the tag that the caller has seen, None if it does not matter. ProblemError: 412 when it
        is another one by now, 422 with all that is wrong in the spec, 409 when the fleet refuses. `keep` are
        keys of live edits that stay such under a whole spec of GitOps, if it has them. What GitOps has `gone`
        from is not put in force, unless it is already: a newer commit does not wait for a server that does
        not start.
        """
        stated = await asyncio.to_thread(spec_of_body, content)
        async with self._turn():
            if expected not in {None, self.tag}:
                raise ProblemError(changed_meanwhile(self.tag))
            with self._remembered(by, dry_run):
                if origin is Origin.GITOPS_WHOLE:
                    wanted = await asyncio.to_thread(self._in_force.layers.whole, stated, keep)
                    return await self._put(Owner.GITOPS, wanted, by=by, dry_run=dry_run, gone=gone)
                if origin is Origin.GITOPS:
                    wanted = await asyncio.to_thread(accept, stated, self._overrides)
                    return await self._put(Owner.GITOPS, wanted, by=by, dry_run=dry_run, gone=gone)
                wanted = await asyncio.to_thread(self._live, stated.spec, by)
                return await self._put(self._owner, wanted, by=by, dry_run=dry_run)

    async def edit(self, edits: Sequence[Edit], *, by: str) -> Change:
        """Edit keys of the spec in force; they stay on top of what its owner says."""
        async with self._turn():
            with self._remembered(by):
                wanted = await asyncio.to_thread(self._edited, edits, by)
                return await self._put(self._owner, wanted, by=by)

    async def drop_overrides(self, keys: Sequence[str] | None) -> Change:
        """Take live edits back: those of some keys, or all (None)."""
        async with self._turn():
            there = {each.key: each for each in self._overrides}
            if unknown := [key for key in keys or () if key not in there]:
                detail = f"no override has the key {unknown[0][:200]!r}; there are: {some(there)}"
                raise problem("unknown-override", "No such override", detail, 404)
            by = "a dropped override"
            with self._remembered(by):
                wanted = await asyncio.to_thread(self._in_force.layers.without, keys)
                return await self._put(self._owner, wanted, by=by)

    def _live(self, wanted: FleetSpec, by: str) -> Composed:
        return self._in_force.layers.live(wanted, by=by, at=self._now())

    def _edited(self, edits: Sequence[Edit], by: str) -> Composed:
        return self._live(spec_of_edit(read(edited(self._in_force.document, edits))), by)

    # -- the one way -------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """One change at a time. Before the first spec is in force there is nothing that could be changed."""
        if not self._started:
            raise ProblemError(STARTING)
        async with self._lock:
            if not self._read:
                await self._begin()
            with suppress(ProblemError):  # the database is away, or what is there cannot run here
                await self._catch_up()
            yield

    async def _accept(self, owner: Owner, stated: Stated, *, by: str) -> Change:
        """A new accepted spec, with the live edits on top."""
        wanted = await asyncio.to_thread(accept, stated, self._overrides)
        return await self._put(owner, wanted, by=by)

    async def _put(
        self,
        owner: Owner,
        wanted: Composed,
        *,
        by: str,
        dry_run: bool = False,
        keep: bool = True,
        gone: Gone = _stays,
    ) -> Change:
        """Apply, then take over and keep."""

        async def look() -> None:
            if await gone():
                raise ProblemError(GIVEN_UP)

        try:
            self._check(wanted.spec)
        except ValueError as wrong:
            raise problem("spec-refused", "Spec refused", str(wrong), 422, problems=[str(wrong)]) from None
        known = self._keeper.generation
        self._changing = not dry_run
        self._unobserved = True
        try:
            await look()  # it may have waited for its turn
            applied = await attended(self._fleet.apply(wanted.spec, dry_run=dry_run), look, GLANCE)
        finally:
            self._changing = False
        change = _change(self._fleet.generation, applied, wanted, dry_run)
        if dry_run:
            return change
        self._take_over(owner, wanted)
        for override, why in wanted.dropped:
            LOG.warning("live edit dropped", key=override.key, by=override.by, why=why)
        self._last = self._changed("Applied", _told(change, by))
        LOG.info("the fleet spec is in force", change=self._last.message)
        try:
            self.on_applied()
        except ProblemError as failed:
            LOG.error("the fleet spec is in force, but not for who may call", detail=failed.problem.detail)
        if not keep:
            self._fleet.generation = self._keeper.generation  # as the others call it
            return change
        try:
            await self._keep(by)
        except SpecConflictError:
            await self._catch_up()
            detail = "another process has changed the fleet spec in the same moment, and its change holds"
            raise problem(MEANWHILE, "Changed meanwhile", f"{detail}; try again", 409) from None
        change = change.model_copy(
            update={"saved": not self._troubles.unsaved, "generation": self._fleet.generation}
        )
        if change.generation != known:
            data = ConfigChanged(
                generation=change.generation,
                by=by,
                owner=owner.value,
                started=list(change.started),
                replaced=list(change.replaced),
                adjusted=list(change.adjusted),
                stopped=list(change.stopped),
            )
            self.recorder.note(EventType.CONFIG_CHANGED, "fleet", data)
        return change

    def _take_over(self, owner: Owner, wanted: Composed) -> None:
        before = (self._owner, self._overrides, self._in_force.document)
        if (owner, wanted.layers.overrides, wanted.document) != before:
            self._edition += 1
        self._owner, self._in_force = owner, wanted

    async def _keep(self, by: str) -> None:
        """Bring the database up to date. The change is in force: one that is away does not take it back.

        Raises SpecConflictError when another process was first.
        """
        if not self._read:
            return  # it would take the place of what is not known yet
        accepted, source = self._in_force.layers.accepted.said, str(self._path)
        kept = Kept(
            owner=self._owner,
            overrides=self._overrides,
            accepted=accepted,
            source=source if self._owner is Owner.FILE else "",
        )
        acted = by != FILE  # a person, or GitOps: what was lost is made good, or given up
        if self._troubles.lost and not acted:
            return  # it would take the place of what a person is to look at
        if kept == self._kept and not self._troubles.unsaved and not self._troubles.lost:
            return
        try:
            generation = await self._keeper.write(kept, by=by, generation=self._fleet.generation)
        except ProblemError as failed:
            why = f"a restart forgets what is in force: {failed.problem.title}: {failed.problem.detail}"
            self._set_troubles(unsaved=why)
            LOG.error("the fleet spec in force is not kept", detail=why)
        else:
            self._kept = kept
            self._fleet.generation = max(generation, self._fleet.generation)
            self._set_troubles(unsaved="", lost="")

    def _set_troubles(self, **troubles: str) -> None:
        self._troubles = replace(self._troubles, **troubles)
        self._unobserved = True

    @contextmanager
    def _remembered(self, by: str, dry_run: bool = False) -> Iterator[None]:
        """A change that is refused inside shows in the status, unless it was only tried."""
        try:
            yield
        except ProblemError as refused:
            if not dry_run:
                detail = refused.problem.detail
                self._refuse(by, detail)
                what = "fleet file refused, the running one stays" if by == FILE else "change refused"
                LOG.error(what, by=by, detail=detail)
            raise

    def _refuse(self, by: str, why: str) -> None:
        self._last = self._changed("Refused", f"{by}: {why}", status=False)

    def _changed(self, reason: str, message: str, *, status: bool = True) -> Condition:
        return Condition(type="LastChange", status=status, reason=reason, message=message, since=self._now())

    # -- reading -----------------------------------------------------------------------------------------

    async def _file_spec(self) -> Stated:
        """What the file says now. Raises ProblemError (422) with every problem of it in `extra`."""
        content = await asyncio.to_thread(content_of, self._path)
        if content is None:
            detail = f"{self._path}: not there, or not readable; name another fleet file with --config"
            raise problem(UNREADABLE, "Fleet file unreadable", detail, 422)
        self._seen = content
        loaded = await asyncio.to_thread(load, content, str(self._path))
        stated = spec_of_file(loaded)
        if loaded.problems:
            for found in loaded.problems:
                LOG.info("fleet file", problem=str(found))
            LOG.warning(
                "the fleet file has keys that are not in force; `fairlead validate` names them",
                file=str(self._path),
                keys=len(loaded.problems),
            )
        return stated

    async def _remembered_state(self) -> tuple[Found, Stated | None]:
        """What is kept, and the accepted spec in it: GitOps', or this file's. None if it is invalid today."""
        found = await self._keeper.read()
        kept = found.kept
        if kept.accepted is None or (kept.owner is Owner.FILE and kept.source != str(self._path)):
            return found, None
        try:
            return found, await asyncio.to_thread(_stated, found)
        except ProblemError as invalid:
            why = invalid.problem.detail
            return (without_spec(found, why) if kept.owner is Owner.GITOPS else found), None


def _stated(found: Found) -> Stated:
    """The accepted spec that is kept. Raises ProblemError (422)."""
    loaded = load_document(found.kept.accepted or {}, str(found.kept.owner))
    if loaded.spec is None:
        raise problem("spec-invalid", "Kept spec invalid", complaint(loaded.errors[0]), 422)
    return Stated(loaded.spec, loaded.said)


def _change(generation: int, applied: Applied, wanted: Composed, dry_run: bool) -> Change:
    moved = applied.sessions_moved.items()
    return Change(
        generation=generation,
        started=applied.started,
        replaced=applied.replaced,
        adjusted=applied.adjusted,
        stopped=applied.stopped,
        kept=applied.kept,
        sessions_moved=tuple(ServerChange(server=name, sessions=list(ids)) for name, ids in moved),
        dropped_overrides=tuple(override.key for override, _ in wanted.dropped),
        dry_run=dry_run,
    )


def _told(change: Change, by: str) -> str:
    """One line for a person."""
    did = {
        "started": change.started,
        "replaced": change.replaced,
        "adjusted": change.adjusted,
        "stopped": change.stopped,
        "dropped overrides": change.dropped_overrides,
    }
    parts = [f"{what} {', '.join(names)}" for what, names in did.items() if names]
    return f"generation {change.generation}, by {by}: {'; '.join(parts) or 'nothing had to change'}"
