"""Waking when something happens in some folders. What has happened is for the caller to find out.

Notifications may be lost (a queue that overflows, a folder that was replaced, a system without them), so
there is a wake now and then, too.

All callers share one watcher, as each would take a thread, a timer and one of the few watchers that a user
may have (128 on Linux). Its folders cannot be changed, so a new one is made when someone wants another
folder. The old one goes when the new one is there: nobody misses anything meanwhile.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from watchfiles import awatch

from fairlead.kit.tasks import OnFailure, Tasks

STEP: Final = 10  # ms without a further notification, before those that came are told
LONGEST: Final = 50  # ms that notifications are gathered at most
GATHERED: Final = 0.02  # s in which folders are wanted before a watcher is made for them
AGAIN: Final = 5.0  # s until there is another watcher in the place of one that failed
_NEVER: Final = 3_600_000  # ms until a watcher tells that there was nothing

Wanted = Callable[[str], bool]
"""Whether a change of the file with this path is of interest."""


@dataclass(eq=False, slots=True)
class _Listener:
    wanted: Wanted
    folders: frozenset[str]
    heard: asyncio.Event
    watched: bool = False


class Watching:
    """The watcher of all who want to be woken. `on_failure` hears of bugs in it; looks go on without it."""

    def __init__(self, on_failure: OnFailure = lambda _name, _error: None) -> None:
        self._tasks = Tasks(on_failure)
        self._by_folder: dict[str, set[_Listener]] = {}
        self._listeners: set[_Listener] = set()
        self._maker: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()  # ends the present watcher
        self._watched: frozenset[str] = frozenset()
        self._made = 0

    def __repr__(self) -> str:
        return f"Watching({self.statistics()})"

    def statistics(self) -> dict[str, int]:
        return {"listeners": len(self._listeners), "folders": len(self._watched), "made": self._made}

    async def wakes(
        self,
        folders: Iterable[Path],
        *,
        poll: float,
        wanted: Wanted = lambda _: True,
        heard: asyncio.Event | None = None,
    ) -> AsyncGenerator[None]:
        """Once the folders are watched, without what is below them; then on every sign, and every `poll` s.

        A sign sets `heard`; the caller may set it, too.
        """
        heard = heard or asyncio.Event()
        listener = _Listener(wanted, frozenset(map(str, folders)), heard)
        self._add(listener)
        try:
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(poll):
                        await heard.wait()
                heard.clear()
                yield
        finally:
            self._remove(listener)

    async def close(self) -> None:
        self._stop.set()
        await self._tasks.close()

    def _add(self, listener: _Listener) -> None:
        self._listeners.add(listener)
        for folder in listener.folders:
            self._by_folder.setdefault(folder, set()).add(listener)
        self._make_soon()

    def _make_soon(self) -> None:
        if self._maker is None or self._maker.done():
            self._maker = self._tasks.spawn(self._make(), "making a watcher")

    def _remove(self, listener: _Listener) -> None:
        self._listeners.discard(listener)
        for folder in listener.folders:
            self._by_folder[folder].discard(listener)
            if not self._by_folder[folder]:
                del self._by_folder[folder]
        if not self._listeners:
            self._stop.set()
            self._watched = frozenset()

    async def _make(self) -> None:
        """Watchers, until all listeners have one."""
        while any(not each.watched for each in self._listeners):
            await asyncio.sleep(GATHERED)
            waiting = [each for each in self._listeners if not each.watched]
            wanted = frozenset(self._by_folder)
            stop, started = asyncio.Event(), asyncio.Event()
            self._tasks.spawn(self._watch(wanted, started, stop), "watching folders")
            await started.wait()
            self._stop.set()
            self._stop, self._watched = stop, wanted
            self._made += 1
            for listener in waiting:
                if listener.folders <= wanted:
                    listener.watched = True
                    listener.heard.set()
            if not self._listeners:
                stop.set()

    async def _watch(self, folders: frozenset[str], started: asyncio.Event, stop: asyncio.Event) -> None:
        try:
            there = await asyncio.to_thread(_there, folders)
            notes = awatch(
                *there,
                watch_filter=None,
                recursive=False,
                step=STEP,
                debounce=LONGEST,
                rust_timeout=_NEVER,
                stop_event=stop,
                ignore_permission_denied=True,  # and what has gone by now: one folder hinders no other
            )
            async with aclosing(notes):
                asyncio.get_running_loop().call_soon(started.set)  # they are watched from its first step on
                async for changes in notes:
                    for _, path in changes:
                        self._tell(path)
        except (OSError, RuntimeError):  # there are no more notifications to be had
            started.set()
            await asyncio.sleep(AGAIN)
            self._anew(stop)

    def _anew(self, failed: asyncio.Event) -> None:
        """The present watcher has failed: whatever it has missed, all are to look."""
        if failed is self._stop and self._listeners:
            for listener in self._listeners:
                listener.watched = False
                listener.heard.set()
            self._make_soon()

    def _tell(self, path: str) -> None:
        """A change is one in the folder above; and where a folder itself has gone, in that."""
        for folder in (path.rpartition("/")[0] or "/", path):
            for listener in self._by_folder.get(folder, ()):
                if listener.wanted(path):
                    listener.heard.set()


def _there(folders: Iterable[str]) -> list[str]:
    return [folder for folder in folders if os.path.isdir(folder)]  # noqa: PTH112 - pathlib's one raises
