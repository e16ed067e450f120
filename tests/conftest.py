"""What holds for all tests."""

from __future__ import annotations

import asyncio

import pytest
import structlog
from hypothesis import settings

# A machine that is busy makes no decision wrong; `timeout` guards against hanging.
settings.register_profile("fairlead", deadline=None)
settings.load_profile("fairlead")

pytest_plugins = ["support.servers"]

IDLE_ROUNDS = 4  # of a loop with nothing to do, before its time goes on; looptime's 42 are most of its cost


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("looptime"):
            item.add_marker(pytest.mark.looptime(noop_cycles=IDLE_ROUNDS))


@pytest.fixture(scope="session", autouse=True)
def plain_log() -> None:
    """Without the boxes and colours that structlog draws around errors when nothing is configured."""
    renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*structlog.get_config()["processors"][:-1], renderer])


@pytest.fixture(scope="session", autouse=True)
def no_implicit_event_loop() -> None:
    """looptime asks for a loop in synchronous tests too and never closes the one that it then gets."""
    asyncio.set_event_loop(None)
