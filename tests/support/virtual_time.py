"""A whole gateway in virtual time: minutes pass as soon as nothing is left to do."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sys
import time
import types
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar
from unittest import mock

import looptime

T = TypeVar("T")


@contextlib.contextmanager
def virtual_clocks(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """The clocks that Fairlead's modules read show the loop's time (and Unix time goes with it)."""
    born = time.time() - loop.time()

    def unix() -> float:
        return born + loop.time()

    clock = types.SimpleNamespace(**vars(time))
    clock.monotonic, clock.time = loop.time, unix
    with contextlib.ExitStack() as stack:
        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] == "fairlead" and module is not None:
                for attribute, value in (("monotonic", loop.time), ("time", clock)):
                    real = vars(module).get(attribute)
                    if real is time or real is time.monotonic:
                        stack.enter_context(mock.patch.object(module, attribute, value))
        yield


def run_virtually(work: Coroutine[Any, Any, T]) -> T:
    """Run to its end; what waits for time alone does not wait."""
    runner = asyncio.Runner(loop_factory=lambda: looptime.new_event_loop(start=1e6, noop_cycles=4))
    with runner, virtual_clocks(runner.get_loop()):
        return runner.run(work)


def virtually(test: Callable[..., Coroutine[Any, Any, T]]) -> Callable[..., T]:
    """A test that runs in virtual time."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> T:
        return run_virtually(test(*args, **kwargs))

    return run
