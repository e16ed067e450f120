"""The fixture as the gateway's backends: over HTTP on a port of its own, over stdio in the fleet file."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from typing import Any

from conformance.official import TESTS

READY = 30.0  # s until a fixture listens


@contextlib.asynccontextmanager
async def fixture_url(era: str) -> AsyncIterator[str]:
    """A fixture over HTTP."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "conformance.fixture", "--transport", "http", "--era", era),
        cwd=TESTS,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(READY):
            url = (await process.stdout.readline()).decode().strip()
        yield url
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def fleet(urls: dict[str, str]) -> dict[str, Any]:
    """The backends' entries in the fleet file; they may ask for all that there is."""
    asking: dict[str, Any] = {
        "clientRequests": ["sampling", "elicitation", "roots"],
        "scaling": {"maxInstances": 8},
    }
    over_stdio = {
        f"{era}-stdio": {
            "command": sys.executable,
            "args": ["-m", "conformance.fixture", "--transport", "stdio", "--era", era],
            "environment": {"PYTHONPATH": str(TESTS)},
            **asking,
        }
        for era in urls
    }
    return over_stdio | {f"{era}-http": {"url": url, **asking} for era, url in urls.items()}
