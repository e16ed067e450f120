"""Limits as clients meet them, on one service and on two with one Valkey."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from support.servers import cuttable_proxy
from support.stack import TOKEN, LegacySession, Stack, light, running, until

ECHO = {"server": "old", "method": "tools/call", "params": {"name": "echo", "arguments": {"text": "x"}}}


@contextlib.asynccontextmanager
async def two(tmp_path: Path, bus: str, **limits: Any) -> AsyncIterator[tuple[Stack, Stack]]:
    settings = {"bus": SecretStr(bus), "key": SecretStr("0123456789abcdef0123456789abcdef")}
    security = {"resourceLimits": limits}
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    async with (
        running(tmp_path / "a", {}, settings=settings, security=security) as one,
        running(tmp_path / "b", {}, settings=settings, security=security) as other,
    ):
        await until(lambda: one.system.gateway.accounts.processes == 2)
        await until(lambda: other.system.gateway.accounts.processes == 2)
        yield one, other


async def admitted(stack: Stack, seconds: float) -> int:
    """How many are let through. What comes to be allowed while the last answer is slow is not asked for."""
    client, count = stack.modern(), 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = await client.post(client.message("tools/list"))
        assert answer.status_code in (200, 429)
        if answer.status_code == 200:
            count += 1
        else:
            assert int(answer.headers["retry-after"]) >= 1
    return count


async def test_two_services_hold_a_rate_in_sum(tmp_path, valkey_url):
    rate = {"requestsPerMinute": 600, "burst": 60}
    async with two(tmp_path, valkey_url, rateLimiting=rate) as (one, other):
        started = time.monotonic()
        counts = await asyncio.gather(admitted(one, 4.0), admitted(other, 4.0))
        assert (60 + 10 * 4.0) * 0.8 <= sum(counts) <= (60 + 10 * (time.monotonic() - started)) * 1.1
        assert min(counts) > 15


async def test_one_of_two_services_alone_gets_nearly_all(tmp_path, valkey_url):
    rate = {"requestsPerMinute": 600, "burst": 60}
    async with two(tmp_path, valkey_url, rateLimiting=rate) as (one, _):
        started = time.monotonic()
        count = await admitted(one, 3.0)
        allowed = 60 + 10 * (time.monotonic() - started)
        assert (60 + 10 * 3.0) * 0.75 <= count <= allowed + 2  # a fair share of two would be half of it


async def test_calls_go_on_while_the_bus_is_away(tmp_path, valkey_url):
    rate = {"requestsPerMinute": 600, "burst": 60}
    async with (
        cuttable_proxy(valkey_url) as proxy,
        two(tmp_path, proxy.url, rateLimiting=rate) as (one, other),
    ):
        limits = one.system.limits
        assert limits is not None
        await proxy.cut()
        await until(lambda: not limits.connected)
        started = time.monotonic()
        counts = await asyncio.gather(admitted(one, 2.0), admitted(other, 2.0))
        assert min(counts) >= (60 + 10 * 2.0) * 0.4
        assert sum(counts) <= (60 + 10 * (time.monotonic() - started)) * 1.1
        await proxy.heal()
        await until(lambda: limits.connected)


async def test_rest_over_the_limits_of_a_principal_and_of_a_server(tmp_path):
    servers = {"old": {**light(), "limits": {"requestsPerMinute": 2}}}
    async with running(tmp_path, servers) as stack:
        answers = [await stack.rest("POST", "/api/request", json=ECHO) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert int(answers[2].headers["retry-after"]) >= 1
        assert "limits.requestsPerMinute" in answers[2].json()["detail"]
        metrics = (await stack.rest("GET", "/metrics")).text
        assert 'fairlead_refused_total{reason="rate-limited"} 1.0' in metrics


async def test_rest_over_the_calls_of_a_principal(tmp_path):
    limits = {"resourceLimits": {"callsPerPrincipal": 1}}
    slow = {**ECHO, "params": {"name": "sleep", "arguments": {"seconds": 1}}}
    async with running(tmp_path, {"old": light()}, security=limits) as stack:
        answers = await asyncio.gather(*(stack.rest("POST", "/api/request", json=slow) for _ in range(3)))
        assert sorted(answer.status_code for answer in answers) == [200, 429, 429]
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert "callsPerPrincipal" in refused.json()["detail"]
        assert refused.headers["retry-after"] == "1"


@pytest.mark.parametrize("size", [100, 1000])
async def test_an_answer_that_is_too_large_over_rest(tmp_path, size):
    limits = {"resourceLimits": {"maxAnswerSize": "500B"}}
    big = {**ECHO, "params": {"name": "big", "arguments": {"bytes": size}}}
    async with running(tmp_path, {"old": light()}, security=limits) as stack:
        answer = await stack.rest("POST", "/api/request", json=big)
        assert answer.status_code == (200 if size == 100 else 502)
        assert ("maxAnswerSize" in answer.text) == (size == 1000)
        assert (await stack.rest("POST", "/api/request", json=ECHO)).status_code == 200


async def test_an_answer_over_the_bound_of_a_frame_costs_one_call_and_no_instance(tmp_path):
    async with running(tmp_path, {"old": light()}) as stack:
        session = await stack.session()
        before = stack.system.fleet.server("old").instances
        refused = await session.call("old__big", bytes=17 * 2**20)
        assert refused["error"]["data"]["problem"] == "answer-too-large"
        assert await session.text("old__echo", text="x") == "x"
        assert [i.id for i in stack.system.fleet.server("old").instances] == [i.id for i in before]


async def test_sessions_of_a_principal_are_bounded(tmp_path):
    bounds = {"sessions": {"max_per_principal": 1}}
    async with running(tmp_path, {"old": light()}, settings=bounds) as stack:
        await stack.session()
        second = LegacySession(stack, "/mcp", TOKEN)
        answer = await second.post(second.message("initialize", {"protocolVersion": "2025-11-25"}))
        assert answer.json()["error"]["data"] == {"problem": "too-many-sessions", "retryAfter": 30.0}
        assert answer.headers["retry-after"] == "30"
        theirs = await stack.key("guest")
        await stack.session(token=theirs)
