"""Schemathesis against the running service: no 5xx, and every answer is as /openapi.json says.

It runs in a process of its own, as its users run it: valid and invalid data, boundary values, sequences of
operations, all as an administrator of a light fleet, which it may leave as it likes.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from support import api_checks
from support.stack import TOKEN, light, running

SECONDS = 45  # in which it makes about 1,000 requests

CONFIG = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "401", "403", "404", "409", "412", "413", "414", "428", "429", "431"]

[checks.negative_data_rejection]
expected-statuses = ["4xx"]
"""
"""Valid data may be refused for what the service is at that time, and any request for its framing."""

SEMANTIC = """
[[operations]]
include-path = "{path}"
checks.positive_data_acceptance.enabled = false
"""
BEYOND_SCHEMA = (
    "/api/events",  # a sequence that no event has yet
    "/api/fleet",  # a whole fleet spec has a schema of its own, and rules beyond it
    "/api/fleet/overrides",  # the grammar of dotted keys
    "/api/metrics/trends",  # as many points as the span and the step make
    "/api/request",  # methods that can be routed
    "/api/servers/{id}/scale",  # bounds that cross those in force
)


@pytest.mark.timeout(600)
async def test_the_service_answers_as_its_document_says(tmp_path: Path) -> None:
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG + "".join(SEMANTIC.format(path=path) for path in BEYOND_SCHEMA))
    (tmp_path / "service").mkdir()
    servers = {"one": light(), "two": light(), "off": light(enabled=False)}
    async with running(tmp_path / "service", servers, toolsets={"all": {"servers": "*"}}) as stack:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(config)),
            *("run", f"{stack.url}/openapi.json", "--header", f"Authorization: Bearer {TOKEN}"),
            *("--max-time", str(SECONDS), "--max-examples", "12", "--continue-on-failure"),
            "--generation-deterministic",
            *("--no-color", "--warnings", "off"),
            env=os.environ | {"SCHEMATHESIS_HOOKS": api_checks.__file__},
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            told, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode == 0, told.decode()[-20_000:]
        operations = sum(map(len, stack.system.app.openapi()["paths"].values()))
        assert f"Tested: {operations}" in told.decode(), told.decode()[-3_000:]
