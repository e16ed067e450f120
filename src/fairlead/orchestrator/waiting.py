"""The calls of one server that wait for an instance: bounded, first come first served."""

from __future__ import annotations

import asyncio
import itertools
from bisect import insort
from collections import deque
from operator import itemgetter


class WaitingRoom:
    """Who waits. Somebody who was called and found nothing goes back to their old place in the queue."""

    __slots__ = ("_numbers", "called", "queue")

    def __init__(self) -> None:
        self.called = 0  # who was called and has not yet had their turn
        self.queue: deque[tuple[int, float, asyncio.Future[None]]] = deque()  # number, since, who; sorted
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self.queue)

    def __repr__(self) -> str:
        return f"<WaitingRoom {len(self)}>"

    def number(self) -> int:
        """The number of somebody new, which they keep until they are served."""
        return next(self._numbers)

    async def wait(self, until: float, *, since: float, number: int) -> None:
        """Until called, or raise TimeoutError at `until`; both are loop time."""
        future = asyncio.get_running_loop().create_future()
        place = (number, since, future)
        insort(self.queue, place, key=itemgetter(0))
        try:
            async with asyncio.timeout_at(until):
                await future
        except BaseException:  # whatever ends the wait, our turn must not be lost
            if future.done() and not future.cancelled():
                self.call(1)  # it was our turn, and we do not take it
            raise
        finally:
            if place in self.queue:
                self.queue.remove(place)
            else:
                self.called -= 1

    def call(self, count: int) -> None:
        """Let the first `count` try again."""
        while count > 0 and self.queue:
            *_, future = self.queue.popleft()
            self.called += 1
            if not future.done():
                future.set_result(None)
                count -= 1

    def call_all(self) -> None:
        self.call(len(self.queue))

    def longest(self, now: float) -> float:
        """How long the first one has waited, s."""
        return max(0.0, now - self.queue[0][1]) if self.queue else 0.0
