"""Every test of a driver runs on both event loops: asyncio's own and uvloop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from support.bubblewrap import sandbox_host
from support.light import Processes, Resources, nothing_more_than


def pytest_asyncio_loop_factories(
    config: Any, item: Any
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(params=["plain", "sandboxed"])
async def processes(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Processes]:
    """A driver with a fast sampler. Every test that uses it is held to leaving nothing behind."""
    sandboxed = request.param == "sandboxed"
    if sandboxed:
        sandbox_host()
    before = Resources.now()
    processes = Processes(tmp_path, sandboxed=sandboxed, sample_interval=0.05)
    yield processes
    await processes.driver.close()
    assert repr(processes.driver) == "ProcessDriver(0 links)"
    await nothing_more_than(before)
