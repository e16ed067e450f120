"""The fleet spec in force: whose it is, what it is made of, and the one way by which it changes.

The accepted spec has one owner: the fleet file, which is watched, or GitOps, whose last document is kept in
the state folder. Live edits lie on top, by key (`fleet_layers`). Whatever asks for a change (the file, REST,
GitOps) waits for one lock, so that each sees the outcome of the one before. Under it: compose the wanted spec
from the layers, have the fleet apply it, and only when the fleet has accepted it, take the layers over and
keep them on the disk. What is refused on the way changes nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Protocol

import structlog

from fairlead.app.fleet_conditions import facts, settled, since
from fairlead.app.fleet_layers import Composed, Layers, accept, complaint, edited, read
from fairlead.app.fleet_reading import content_of, problem, spec_of_body, spec_of_edit, spec_of_file
from fairlead.core.overrides import Edit
from fairlead.model.errors import ProblemError
from fairlead.model.fleet import FleetSpec
from fairlead.model.reports import Change, FleetStatus, Origin, Owner, ServerChange
from fairlead.model.status import Condition, ServerStatus
from fairlead.orchestrator.orchestrator import Applied
from fairlead.stores.fleet_file import document, load
from fairlead.stores.fleet_watch import watch
from fairlead.stores.overrides import Kept, OverrideStore

LOG = structlog.get_logger("fairlead.config")
FILE: Final = "the fleet file"  # who changed something, where it was no person


class Fleet(Protocol):
    """The part of `MCPOrchestrator` that this needs."""

    @property
    def spec(self) -> FleetSpec: ...

    @property
    def generation(self) -> int: ...

    async def apply(self, spec: FleetSpec, *, dry_run: bool = False) -> Applied: ...

    def servers(self) -> list[ServerStatus]: ...


class FleetConfig:
    """Implements `web.services.ConfigService`."""

    def __init__(
        self, path: Path, fleet: Fleet, store: OverrideStore, *, now: Callable[[], float] = time.time
    ) -> None:
        self._path = path
        self._fleet = fleet
        self._store = store
        self._now = now
        self._lock = asyncio.Lock()
        self._owner = Owner.FILE
        self._layers = Layers()
        self._kept = Kept()  # what stands on the disk
        self._seen: bytes | None = None  # the file's content that was looked at last, by whomever
        self._changing = False
        self._refused_file = ""
        self._last: Condition = self._changed("None", "nothing was changed yet")
        self._conditions: list[Condition] = []
        self._observed = 0
        self.on_applied: Callable[[], None] = lambda: None

    def __repr__(self) -> str:
        overrides = [each.key for each in self._layers.overrides]
        return f"<FleetConfig {self._owner} generation={self._fleet.generation} overrides={overrides}>"

    # -- what holds --------------------------------------------------------------------------------------

    def current(self) -> dict[str, Any]:
        """The spec in force, with every default, placeholders unresolved."""
        return self._fleet.spec.model_dump(mode="json", by_alias=True)

    def status(self) -> FleetStatus:
        """The spec in force, what it is made of, and how far the fleet is with it."""
        servers = self._fleet.servers()
        if settled(servers) and not self._changing:
            self._observed = self._fleet.generation
        refused = self._refused_file if self._owner is Owner.FILE else ""
        found = facts(servers, changing=self._changing, refused_file=refused)
        self._conditions = since(found, self._conditions, self._now())
        return FleetStatus(
            owner=self._owner,
            generation=self._fleet.generation,
            observed_generation=self._observed,
            conditions=[*self._conditions, self._last],
            overrides=list(self._layers.overrides),
            spec=document(self._fleet.spec),
        )

    # -- changes by the owner ----------------------------------------------------------------------------

    async def start(self) -> None:
        """Put in force what held before the last stop, with what the file's owner changed meanwhile.

        Raises ProblemError when the file owns the spec and cannot be read or is wrong.
        """
        async with self._lock:
            self._kept = await asyncio.to_thread(self._store.read)
            self._layers = Layers(overrides=self._kept.overrides)
            accepted = await asyncio.to_thread(self._gitops_spec, self._kept)
            owner = Owner.FILE if accepted is None else Owner.GITOPS
            if accepted is None:
                accepted = await self._file_spec()
            by = FILE if owner is Owner.FILE else "GitOps, before the restart"
            await self._accept(owner, accepted, by=by)

    async def follow(self) -> None:
        """Apply each good content that the file takes, for ever; none while GitOps owns the spec."""
        async for content in watch(self._path, seen=self._seen):
            async with self._lock:
                # What was seen is in force or refused already; what the file no longer has comes again.
                stale = content == self._seen or content != await asyncio.to_thread(content_of, self._path)
                if stale or self._owner is Owner.GITOPS:
                    continue
                with suppress(ProblemError):  # it is logged, and shows in the status
                    await self._take_file()

    async def reload(self) -> Change:
        """Read the file, put it in force, say what it changed. On ProblemError nothing has changed."""
        async with self._lock:
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
        async with self._lock:
            return await self._take_file()

    async def _take_file(self) -> Change:
        try:
            with self._remembered(FILE):
                spec = await self._file_spec()
                change = await self._accept(Owner.FILE, spec, by=FILE)
        except ProblemError as refused:
            self._refused_file = refused.problem.detail
            raise
        self._refused_file = ""
        return change

    # -- changes by people and GitOps --------------------------------------------------------------------

    async def replace(
        self, content: bytes, *, expected: int | None, dry_run: bool, origin: Origin, by: str
    ) -> Change:
        """Put a whole spec in force; `content` is a fleet file as JSON.

        `expected` is the generation that the caller has seen, None if it does not matter. ProblemError: 412
        when it is another one by now, 422 with all that is wrong in the spec, 409 when the fleet refuses.
        """
        spec = await asyncio.to_thread(spec_of_body, content)
        async with self._lock:
            self._check(expected)
            with self._remembered(by, dry_run):
                if origin is Origin.GITOPS:
                    return await self._accept(Owner.GITOPS, spec, by=by, dry_run=dry_run)
                layers = await asyncio.to_thread(self._layers.live, spec, by=by, at=self._now())
                return await self._put(self._owner, Composed(layers, spec), by=by, dry_run=dry_run)

    async def edit(self, edits: Sequence[Edit], *, by: str) -> Change:
        """Edit keys of the spec in force; they stay on top of what its owner says."""
        async with self._lock:
            with self._remembered(by):
                before = document(self._fleet.spec)
                spec = spec_of_edit(await asyncio.to_thread(read, edited(before, edits)))
                layers = await asyncio.to_thread(self._layers.live, spec, by=by, at=self._now())
                return await self._put(self._owner, Composed(layers, spec), by=by)

    async def drop_overrides(self, keys: Sequence[str] | None) -> Change:
        """Take live edits back: those of some keys, or all (None)."""
        async with self._lock:
            there = [each.key for each in self._layers.overrides]
            if unknown := [key for key in keys or () if key not in there]:
                listed = ", ".join(there) or "none"
                detail = f"no override has the key {unknown[0][:200]!r}; there are: {listed}"
                raise problem("unknown-override", "No such override", detail, 404)
            by = "a dropped override"
            with self._remembered(by):
                layers = self._layers.without(keys)
                spec = spec_of_edit(await asyncio.to_thread(layers.load))
                gone = [(each, "it was taken back") for each in self._layers.overrides]
                dropped = tuple(pair for pair in gone if pair[0] not in layers.overrides)
                return await self._put(self._owner, Composed(layers, spec, dropped), by=by)

    def _check(self, expected: int | None) -> None:
        generation = self._fleet.generation
        if expected is not None and expected != generation:
            raise problem(
                "generation-changed",
                "The fleet spec was changed meanwhile",
                f"If-Match names generation {expected}, the fleet is at generation {generation}: get it "
                "again (GET /api/fleet), make the change on that, and send it with the new ETag",
                412,
                expected=expected,
                generation=generation,
            )

    # -- the one way -------------------------------------------------------------------------------------

    async def _accept(self, owner: Owner, spec: FleetSpec, *, by: str, dry_run: bool = False) -> Change:
        """A new accepted spec, with the live edits on top."""
        wanted = await asyncio.to_thread(accept, spec, self._layers.overrides)
        return await self._put(owner, wanted, by=by, dry_run=dry_run)

    async def _put(self, owner: Owner, wanted: Composed, *, by: str, dry_run: bool = False) -> Change:
        """Apply, then take over and keep."""
        self._changing = not dry_run
        try:
            applied = await self._fleet.apply(wanted.spec, dry_run=dry_run)
        finally:
            self._changing = False
        change = _change(self._fleet.generation, applied, wanted, dry_run)
        if dry_run:
            return change
        self._owner, self._layers = owner, wanted.layers
        for override, why in wanted.dropped:
            LOG.warning("live edit dropped", key=override.key, by=override.by, why=why)
        self._last = self._changed("Applied", _told(change, by))
        LOG.info("the fleet spec is in force", change=self._last.message)
        await self._keep()
        try:
            self.on_applied()
        except ProblemError as failed:
            LOG.error("the fleet spec is in force, but not for who may call", detail=failed.problem.detail)
        return change

    async def _keep(self) -> None:
        """Bring the disk up to date. The change is in force: a disk that fails does not take it back."""
        accepted = document(self._layers.accepted) if self._owner is Owner.GITOPS else None
        kept = Kept(owner=self._owner, overrides=self._layers.overrides, accepted=accepted)
        if kept == self._kept:
            return
        try:
            await asyncio.to_thread(self._store.write, kept)
        except ProblemError as failed:
            told = f"it is in force, but a restart forgets it: {failed.problem.detail}"
            self._last = self._changed("NotKept", told, status=False)
            LOG.error("the change is not kept", detail=told)
        else:
            self._kept = kept

    @contextmanager
    def _remembered(self, by: str, dry_run: bool = False) -> Iterator[None]:
        """A change that is refused inside shows in the status, unless it was only tried."""
        try:
            yield
        except ProblemError as refused:
            if not dry_run:
                detail = refused.problem.detail
                self._last = self._changed("Refused", f"{by}: {detail}", status=False)
                what = "fleet file refused, the running one stays" if by == FILE else "change refused"
                LOG.error(what, by=by, detail=detail)
            raise

    def _changed(self, reason: str, message: str, *, status: bool = True) -> Condition:
        return Condition(type="LastChange", status=status, reason=reason, message=message, since=self._now())

    # -- reading -----------------------------------------------------------------------------------------

    async def _file_spec(self) -> FleetSpec:
        """What the file says now. Raises ProblemError (422) with every problem of it in `extra`."""
        content = await asyncio.to_thread(content_of, self._path)
        if content is None:
            detail = f"{self._path}: not there, or not readable; name another fleet file with --config"
            raise problem("fleet-file-unreadable", "Fleet file unreadable", detail, 422)
        self._seen = content
        loaded = await asyncio.to_thread(load, content, str(self._path))
        spec = spec_of_file(loaded)
        if loaded.problems:
            for found in loaded.problems:
                LOG.info("fleet file", problem=str(found))
            LOG.warning(
                "the fleet file has keys that are not in force; `fairlead validate` names them",
                file=str(self._path),
                keys=len(loaded.problems),
            )
        return spec

    def _gitops_spec(self, kept: Kept) -> FleetSpec | None:
        """The accepted spec that GitOps left; None if it owns none, or none that can be read today."""
        if kept.accepted is None:
            return None
        loaded = read(kept.accepted)
        if loaded.spec is None:
            self._store.set_aside(f"the spec from GitOps is not valid: {complaint(loaded.errors[0])}")
        return loaded.spec


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
