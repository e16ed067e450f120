"""The GitOps controller's rows, kept in memory: a look at an application with nothing to do asks no database.

A thousand idle applications ask six questions each in a pass. From a database each answer takes 2 ms of CPU,
from here some microseconds. What is kept of an application is forgotten with each of our own writes to it,
and read again when it is asked for; all of it when another process has written, see `changes`. A read that
was under way meanwhile is not kept. Only what an idle look asks is kept; the rest goes to the stores below.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, Generic, Protocol, TypeVar

from fairlead.core.rollout import ENDED
from fairlead.model.reconciling import (
    ApplicationState,
    Base,
    Blocked,
    Deployment,
    DeploymentState,
    DriftRow,
    Hold,
)
from fairlead.stores.retained import compared
from fairlead.stores.sql.applications import SqlApplicationStore
from fairlead.stores.sql.changes import Changes
from fairlead.stores.sql.database import Database
from fairlead.stores.sql.deployments import SqlDeploymentStore

MOST: Final = 64 * 1024 * 1024  # bytes of bases
_WEIGHT: Final = 4096  # bytes that a base takes beside its content
_MANY: Final = 1_000_000  # rows
_UNFINISHED: Final = tuple(state for state in DeploymentState if state not in ENDED)


class _Row(Protocol):
    @property
    def application(self) -> str: ...


T = TypeVar("T", bound=_Row)


def kept_stores(database: Database) -> tuple[KeptApplicationStore, KeptDeploymentStore]:
    """Both of a database: the only ones of this process that write there."""
    changes = Changes(database)
    return KeptApplicationStore(database, changes), KeptDeploymentStore(database, changes)


class Part(Generic[T]):
    """Rows of one kind, by application: all are read at once, then alone those that were forgotten."""

    def __init__(
        self, everything: Callable[[], Awaitable[list[T]]], one: Callable[[str], Awaitable[list[T]]]
    ) -> None:
        self._everything = everything
        self._one = one
        self._lock = asyncio.Lock()
        self._clock = 0  # counts what is forgotten
        self._all_forgotten = 0
        self._forgotten: dict[str, int] = {}
        self._read = -1  # the clock when all were read
        self._rows: dict[str, tuple[int, list[T]]] = {}  # the clock when they were read, and they

    async def get(self, application: str) -> list[T]:
        if self._read < self._all_forgotten:
            async with self._lock:
                if self._read < self._all_forgotten:
                    await self._read_all()
        at, rows = self._rows.get(application, (self._read, []))
        if at < max(self._forgotten.get(application, 0), self._all_forgotten):
            at = self._clock
            rows = await self._one(application)
            self._rows[application] = at, rows
        return list(rows)

    def forget(self, application: str) -> None:
        self._clock += 1
        self._forgotten[application] = self._clock

    def forget_all(self) -> None:
        self._clock += 1
        self._all_forgotten = self._clock

    async def _read_all(self) -> None:
        at = self._clock
        rows: dict[str, tuple[int, list[T]]] = {}
        for row in await self._everything():
            rows.setdefault(row.application, (at, []))[1].append(row)
        self._read, self._rows = at, rows
        self._forgotten = {name: when for name, when in self._forgotten.items() if when > at}


class KeptApplicationStore(SqlApplicationStore):
    """`ports.gitops.ApplicationStore`."""

    def __init__(self, database: Database, changes: Changes) -> None:
        super().__init__(database, changes)
        self._states: dict[str, ApplicationState] = {}
        self._states_forgotten, self._states_read = 1, 0  # the former counts
        self._bases: dict[str, tuple[int, dict[str, Base]]] = {}  # the state's revision, and they
        self._room = MOST  # bytes
        self._drift = Part(super().drift, super().drift)
        self._held: list[Hold] = []
        self._holds_forgotten, self._holds_read = 1, 0
        changes.on_foreign.append(self._forget)

    async def states(self) -> dict[str, ApplicationState]:
        return dict(await self._fresh_states())

    async def finish(
        self, state: ApplicationState, changed: Sequence[Base], removed: Sequence[str]
    ) -> ApplicationState:
        try:
            saved = await super().finish(state, changed, removed)
        except BaseException:  # it may be there, or what is there is not what we know
            self._states_forgotten += 1
            raise
        self._keep(saved)
        return saved

    async def bases(self, application: str) -> dict[str, Base]:
        """They change with the state alone."""
        state = (await self._fresh_states()).get(application)
        revision = state.revision if state else 0
        kept = self._bases.get(application)
        if kept is None or kept[0] != revision:
            kept = revision, await super().bases(application)
            self._keep_bases(application, kept)
        return dict(kept[1])

    async def drift(self, application: str | None = None) -> list[DriftRow]:
        if application is None:
            return await super().drift()
        await self._changes.look()
        return await self._drift.get(application)

    async def set_drift(
        self, application: str, rows: Sequence[DriftRow]
    ) -> tuple[list[DriftRow], list[DriftRow]]:
        if not any(compared(await self.drift(application), rows)):
            return [], []
        try:
            return await super().set_drift(application, rows)
        finally:
            self._drift.forget(application)

    async def holds(self) -> list[Hold]:
        await self._changes.look()
        if self._holds_read < self._holds_forgotten:
            at = self._holds_forgotten
            self._held = await super().holds()
            self._holds_read = at
        return list(self._held)

    async def put_hold(self, hold: Hold) -> None:
        try:
            await super().put_hold(hold)
        finally:
            self._holds_forgotten += 1

    async def remove_hold(self, application: str, path: str) -> bool:
        try:
            return await super().remove_hold(application, path)
        finally:
            self._holds_forgotten += 1

    async def _fresh_states(self) -> dict[str, ApplicationState]:
        await self._changes.look()
        if self._states_read < self._states_forgotten:
            at = self._states_forgotten
            for state in (await super().states()).values():
                self._keep(state)
            self._states_read = max(at, self._states_read)
        return self._states

    def _keep(self, state: ApplicationState) -> None:
        """Reads and writes may overtake each other; revisions only grow."""
        known = self._states.get(state.name)
        if known is None or known.revision < state.revision:
            self._states[state.name] = state

    def _keep_bases(self, application: str, fresh: tuple[int, dict[str, Base]]) -> None:
        if application in self._bases:
            self._room += _weight(self._bases.pop(application)[1])
        needed = _weight(fresh[1])
        if needed > self._room:  # many of them, or of applications that are gone
            self._bases.clear()
            self._room = MOST
        if needed <= self._room:
            self._bases[application] = fresh
            self._room -= needed

    def _forget(self) -> None:
        self._states_forgotten += 1
        self._holds_forgotten += 1
        self._drift.forget_all()


class KeptDeploymentStore(SqlDeploymentStore):
    """`ports.gitops.DeploymentStore`."""

    def __init__(self, database: Database, changes: Changes) -> None:
        super().__init__(database, changes)
        self._unfinished = Part(partial(super().search, states=_UNFINISHED, limit=_MANY), self._unfinished_of)
        self._blocked = Part(super().every_blocked, super().blocked)
        changes.on_foreign += [self._unfinished.forget_all, self._blocked.forget_all]

    async def add(self, deployment: Deployment) -> None:
        try:
            await super().add(deployment)
        finally:
            self._unfinished.forget(deployment.application)

    async def update(self, deployment: Deployment) -> Deployment:
        try:
            return await super().update(deployment)
        finally:
            self._unfinished.forget(deployment.application)

    async def search(
        self,
        *,
        application: str | None = None,
        states: Sequence[DeploymentState] = (),
        before: float | None = None,
        limit: int = 50,
    ) -> list[Deployment]:
        if application is None or before is not None or not states or ENDED.intersection(states):
            return await super().search(application=application, states=states, before=before, limit=limit)
        await self._changes.look()
        rows = await self._unfinished.get(application)
        return [row for row in rows if row.state in states][:limit]

    async def block(self, blocked: Blocked) -> None:
        try:
            await super().block(blocked)
        finally:
            self._blocked.forget(blocked.application)

    async def unblock(self, application: str, commit: str) -> bool:
        try:
            return await super().unblock(application, commit)
        finally:
            self._blocked.forget(application)

    async def blocked(self, application: str) -> list[Blocked]:
        await self._changes.look()
        return await self._blocked.get(application)

    async def _unfinished_of(self, application: str) -> list[Deployment]:
        return await super().search(application=application, states=_UNFINISHED, limit=_MANY)


def _weight(bases: dict[str, Base]) -> int:
    return sum(_WEIGHT + len(base.content) for base in bases.values())
