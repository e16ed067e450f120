"""Every test here runs on both event loops: asyncio's own and uvloop, whose transports differ in detail."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from fairlead.drivers.remote import RemoteDriver
from fairlead.model.launch import RemoteLaunch
from support.recorder import Recorder

SDK_SERVER = Path(__file__).parents[3] / "support" / "sdk_server.py"


def pytest_asyncio_loop_factories(
    config: Any, item: Any
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


class Remote:
    """Opens links and holds every one of them to leaving nothing behind."""

    def __init__(self) -> None:
        self.driver = RemoteDriver()

    async def open(self, url: str, **launch: Any) -> tuple[Any, Recorder]:
        recorder = Recorder()
        options = {"connect_timeout": 5.0, "stop_grace": 2.0, **launch}
        link = await self.driver.open(RemoteLaunch("test", url, **options), recorder)
        return link, recorder


@pytest.fixture
async def remote() -> AsyncIterator[Remote]:
    remote = Remote()
    yield remote
    await remote.driver.close()
    assert repr(remote.driver) == "RemoteDriver(0 links)"
    assert [task for task in asyncio.all_tasks() if task.get_name().startswith("remote")] == []


@pytest.fixture(scope="module")
def sdk() -> Iterator[Callable[..., str]]:
    """Starts servers on the official SDK, one for each set of flags: `sdk("json")` is its URL."""
    running: dict[tuple[str, ...], tuple[subprocess.Popen[str], str]] = {}

    def start(*flags: str) -> str:
        if flags not in running:
            process = subprocess.Popen(
                [sys.executable, str(SDK_SERVER), *flags], stdout=subprocess.PIPE, text=True
            )
            assert process.stdout is not None
            running[flags] = process, process.stdout.readline().strip()
        return running[flags][1]

    yield start
    for process, _ in running.values():
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdout is not None
        process.stdout.close()
