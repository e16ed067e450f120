"""Waiting for a state, without a guess at how long it takes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], object], *, guard: float = 60.0) -> None:
    """Return as soon as `condition` holds; TimeoutError after `guard` seconds."""
    async with asyncio.timeout(guard):
        while not condition():
            await asyncio.sleep(0.01)
