"""Schemathesis against both running services: no 5xx, and every answer is as /openapi.json says.

It runs in a process of its own, as its users run it: valid and invalid data, boundary values, sequences of
operations, all as an administrator of a light fleet (or of a folder that Git keeps), which it may leave as it
likes.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from fastapi import FastAPI

from support import api_checks
from support.gitops_stack import gitops_running
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


BEYOND_GITOPS_SCHEMA = (
    "/api/applications/{name}/holds",  # the grammar of paths
    "/api/applications/{name}/resolve",  # the grammar of dotted keys
    "/api/deployments/{id}/approve",  # the grammar of entity tags
    "/api/deployments/{id}/cancel",
    "/api/config/validate",  # how large a body may be as a whole
    "/api/events",  # as above
    "/api/sync/trigger",  # a commit needs an application
    "/webhooks/{source}",  # the proof
)
NO_FLEET = """
[[operations]]
include-path = "/api/gitops/disable"
checks.not_a_server_error.enabled = false
checks.positive_data_acceptance.enabled = false
"""
"""Giving the fleet back needs the orchestrator, which is not there: 503."""


@pytest.mark.timeout(600)
async def test_the_orchestrator_answers_as_its_document_says(tmp_path: Path) -> None:
    (tmp_path / "service").mkdir()
    servers = {"one": light(), "two": light(), "off": light(enabled=False)}
    async with running(tmp_path / "service", servers, toolsets={"all": {"servers": "*"}}) as stack:
        await _check(tmp_path, stack.url, _beyond(BEYOND_SCHEMA), stack.system.app)


@pytest.mark.timeout(600)
async def test_the_gitops_controller_answers_as_its_document_says(tmp_path: Path) -> None:
    (tmp_path / "service").mkdir()
    async with gitops_running(tmp_path / "service") as system:
        url = f"http://127.0.0.1:{system.port}"
        await _check(tmp_path, url, _beyond(BEYOND_GITOPS_SCHEMA) + NO_FLEET, system.app)


def _beyond(paths: Sequence[str]) -> str:
    return "".join(SEMANTIC.format(path=path) for path in paths)


async def _check(folder: Path, url: str, exceptions: str, app: FastAPI) -> None:
    config = folder / "schemathesis.toml"
    config.write_text(CONFIG + exceptions)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(config)),
        *("run", f"{url}/openapi.json", "--header", f"Authorization: Bearer {TOKEN}"),
        *("--max-time", str(SECONDS), "--max-examples", "12", "--continue-on-failure"),
        "--generation-deterministic",
        *("--no-color", "--warnings", "off"),
        env=os.environ | {"SCHEMATHESIS_HOOKS": api_checks.__file__},
        cwd=folder,
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
    operations = sum(map(len, app.openapi()["paths"].values()))
    assert f"Tested: {operations}" in told.decode(), told.decode()[-3_000:]
