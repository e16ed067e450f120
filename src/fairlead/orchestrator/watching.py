"""What clients want to hear of, kept at a server: updates of its resources, changes of its lists.

Wishes are counted by place and URI. A place is whose instance carries them: one of the shared ones, or that
of a session which has its own. Its `Carrier` makes what the server knows equal to what is wanted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from fairlead.kit.tasks import Tasks
from fairlead.mcp.eras import Era
from fairlead.mcp.errors import CALL_TIMED_OUT, McpError
from fairlead.mcp.profiles import NOBODY, Profile
from fairlead.orchestrator.carrier import ANSWER, Carrier, offers_updates

if TYPE_CHECKING:
    from fairlead.orchestrator.instance import MCPServerInstance
    from fairlead.orchestrator.pool import ServerPool


class ResourceWatch:
    """Of one pool. `key` is None for what is shared, else whose own instance it is about."""

    def __init__(self, pool: ServerPool, tasks: Tasks) -> None:
        self._pool = pool
        self._tasks = tasks
        self._carriers: dict[str | None, Carrier] = {}
        self._closed = False

    def __repr__(self) -> str:
        return f"<ResourceWatch {list(self._carriers.values())}>"

    # -- wishes ------------------------------------------------------------------------------------------

    @property
    def offers(self) -> bool:
        """Whether the server tells of updates; it counts as true until it has come up for the first time."""
        last = self._pool.members.last
        return last is None or offers_updates(last)

    def want(self, uri: str, key: str | None, profile: Profile = NOBODY) -> None:
        """One more wants to hear of it; `profile` is what the client of `key` can be asked."""
        carrier = self._carrier(key)
        carrier.profile = profile
        carrier.add(uri)

    def drop(self, uri: str, key: str | None) -> None:
        """One less does."""
        self._carriers[key].remove(uri)
        self._tidy()

    def wants(self, key: str | None) -> bool:
        """Whether anybody there wants to hear of anything."""
        return key in self._carriers and bool(self._carriers[key].wanted)

    async def kept(self, uri: str, key: str | None, *, timeout: float = ANSWER) -> None:  # noqa: ASYNC109
        """Until the server has taken a subscription, or will when it runs again. Raises McpError.

        Whoever goes on wanting what a server did not take in time hears of it as soon as it has.
        """
        carrier = self._carriers[key]
        try:
            async with asyncio.timeout(timeout):
                await carrier.kept(uri)
        except TimeoutError:
            carrier.late(uri)
            what = f"server {self._pool.spec.id!r} did not take the subscription within {timeout:g} s"
            raise McpError(CALL_TIMED_OUT, what) from None
        except McpError:
            carrier.late(uri)
            raise

    def _carrier(self, key: str | None) -> Carrier:
        if key not in self._carriers:
            self._carriers[key] = Carrier(self._pool, key, self._spawn, self._tidy)
        return self._carriers[key]

    def _tidy(self) -> None:
        for key, carrier in list(self._carriers.items()):
            if key is not None and carrier.idle:
                del self._carriers[key]

    # -- events ------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Instances came or went."""
        last = self._pool.members.last
        if last is not None and last.era is Era.MODERN and None not in self._carriers:
            self._carrier(None)
        for carrier in list(self._carriers.values()):
            carrier.look()
        self._tidy()

    def retry(self) -> None:
        """The server's resources are other ones: what it refused may be there now."""
        for carrier in self._carriers.values():
            carrier.retry()

    def place_of(self, instance: MCPServerInstance) -> Carrier | None:
        """Who asked this instance to tell of updates."""
        carriers = self._carriers.values()
        now = (carrier for carrier in carriers if carrier.instance is instance)
        return next(now, None) or next((carrier for carrier in carriers if carrier.used(instance)), None)

    def heard(self, instance: MCPServerInstance, uri: str) -> None:
        """An instance says that a resource has changed."""
        carrier = self.place_of(instance)
        if carrier is not None:
            self._pool.tell_updated(uri, carrier.key)

    def close(self) -> None:
        self._closed = True

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None] | None:
        if self._closed:
            work.close()
            return None
        return self._tasks.spawn(work, name)

    @property
    def held(self) -> int:
        """Subscriptions that the server has now."""
        return sum(len(carrier.held) for carrier in self._carriers.values())
