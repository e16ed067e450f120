"""What all links of a process driver share: its threads, its tasks, and who answers for what runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

import structlog

from fairlead.drivers.confined import Confined
from fairlead.drivers.reaper import Reaper, Sample
from fairlead.drivers.registry import Record, Registry
from fairlead.kit.tasks import Tasks

_KILL_ROUNDS: Final = (0.0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.1, 0.1, 0.1)  # s, before each look
_log = structlog.get_logger(__name__)
_Asked = TypeVar("_Asked")
_Answer = TypeVar("_Answer")


class Host:
    """One thread looks at processes, one writes files: a slow disk never delays the end of a process."""

    def __init__(self, owner: str, registry_file: Path, max_frame: int) -> None:
        self.max_frame = max_frame  # bytes
        self.files = ThreadPoolExecutor(1, "fairlead-files")
        self._looks = ThreadPoolExecutor(1, "fairlead-processes")
        self.tasks = Tasks(_report)
        self.registry = Registry(registry_file, self.files)
        self._reaper = Reaper(owner)

    async def sample(self, records: Iterable[Record]) -> dict[str, Sample]:
        """See `Reaper.sample`; so for the others."""
        return await self._look(self._reaper.sample, list(records))

    async def note(self, record: Record) -> None:
        await self._look(self._reaper.note, record)

    async def terminate(self, record: Record, spared: frozenset[int]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._looks, self._reaper.terminate, record, spared)

    async def release(self, confined: Confined) -> None:
        """Let go of the bounds of an instance that is gone."""
        await asyncio.get_running_loop().run_in_executor(self._looks, confined.remove)

    async def kill(self, record: Record) -> int:
        """KILL what is left of an instance, and wait until it is gone, for half a second. What remains."""
        left = 0
        for pause in _KILL_ROUNDS:
            await asyncio.sleep(pause)
            if not (left := await self._look(self._reaper.kill, record)):
                break
        return left

    async def sweep(self) -> list[str]:
        """End what an earlier orchestrator left, and forget it."""
        left = await self.registry.load()
        ended = await self._look(self._reaper.sweep, left)
        await self.registry.save()
        return ended

    async def close(self) -> None:
        """End the tasks and let the threads run out. Every link has ended."""
        await self.tasks.close()
        self.files.shutdown(wait=False)
        self._looks.shutdown(wait=False)

    def _look(self, question: Callable[[_Asked], _Answer], about: _Asked) -> asyncio.Future[_Answer]:
        return asyncio.get_running_loop().run_in_executor(self._looks, question, about)


def _report(name: str, error: BaseException) -> None:
    _log.error("background task failed", task=name, error=repr(error))
