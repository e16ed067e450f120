"""Remote servers on the last SDK of the legacy era ask the users of clients of both eras.

Over streamable HTTP a question comes on the stream of its call; over HTTP+SSE all that a server says comes on
one stream, as over a pipe.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.environments import legacy_python
from support.asking import asked
from support.stack import running

NAMES = ("ada", "bob", "eve")
SERVER = Path(__file__).parent / "servers" / "asking.py"


@pytest.fixture(params=["streamable-http", "sse"])
def remote(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """The server's entry in the fleet file."""
    argv = [str(legacy_python()), "-W", "ignore", str(SERVER), request.param]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield {"url": process.stdout.readline().strip(), "transport": request.param}
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_each_user_is_asked_about_their_own_call(tmp_path: Path, era: str, remote: dict[str, str]):
    async with running(tmp_path, {"far": remote}) as stack:
        clients = [await asked(stack, era, name) for name in NAMES]
        for client, name in zip(clients, NAMES, strict=True):
            client.answer = lambda method, params, name=name: {"action": "accept", "content": {"name": name}}
        for _ in range(5):
            told = await asyncio.gather(*(client.text("far__ask") for client in clients))
            assert told == [f"hello {name}" for name in NAMES]
        (status,) = [one for one in stack.system.fleet.servers() if one.id == "far"]
        assert {one.protocol_version for one in status.instances} == {"2025-11-25"}
