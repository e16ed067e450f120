"""What holds for all tests."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import settings

# A machine that is busy makes no decision wrong; `timeout` guards against hanging.
settings.register_profile("fairlead", deadline=None)
settings.load_profile("fairlead")

pytest_plugins = ["support.servers"]


@pytest.fixture(scope="session", autouse=True)
def no_implicit_event_loop() -> None:
    """looptime asks for a loop in synchronous tests too and never closes the one that it then gets."""
    asyncio.set_event_loop(None)
