"""The lock file and the tools of a running service."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fairlead.mcp.contracts import contract_of
from fairlead.mcp.messages import encode_json
from fairlead.model.status import Condition
from fairlead.packages.lock import LockFiles
from support.stack import Stack, light, running, until


def files(folder: Path) -> LockFiles:
    return LockFiles(committed=folder / "fleet.lock", local=folder / "local.lock")


async def contracts(stack: Stack) -> dict[str, Any]:
    """What the light server's tools are now."""
    client = stack.modern("/servers/light/mcp")
    tools = (await client.ask("tools/list"))["result"]["tools"]
    return {tool["name"]: contract_of(encode_json(tool)) for tool in tools}


def held(stack: Stack) -> Condition:
    conditions = stack.system.fleet.server("light").conditions
    return next(each for each in conditions if each.type == "ContractsHeld")


@pytest.mark.parametrize("policy", ["flag", "withhold"])
async def test_a_tool_that_turned_is_found_and_the_lock_is_followed(tmp_path: Path, policy: str) -> None:
    async with running(tmp_path, {"light": light()}) as stack:
        now = await contracts(stack)
    turned = {**now, "echo": {**now["echo"], "description": "as it was when we looked at it"}}
    files(tmp_path).commit_contracts({"light": turned})
    async with running(tmp_path, {"light": light(toolContracts=policy)}) as stack:
        assert held(stack).reason == "ContractChanged"
        session = await stack.session()
        names = [tool["name"] for tool in (await session.ask("tools/list"))["result"]["tools"]]
        assert ("light__echo" in names) == (policy == "flag")
        answer = await session.call("light__echo", text="x")
        assert ("result" in answer) == (policy == "flag")
        status = (await stack.rest("GET", "/api/servers/light")).json()
        assert status["contractChanges"] == [
            {
                "tool": "echo",
                "change": "changed",
                "impact": "review",
                "parts": ["description"],
                "withheld": policy == "withhold",
            }
        ]
        body = {
            "server": "light",
            "method": "tools/call",
            "params": {"name": "echo", "arguments": {"text": "x"}},
        }
        routed = await stack.rest("POST", "/api/request", json=body)
        assert routed.status_code == (200 if policy == "flag" else 409)
        if policy == "withhold":
            assert routed.json()["type"] == "urn:fairlead:problem:contract-changed"
        routed = await stack.rest("POST", "/api/request", json={"server": "light", "method": "tools/list"})
        assert ("echo" in [tool["name"] for tool in routed.json()["result"]["tools"]]) == (policy == "flag")
        nested = body | {"params": {"name": ["echo"], "arguments": {"text": "x"}}}
        refused = (await stack.rest("POST", "/api/request", json=nested)).json()
        assert (refused["status"], "params.name" in refused["detail"]) == (422, True)
        metrics = (await stack.rest("GET", "/metrics")).text
        assert 'fairlead_server_contract_changes{change="changed"' in metrics
        files(tmp_path).commit_contracts({"light": now})
        await until(lambda: held(stack).reason == "AsLocked")
        assert "result" in await session.call("light__echo", text="x")


async def test_the_fleets_policy_stands_under_security(tmp_path: Path) -> None:
    files(tmp_path).commit_contracts({"light": {"other": {"name": "other"}}})
    async with running(tmp_path, {"light": light()}, security={"toolContracts": "withhold"}) as stack:
        assert await contracts(stack) == {}
        assert stack.system.fleet.server("light").message == "0 tools"


async def test_a_lock_that_cannot_be_read_from_the_start_withholds_all(tmp_path: Path) -> None:
    files(tmp_path).committed.write_text("<<<<<<< ours\n")
    async with running(tmp_path, {"light": light(toolContracts="withhold")}) as stack:
        assert await contracts(stack) == {}
        assert held(stack).reason == "LockUnreadable"
