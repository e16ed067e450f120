"""Instances of a server's next version, which come up beside the running one and are not yet in force."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from fairlead.model.fleet import ServerSpec
from fairlead.orchestrator.instance import MCPServerInstance, PoolKey
from fairlead.orchestrator.nursery import Newcomer, Nursery
from fairlead.orchestrator.revision import pool_key

AT_A_TIME: Final = 4  # starts, where nobody says otherwise


class NextVersion:
    """Of one pool."""

    def __init__(self, nursery: Nursery) -> None:
        self.instances: list[MCPServerInstance] = []  # ready
        self._nursery = nursery

    def __repr__(self) -> str:
        return f"<NextVersion {self.instances}>"

    async def prepare(
        self, spec: ServerSpec, count: int, gate: asyncio.Semaphore | None = None
    ) -> list[Newcomer]:
        """So many instances of a new version, ready; nothing of them yet gets calls.

        `gate` bounds how many start at a time. Raises ProblemError when one does not come up; then none is
        left.
        """
        gate = gate or asyncio.Semaphore(AT_A_TIME)
        key = pool_key(spec)
        newcomers: list[Newcomer] = []
        try:
            for batch in (1, count - 1):  # the first one shows whether the version works at all
                starts = [self._prepare_one(spec, key, newcomers, gate) for _ in range(batch)]
                for failed in await asyncio.gather(*starts, return_exceptions=True):
                    if isinstance(failed, BaseException):
                        raise failed
        except BaseException:  # given up, too: what came up does not stay
            await asyncio.shield(self.discard([newcomer.instance for newcomer in newcomers]))
            raise
        return newcomers

    async def _prepare_one(
        self, spec: ServerSpec, key: PoolKey, newcomers: list[Newcomer], gate: asyncio.Semaphore
    ) -> None:
        async with gate:
            newcomer = await self._nursery.bring_up(spec, key)
        newcomers.append(newcomer)  # at once: the others may fail, or be given up
        self.instances.append(newcomer.instance)

    async def discard(self, instances: Sequence[MCPServerInstance]) -> None:
        """End what was prepared."""
        await asyncio.gather(*(instance.stop() for instance in instances))
        self.take(instances)

    def take(self, instances: Sequence[MCPServerInstance]) -> None:
        """They are in force, or gone."""
        self.instances = [i for i in self.instances if i not in instances]
