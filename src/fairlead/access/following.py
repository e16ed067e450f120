"""Keeping a keyring up to date with the store.

A change made here is in force when `changed` returns. Other processes hear of it over the bus at once, and
look into the store once a second besides: while the bus is away a revocation is in force everywhere within
two seconds. While the store is away what was known last stays, and nothing can be changed anyway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from fairlead.access.keyring import Keyring
from fairlead.kit.tasks import Tasks
from fairlead.model.errors import ProblemError
from fairlead.ports import Bus, IdentityStore, StoreAwayError

LOG: Final = structlog.get_logger("fairlead.access")
TOPIC: Final = "access"
LOOK: Final = 1.0  # s between two looks into the store


class Following:
    """Of one keyring. `on_changed` is called when it knows something else than before.

    `prepare` is awaited before the store is read for the first time; it raises ProblemError where the store
    is not to be used.
    """

    def __init__(
        self,
        keyring: Keyring,
        store: IdentityStore,
        bus: Bus,
        *,
        prepare: Callable[[], Awaitable[None]],
    ) -> None:
        self.on_changed: Callable[[], None] = lambda: None
        self._keyring = keyring
        self._store = store
        self._bus = bus
        self._prepare = prepare
        self._prepared = False
        self._reading = asyncio.Lock()
        self._look_now = asyncio.Event()

    def __repr__(self) -> str:
        return f"Following({self._keyring!r})"

    async def start(self) -> None:
        """Know what there is, if the store is there. Raises ProblemError where it is not to be used."""
        try:
            await self._read()
        except StoreAwayError as away:
            LOG.warning("the database is away: only the local token and FAIRLEAD_TOKEN's", why=str(away))

    async def changed(self) -> None:
        """Something was changed in the store by this process. Raises StoreAwayError."""
        try:
            await self._read()
        finally:
            await self._bus.publish(TOPIC, b"changed")

    async def run(self, tasks: Tasks) -> None:
        """Follow until cancelled."""
        tasks.spawn(self._listen(), "hear of changed access")
        while True:
            try:
                async with asyncio.timeout(LOOK):
                    await self._look_now.wait()
            except TimeoutError:
                pass
            self._look_now.clear()
            try:
                if not self._prepared or await self._store.revision() != self._keyring.revision:
                    await self._read()
            except StoreAwayError:
                continue  # the state says so; what is known stays
            except ProblemError as refused:
                LOG.error("API keys are not known", title=refused.problem.title, why=refused.problem.detail)
                return
            except Exception as error:  # the next change must be heard of all the same
                LOG.error("following changes of access failed", exc_info=error)

    async def _listen(self) -> None:
        async for _ in self._bus.subscribe(TOPIC):
            self._look_now.set()

    async def _read(self) -> None:
        async with self._reading:
            if not self._prepared:
                await self._prepare()
                self._prepared = True
            self._keyring.take(await self._store.read())
            self.on_changed()
