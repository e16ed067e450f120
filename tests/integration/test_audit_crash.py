"""SIGKILL of a real orchestrator under load: at most its last second of calls is missing, and it says so."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx

from fairlead.stores.state import StateFolder
from support.stack import ACCEPT, MODERN, TOKEN, fleet, light, until

LOST = 1.0  # s of calls that may be missing
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
}
HEADERS = {
    "Authorization": f"Bearer {TOKEN}",
    "Accept": ACCEPT,
    "MCP-Protocol-Version": MODERN,
    "Mcp-Method": "tools/call",
    "Mcp-Name": "echo",
}


@asynccontextmanager
async def orchestrator(folder: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """The service in a process of its own, and its address."""
    config, state = folder / "fleet.yml", StateFolder(folder / "state")
    config.write_text(fleet({"a": light()}))
    with (folder / "log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "fairlead.cli.main", "orchestrator", "--port", "0"),
            *("--config", str(config), "--state-dir", str(state.root)),
            stdout=log,
            stderr=log,
            env={"PATH": "/usr/bin:/bin", "FAIRLEAD_TOKEN": TOKEN},
        )
    try:
        await until(
            lambda: (
                process.returncode is not None
                or ((run := state.read_run()) is not None and run.pid == process.pid)
            ),
            (folder / "log").read_text,
        )
        run = state.read_run()
        assert run is not None, (folder / "log").read_text()
        yield process, run.addresses["orchestrator"]
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def call_on(http: httpx.AsyncClient, url: str, worker: int, answered: dict[str, float]) -> None:
    """Calls, one after the other, until the service is gone: when each was answered, by its digest."""
    for number in range(100_000):
        arguments = json.dumps({"text": f"{worker} {number}"}, separators=(",", ":"))
        body = (
            f'{{"jsonrpc":"2.0","id":{number},"method":"tools/call","params":'
            f'{{"name":"echo","arguments":{arguments},"_meta":{json.dumps(META)}}}}}'
        )
        try:
            answer = await http.post(
                f"{url}/servers/a/mcp", content=body, headers=HEADERS | {"Content-Type": "application/json"}
            )
        except httpx.HTTPError:
            return
        assert "result" in answer.json(), answer.text
        answered["sha256:" + sha256(arguments.encode()).hexdigest()] = time.time()


async def search(http: httpx.AsyncClient, url: str, **wanted: Any) -> list[dict[str, Any]]:
    """All records that fit, page by page."""
    found: dict[str, dict[str, Any]] = {}
    until_then: dict[str, Any] = {}
    while True:
        answer = await http.get(
            f"{url}/api/audit",
            params={**wanted, **until_then, "limit": 1000},
            headers={"Authorization": f"Bearer {TOKEN}"},
        )
        assert answer.status_code == 200, answer.text
        page = answer.json()["records"]
        new = [record for record in page if json.dumps(record, sort_keys=True) not in found]
        if not new:
            return list(found.values())
        found |= {json.dumps(record, sort_keys=True): record for record in new}
        until_then = {"until": page[-1]["at"] + 1e-6}


async def service_records(http: httpx.AsyncClient, url: str, *, starts: int) -> list[dict[str, Any]]:
    """What the service says of itself, as soon as so many starts are in it and what the last one found."""
    async with asyncio.timeout(30):
        while True:
            found = await search(http, url, kind="system")
            if sum(record["action"] == "service started" for record in found) == starts:
                return found
            await asyncio.sleep(0.05)


async def test_a_killed_service_loses_at_most_its_last_second_and_the_next_one_says_so(tmp_path):
    answered: dict[str, float] = {}
    async with httpx.AsyncClient(timeout=30) as http:
        async with orchestrator(tmp_path) as (process, url):
            begun = time.time()
            calling = [asyncio.ensure_future(call_on(http, url, worker, answered)) for worker in range(4)]
            await until(lambda: time.time() - begun > 3 and len(answered) > 100, guard=60)
            process.send_signal(signal.SIGKILL)
            killed = time.time()
            await process.wait()
            await asyncio.gather(*calling)
        async with orchestrator(tmp_path) as (_, url):
            told = await service_records(http, url, starts=2)
            calls = await search(http, url, kind="call")
        async with orchestrator(tmp_path) as (_, url):
            again = await service_records(http, url, starts=3)
    kept = {record["arguments"] for record in calls}
    assert len(kept) == len(calls), "a call is there twice"
    missing = [at for digest, at in answered.items() if digest not in kept]
    assert not [at for at in missing if at < killed - LOST], f"{len(missing)} of {len(answered)} are missing"
    (word,) = [record for record in told if record["action"] == "run not ended"]
    assert word["detail"]["started"] <= begun
    assert word["detail"]["seen"] <= killed
    assert sum(record["action"] == "run not ended" for record in again) == 1, "the second one ended well"
