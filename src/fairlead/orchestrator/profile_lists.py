"""What a server offers to clients that can be asked things: its lists, by capability profile.

A legacy server may offer by what `initialize` told it (more tools to clients that can sample, say), so each
instance that comes up with a profile shows what clients of that profile get. The last that were asked for are
kept; lists that are as everybody's are not kept twice.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from fairlead.core.lifecycle import InstanceState
from fairlead.kit.tasks import Tasks
from fairlead.mcp.errors import McpError
from fairlead.orchestrator.catalogue import Catalogue, read_catalogue
from fairlead.orchestrator.instance import MCPServerInstance

if TYPE_CHECKING:
    from fairlead.orchestrator.pool import ServerPool

MOST: Final = 16  # profiles
DEBOUNCE: Final = 0.05  # s, before changed lists are read
PAUSE: Final = 1.0  # s, until they are read again
LOG = structlog.get_logger("fairlead.pool")


@dataclass(frozen=True, slots=True)
class _Known:
    own: Catalogue | None  # None: as everybody's
    source: MCPServerInstance | None = None  # None: taken for granted


class ProfileLists:
    """Of one pool; by the key of a profile. The last good lists stay when new ones cannot be read."""

    def __init__(self, pool: ServerPool, tasks: Tasks) -> None:
        self._pool = pool
        self._tasks = tasks
        self._known: dict[str, _Known] = {}  # the one that was asked for last is last
        self._changed: dict[str, MCPServerInstance] = {}
        self._reading: set[str] = set()

    def __repr__(self) -> str:
        return f"<ProfileLists {list(self._known)}>"

    def of(self, key: str) -> Catalogue | None:
        """None while nobody knows."""
        known = self._known.pop(key, None)
        if known is None:
            return None
        self._known[key] = known
        return known.own or self._pool.catalogue

    def take(self, instance: MCPServerInstance, catalogue: Catalogue) -> None:
        """What an instance shows to clients of its profile."""
        common = self._pool.catalogue
        catalogue = self._pool.contracts.admit(catalogue, instance.profile.key)
        own = None if catalogue.lists == common.lists else catalogue
        self._keep(instance.profile.key, _Known(own, instance))

    def judge_tools(self) -> None:
        """What is withheld of them may be something else now."""
        for key, known in list(self._known.items()):
            if known.source is not None:
                self.take(known.source, self._pool.contracts.offered(key))

    def take_for_granted(self, key: str) -> None:
        """As it cannot be known: the same as for everybody, until an instance shows it."""
        self._keep(key, _Known(None))

    def _keep(self, key: str, known: _Known) -> None:
        before = self.of(key)
        self._known[key] = known
        while len(self._known) > MOST:
            del self._known[next(iter(self._known))]
        if before is not None:
            self._pool.lists_differ(before, known.own or self._pool.catalogue)

    def changed(self, instance: MCPServerInstance) -> None:
        """An instance says that its lists are others now."""
        key = instance.profile.key
        known = self._known.get(key)
        if instance.leased_to is not None and (known is None or known.source is not instance):
            return  # it may show what is its session's own
        self._changed[key] = instance
        if key not in self._reading:
            self._reading.add(key)
            self._tasks.spawn(self._read(key), f"read lists of {instance.id}")

    async def _read(self, key: str) -> None:
        pool, pause = self._pool, DEBOUNCE
        try:
            while key in self._changed:
                await asyncio.sleep(pause)
                pause = PAUSE
                instance = self._changed.pop(key)
                if instance.state is not InstanceState.READY:
                    continue
                try:
                    catalogue = await read_catalogue(instance, timeout=pool.spec.timeouts.start)
                except McpError as error:
                    LOG.warning("lists unreadable", instance=instance.id, detail=error.message)
                    continue
                if instance in pool.members and instance.key.same_version(pool.members.key):
                    self.take(instance, catalogue)
        finally:
            self._reading.discard(key)

    def others_changed(self) -> None:
        """Everybody's lists are others now. What differs and has nobody left to say so is forgotten."""
        for key, known in list(self._known.items()):
            source = known.source
            if known.own is not None and (source is None or source.state is not InstanceState.READY):
                del self._known[key]

    def forget(self) -> None:
        """There is a new version, which may offer other things."""
        known, self._known = self._known, {}
        self._changed.clear()
        self._pool.contracts.forget_profiles()
        for one in known.values():
            if one.own is not None:
                self._pool.lists_differ(one.own, Catalogue())
