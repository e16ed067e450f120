"""What holds for all tests."""

from __future__ import annotations

import asyncio

import pytest

pytest_plugins = ["support.servers"]


@pytest.fixture(scope="session", autouse=True)
def no_implicit_event_loop() -> None:
    """looptime asks for a loop in synchronous tests too and never closes the one that it then gets."""
    asyncio.set_event_loop(None)
