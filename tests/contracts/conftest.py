"""The contract of drivers is run on both event loops, whose transports differ in detail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import uvloop


def pytest_asyncio_loop_factories(
    config: Any, item: Any
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    factories = {"asyncio": asyncio.new_event_loop}
    return factories | ({"uvloop": uvloop.new_event_loop} if item.path.name == "test_driver.py" else {})
