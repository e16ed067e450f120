from __future__ import annotations

import os
import time

from fairlead.orchestrator.metrics import Outcome
from support.web_services import AUTHORIZED, client, services


async def test_what_runs_here(http, behind):
    behind.metrics.calls("filesystem", "tools/call").record(0.01, Outcome.OK)
    info = (await http.get("/api/system/info")).json()
    assert info["version"] == "1.2.3"
    assert info["nodeId"] == "node-1"
    assert info["pid"] == os.getpid()
    assert info["addresses"] == {"orchestrator": "http://127.0.0.1:3002"}
    assert abs(info["uptime"] - (time.time() - 1_700_000_000)) < 60
    assert info["traffic"]["requests"] == 1
    assert info["away"] == {}


async def test_what_is_away_and_why():
    async with client(services(away=lambda: {"bus": "connection refused"}), **AUTHORIZED) as http:
        assert (await http.get("/api/system/info")).json()["away"] == {"bus": "connection refused"}
