"""A FleetConfig over a fleet that only remembers what it was told to run."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fairlead.app.fleet_config import FleetConfig
from fairlead.app.spec_keeper import SpecKeeper
from fairlead.core.plan import plan
from fairlead.model.errors import ProblemError
from fairlead.model.fleet import FleetSpec, ServerSpec
from fairlead.model.reports import Change, Origin, Override, Owner
from fairlead.model.status import Condition, ServerState, ServerStatus
from fairlead.orchestrator.orchestrator import Applied
from fairlead.stores.overrides import Kept, OverrideStore
from fairlead.stores.state import StateFolder
from support.spec_stores import MemorySpecStore
from support.web_services import problem, server

FILE = {
    "version": "1",
    "servers": {
        "a": {"command": "run", "scaling": {"maxInstances": 8}},
        "b": {"command": "run", "environment": {"MODE": "fast"}},
    },
    "loadBalancing": {"weights": {"b": 2.0}},
}


class RememberingFleet:
    """Accepts every spec, unless `refusal` says why not. `held` keeps it from going on while it is clear."""

    def __init__(self) -> None:
        self.spec = FleetSpec()
        self.generation = 0
        self.refusal = ""
        self.held = asyncio.Event()
        self.held.set()
        self.asked: list[FleetSpec] = []
        self.state: dict[str, ServerState] = {}
        self.on_state: Callable[[], None] = lambda: None
        self._busy = False

    async def apply(self, spec: FleetSpec, *, dry_run: bool = False) -> Applied:
        assert not self._busy, "one change at a time"
        self._busy = True
        try:
            self.asked.append(spec)
            await asyncio.sleep(0)
            await self.held.wait()
        finally:
            self._busy = False
        if self.refusal:
            raise problem("change-refused", 409, self.refusal)
        steps = plan(self.spec.servers, spec.servers, same_process=_same_process)
        if not dry_run:
            self.spec = spec
            self.generation += 1
        moved = {name: ("0123abcd",) for name in steps.replaced if spec.servers[name].sharing == "session"}
        return Applied(
            steps.started, steps.replaced, steps.adjusted, steps.stopped, steps.kept, sessions_moved=moved
        )

    def servers(self) -> list[ServerStatus]:
        return [server(name, self.state.get(name, ServerState.READY)) for name in self.spec.servers]


def _same_process(old: ServerSpec, new: ServerSpec) -> bool:
    return (old.source, old.args, old.environment) == (new.source, new.args, new.environment)


@dataclass
class Bench:
    """The config under test, its parts, and short ways to what they say."""

    folder: Path
    store: MemorySpecStore = field(default_factory=MemorySpecStore)
    fleet: RememberingFleet = field(default_factory=RememberingFleet)

    def __post_init__(self) -> None:
        self.file = self.folder / "fleet.yml"
        self.state = StateFolder(self.folder / "state")
        if not self.state.root.exists():
            self.write(FILE)
        self.state.prepare()
        self.applied = 0
        self.now = time.time()
        self.unfit: ValueError | None = None  # what the check has against any spec
        keeper = SpecKeeper(self.store, OverrideStore(self.state), now=lambda: self.now)
        self.config = FleetConfig(self.file, self.fleet, keeper, check=self._judge, now=lambda: self.now)
        self.fleet.on_state = self.config.states_changed
        self.config.on_applied = self._on_applied

    def _judge(self, spec: FleetSpec) -> None:
        if self.unfit is not None:
            raise self.unfit

    def _on_applied(self) -> None:
        self.applied += 1

    def write(self, document: dict[str, Any] | str) -> None:
        """Save the fleet file as editors do it: whole."""
        fresh = self.folder / "fleet.yml.new"
        fresh.write_text(document if isinstance(document, str) else json.dumps(document))
        fresh.replace(self.file)

    async def restarted(self) -> Bench:
        """Another process with the same file and database."""
        again = Bench(self.folder, self.store)
        await again.config.start()
        return again

    async def put(self, document: Any, *, expected: str | None = None, **how: Any) -> Change:
        """A PUT, by default a live one that is not conditional."""
        chosen: dict[str, Any] = {"dry_run": False, "origin": Origin.LIVE, "by": "ada"} | how
        content = document if isinstance(document, bytes) else json.dumps(document).encode()
        return await self.config.replace(content, expected=expected, **chosen)

    @property
    def kept(self) -> Kept:
        """What the database has."""
        row = self.store.rows[-1]
        return Kept(owner=Owner(row.owner), overrides=row.overrides, accepted=row.accepted, source=row.source)

    def kept_of_file(self, *overrides: Override) -> Kept:
        """What it has while the file owns the spec, with these live edits."""
        said = json.loads(self.file.read_text())
        return Kept(overrides=overrides, accepted=said, source=str(self.file))

    @property
    def spec(self) -> dict[str, Any]:
        return self.config.status().spec

    @property
    def overrides(self) -> dict[str, Any]:
        """Key to value, `...` for a key that was removed."""
        return {one.key: ... if one.removed else one.value for one in self.config.status().overrides}

    def condition(self, kind: str) -> Condition:
        (found,) = [one for one in self.config.status().conditions if one.type == kind]
        return found

    def everything(self) -> tuple[Any, ...]:
        """All that a refused change must leave alone."""
        return (
            self.fleet.spec,
            self.fleet.generation,
            self.config.status().owner,
            self.overrides,
            self.applied,
            list(self.store.rows),
        )

    @contextlib.asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """The file is watched inside."""
        async with _beside(self.config.follow()):
            yield

    @contextlib.asynccontextmanager
    async def following_others(self) -> AsyncIterator[None]:
        """What other processes keep is followed inside."""
        async with _beside(self.config.follow_others()):
            yield


@contextlib.asynccontextmanager
async def _beside(forever: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(forever)
        try:
            yield
        finally:
            task.cancel()


async def refused(change: Awaitable[Any], status: int, code: str) -> ProblemError:
    """What comes of a change that must be refused."""
    with pytest.raises(ProblemError) as caught:
        await change
    assert (caught.value.problem.status, caught.value.problem.code) == (status, code)
    return caught.value


def changed(document: dict[str, Any], *path: str, to: Any) -> dict[str, Any]:
    """A copy of a document with one value set."""
    copy = json.loads(json.dumps(document))
    place = copy
    for name in path[:-1]:
        place = place.setdefault(name, {})
    place[path[-1]] = to
    return copy
