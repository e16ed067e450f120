"""Background tasks that cannot get lost: owned, named, their failures told, ended together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, TypeVar

_T = TypeVar("_T")
OnFailure = Callable[[str, BaseException], None]


def require_running() -> None:
    """Raise CancelledError if this task was cancelled, though nothing has come of it.

    Libraries may lose a cancellation: redis-py does while it connects, or when its connection breaks. A task
    that goes on and on with one asks here after each turn, or it might never end.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def attended(work: Coroutine[Any, Any, _T], look: Callable[[], Awaitable[None]], every: float) -> _T:
    """What comes of `work`, while `look` is called every so many seconds: what that raises ends the work.

    It has ended in any case when this returns or raises; what is done before it can be ended counts.
    """
    task = asyncio.get_running_loop().create_task(work)
    try:
        while not (await asyncio.wait((task,), timeout=every))[0]:
            await look()
    except BaseException as reason:
        task.cancel()
        await asyncio.wait((task,))
        if task.cancelled() or task.exception() is not None or not isinstance(reason, Exception):
            raise
    return task.result()


class Tasks:
    """A guarded spawner, for owners that live longer than one `async with`.

    A task that raises is reported once through `on_failure(name, error)`; it never takes others with it.
    """

    def __init__(self, on_failure: OnFailure) -> None:
        self._on_failure = on_failure
        self._running: set[asyncio.Task[Any]] = set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._running)

    def __iter__(self) -> Iterator[asyncio.Task[Any]]:
        return iter(list(self._running))

    def __repr__(self) -> str:
        return f"Tasks({', '.join(sorted(task.get_name() for task in self._running))})"

    def spawn(self, coroutine: Coroutine[Any, Any, _T], name: str) -> asyncio.Task[_T]:
        """Run `coroutine` in the background; after `close` it is refused with RuntimeError."""
        if self._closed:
            coroutine.close()
            msg = f"no task can be started any more: {name}"
            raise RuntimeError(msg)
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self._running.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_failure(task.get_name(), error)

    async def close(self) -> None:
        """Cancel what still runs and wait until it has ended. The caller's own task is left alone."""
        self._closed = True
        current = asyncio.current_task()
        waiting = [task for task in self._running if task is not current]
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
