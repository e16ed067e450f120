"""A queue of keys for level-triggered work: adding a key says only that it is to be looked at.

However often a key is added while it waits, it is worked on once; added while it is worked on, once more
afterwards. No key is worked on twice at the same time. Work that fails is tried again after a pause that
doubles, for ever; what others add meanwhile does not wait for that pause. Work that takes long (it waits for
something to become healthy) gives its worker back, so that a few slow keys do not hold up all others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from fairlead.kit.tasks import Tasks

FIRST_PAUSE: Final = 1.0  # s
LONGEST_PAUSE: Final = 60.0  # s
SLOW: Final = 2.0  # s after which work counts as slow
MOST_SLOW: Final = 256  # keys at a time that are worked on beyond the workers

Work = Callable[[str], Awaitable[float | None]]
"""Looks at a key; returns after how many seconds it wants to look again by itself, None: when it is added."""


@dataclass(frozen=True, slots=True)
class QueueStatistics:
    waiting: int  # keys that are to be looked at now
    working: int
    later: int  # keys that have a time
    failing: int  # keys whose last work failed
    lag: float  # s for which the oldest one waits
    done: int = 0  # looks, since the start


class KeyedQueue:
    """Runs `work` for each key, at most `workers` at a time."""

    def __init__(
        self,
        work: Work,
        *,
        workers: int,
        on_failure: Callable[[str, Exception], None],
        rng: Callable[[], float],
    ) -> None:
        """`rng` gives numbers from 0 to 1: pauses are spread by it."""
        self._work = work
        self._workers = workers
        self._on_failure = on_failure
        self._rng = rng
        self._waiting: dict[str, float] = {}  # key -> since when, loop time; in order
        self._working: set[str] = set()
        self._slow: set[str] = set()  # of these
        self._later: dict[str, asyncio.TimerHandle] = {}
        self._failures: dict[str, int] = {}
        self._done = 0
        self._tasks = Tasks(self._task_failed)
        self._closed = False
        self._idle = asyncio.Event()
        self._idle.set()

    def __repr__(self) -> str:
        return f"KeyedQueue({self.statistics()})"

    def __contains__(self, key: str) -> bool:
        return key in self._waiting or key in self._working

    def add(self, key: str, *, after: float = 0.0) -> None:
        """Look at `key` now, or in so many seconds (unless it is looked at before). Ignored after `close`."""
        if self._closed:
            return
        if after > 0.0:
            self._set_timer(key, after)
        else:
            self._forget_timer(key)
            self._waiting.setdefault(key, asyncio.get_running_loop().time())
            self._idle.clear()
            asyncio.get_running_loop().call_soon(self._start)  # what is added in this turn is one

    def forget(self, key: str) -> None:
        """Do not look at it any more; work that goes on is finished."""
        self._forget_timer(key)
        self._waiting.pop(key, None)
        self._failures.pop(key, None)
        self._start()

    async def idle(self) -> None:
        """Wait until no key is waiting or worked on; times do not count."""
        await self._idle.wait()

    async def close(self) -> None:
        """Cancel what is going on."""
        self._closed = True
        for timer in self._later.values():
            timer.cancel()
        self._later.clear()
        self._waiting.clear()
        await self._tasks.close()

    def statistics(self) -> QueueStatistics:
        oldest = next(iter(self._waiting.values()), None)
        lag = 0.0 if oldest is None else asyncio.get_running_loop().time() - oldest
        return QueueStatistics(
            len(self._waiting), len(self._working), len(self._later), len(self._failures), lag, self._done
        )

    def _start(self) -> None:
        if self._closed:
            return
        while len(self._working) - len(self._slow) < self._workers:
            key = next((each for each in self._waiting if each not in self._working), None)
            if key is None:
                break
            del self._waiting[key]
            self._working.add(key)
            self._tasks.spawn(self._run(key), key)
        if not self._waiting and not self._working:
            self._idle.set()

    async def _run(self, key: str) -> None:
        again: float | None = None
        slow = asyncio.get_running_loop().call_later(SLOW, self._is_slow, key)
        try:
            again = await self._work(key)
        except Exception as error:  # noqa: BLE001 - one key's failure must not end the others' work
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures - 1, 16))
            again = pause * (0.75 + 0.5 * self._rng())
            self._on_failure(key, error)
        else:
            self._failures.pop(key, None)
        finally:
            slow.cancel()
            self._done += 1
            self._working.discard(key)
            self._slow.discard(key)
            if again is not None and key not in self._waiting and not self._closed:
                self._set_timer(key, again)
            self._start()

    def _is_slow(self, key: str) -> None:
        if len(self._slow) < MOST_SLOW:
            self._slow.add(key)
            self._start()

    def _set_timer(self, key: str, after: float) -> None:
        loop = asyncio.get_running_loop()
        there = self._later.get(key)
        if there is not None and there.when() <= loop.time() + after:
            return
        self._forget_timer(key)
        self._later[key] = loop.call_later(after, self.add, key)

    def _forget_timer(self, key: str) -> None:
        if (timer := self._later.pop(key, None)) is not None:
            timer.cancel()

    def _task_failed(self, name: str, error: BaseException) -> None:
        if isinstance(error, Exception):
            self._on_failure(name, error)
