"""What is kept of the fleet spec: the latest accepted one, whose it is, and the live edits on top.

It is in the service's database, where every process of the service sees it. What versions before that kept
in a file of the state folder is taken over once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import structlog
from pydantic import ValidationError

from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.model.reports import Override
from fairlead.ports import SavedSpec, SpecConflictError, SpecStore, StoreAwayError
from fairlead.stores.overrides import Found, Kept, OverrideStore

LOG = structlog.get_logger("fairlead.config")
UNAVAILABLE: Final = "store-unavailable"
_BEFORE: Final = "an earlier version"


class SpecKeeper:
    """Reads and writes what is kept. Raises `ProblemError` (503) while the database is away."""

    def __init__(
        self, store: SpecStore, before: OverrideStore, *, now: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._before = before
        self._now = now
        self.generation = 0  # of what was read or written last; 0 for none

    def __repr__(self) -> str:
        return f"<SpecKeeper generation={self.generation}>"

    async def read(self) -> Found:
        """What is kept, nothing at the first start."""
        saved = await self._latest()
        if saved is not None:
            self.generation = saved.generation
            return _found(saved)
        found = await asyncio.to_thread(self._before.read)
        if found.kept != Kept():
            try:
                await self.write(found.kept, by=_BEFORE, generation=1)
            except SpecConflictError:  # another process was first: ours stays where it is
                LOG.warning("what an earlier version kept is not taken over: another process has kept a spec")
                return await self.read()
            await asyncio.to_thread(self._before.retire)
        return found

    async def newer(self) -> Found | None:
        """What another process has kept since; None for nothing.

        A database that has gone back, as a standby does that lagged, takes `generation` back with it.
        """
        try:
            if await self._store.generation() == self.generation:
                return None
        except StoreAwayError as away:
            raise _away(away) from away
        saved = await self._latest()
        before, self.generation = self.generation, saved.generation if saved else 0
        return _found(saved) if saved and saved.generation > before else None

    async def write(self, kept: Kept, *, by: str, generation: int) -> int:
        """Keep it as `generation`, or the next one that is free: which it is.

        Raises SpecConflictError when another process has kept something since: see `newer`.
        """
        saved = SavedSpec(
            generation=max(generation, self.generation + 1),
            at=self._now(),
            by=by,
            owner=kept.owner.value,
            accepted=kept.accepted,
            overrides=[override.model_dump(mode="json") for override in kept.overrides],
            source=kept.source,
        )
        try:
            await self._store.save(saved, expected=self.generation)
        except StoreAwayError as away:
            raise _away(away) from away
        self.generation = saved.generation
        return saved.generation

    async def _latest(self) -> SavedSpec | None:
        try:
            return await self._store.latest()
        except StoreAwayError as away:
            raise _away(away) from away


def _found(saved: SavedSpec) -> Found:
    document = {
        "owner": saved.owner,
        "accepted": saved.accepted,
        "source": saved.source,
        "overrides": [Override.model_validate(each) for each in saved.overrides],
    }
    try:
        return Found(Kept.model_validate(document))
    except ValidationError as damaged:
        first = damaged.errors(include_url=False, include_input=False)[0]
        why = f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")
        LOG.error("the kept fleet spec cannot be used", generation=saved.generation, why=why)
        return Found(lost=f"generation {saved.generation} in the database cannot be used: {why}")


def _away(away: StoreAwayError) -> ProblemError:
    return ProblemError(
        Problem(UNAVAILABLE, "The database is away", str(away), 503, Fault.GATEWAY, retry_after=1.0)
    )


def without_spec(found: Found, why: str) -> Found:
    """The same without an accepted spec that is not valid today; the database still has it."""
    LOG.error("the kept fleet spec is not valid any more", why=why)
    return replace(found, kept=Kept(), lost=f"the kept fleet spec is not valid any more: {why}")
