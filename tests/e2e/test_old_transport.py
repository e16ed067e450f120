"""Clients that know nothing but HTTP+SSE, the transport of 2024-11-05."""

from __future__ import annotations

import asyncio
import json
import shutil

import pytest

from e2e import environments
from support.stack import TOKEN, light, running, until


def program(name: str) -> list[str]:
    if name == "python":
        return [str(environments.legacy_python()), "-W", "ignore", str(environments.CLIENTS / "old_sse.py")]
    home = environments.npm_environment(environments.CLIENTS / "ts")
    shutil.copy(environments.CLIENTS / "ts" / "old_sse.mjs", home)  # imports are looked up from there
    return [str(environments.node().node), str(home / "old_sse.mjs")]


@pytest.mark.parametrize("path", ["/sse", "/servers/old/sse"])
@pytest.mark.parametrize("name", ["python", "typescript"])
async def test_a_conversation(tmp_path, name, path):
    argv = await asyncio.to_thread(program, name)
    prefix = "old__" if path == "/sse" else ""
    async with running(tmp_path, {"old": light()}) as stack:
        process = await asyncio.create_subprocess_exec(
            *argv, stack.url + path, TOKEN, f"{prefix}echo", "hello", stdout=-1, stderr=-1
        )
        out, problems = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 0, problems.decode()
        said = json.loads(out)
        assert f"{prefix}add" in said["tools"]
        assert said["text"] == "hello"
        # The last step comes with the answer, and the TypeScript SDK may then not tell of it any more.
        assert said["steps"][:3] == [1, 2, 3]
        await until(lambda: len(stack.system.gateway.sessions) == 0)
