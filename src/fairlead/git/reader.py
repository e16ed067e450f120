"""Reading a bare repository with libgit2, which blocks: all of it in one thread of its own.

A repository is opened at the first question, and again after `reopen` (the mirror was cloned anew) or when
libgit2 could not read something: what it keeps open may be gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pygit2

_T = TypeVar("_T")
Work = Callable[[pygit2.Repository], _T]


class UnreadableError(Exception):
    """Something that should be in the repository cannot be read. The message is for a person."""


class Reader:
    """`on_unreadable` hears of each failure, in the event loop."""

    def __init__(self, folder: Path, on_unreadable: Callable[[], None]) -> None:
        self._folder = folder
        self._on_unreadable = on_unreadable
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"git-{folder.name}")
        self._repository: pygit2.Repository | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"Reader({self._folder})"

    async def ask(self, work: Work[_T]) -> _T:
        """Do `work` in the thread. Raises UnreadableError; what `work` raises by itself passes."""
        if self._closed:
            raise UnreadableError(f"{self._folder.name} is closed")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._do, work)
        except UnreadableError:
            self._on_unreadable()
            raise

    def _do(self, work: Work[_T]) -> _T:
        try:
            if self._repository is None:
                self._repository = pygit2.Repository(str(self._folder), pygit2.enums.RepositoryOpenFlag.BARE)
            return work(self._repository)
        except (pygit2.GitError, KeyError, OSError, ValueError) as error:
            self._repository = None
            text = str(error) or type(error).__name__
            raise UnreadableError(f"{self._folder.name}: {text}") from error

    async def reopen(self) -> None:
        """Let go of the repository: its folder is about to be, or was, replaced."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._forget)

    def _forget(self) -> None:
        if self._repository is not None:
            self._repository.free()
        self._repository = None

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            await self.reopen()
            self._thread.shutdown(wait=False)
