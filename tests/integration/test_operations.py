"""What operators do over REST, upon the real service: balancing, checks, breakers, metrics, scaling."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from fairlead.model.status import ServerState
from support.stack import Stack, light, running, until


async def got(stack: Stack, path: str) -> Any:
    answer = await stack.rest("GET", path)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def done(stack: Stack, path: str, body: Any = None) -> Any:
    answer = await stack.rest("POST", path, **({} if body is None else {"json": body}))
    assert answer.status_code == 200, answer.text
    return answer.json()


async def whole(stack: Stack, server: str, count: int) -> list[str]:
    """The ids of the instances, as soon as so many are in rotation and no other is there."""

    def members() -> list[Any]:
        return stack.system.fleet.server(server).instances

    await until(lambda: [each.in_rotation for each in members()] == [True] * count, lambda: str(members()))
    return [each.id for each in members()]


async def replaced(stack: Stack, server: str, instance: str) -> None:
    """Another instance is there instead, and nothing else."""
    members = stack.system.fleet.server
    await until(
        lambda: [each.id != instance and each.in_rotation for each in members(server).instances] == [True],
        lambda: str(members(server).instances),
    )


def rotation(stack: Stack) -> list[bool]:
    """Of the instances of `a`, which get calls."""
    return [each.in_rotation for each in stack.system.fleet.server("a").instances]


async def breakers(stack: Stack) -> dict[str, str]:
    return {row["id"]: row["state"] for row in (await got(stack, "/api/circuit-breakers"))["breakers"]}


async def counts(stack: Stack, server: str, calls: int) -> dict[str, int]:
    """How many of so many calls, one after the other, each instance gets."""
    before = await totals(stack, server)
    client = stack.modern()
    for number in range(calls):
        assert await client.text(f"{server}__echo", text=f"{number}") == f"{number}"
    return {name: total - before[name] for name, total in (await totals(stack, server)).items()}


async def totals(stack: Stack, server: str) -> dict[str, int]:
    status = await got(stack, "/api/load-balancer/status")
    [members] = [row["instances"] for row in status["servers"] if row["id"] == server]
    return {member["id"]: member["callsTotal"] for member in members}


async def test_strategies_and_weights_take_effect_at_once(tmp_path):
    pool = {"scaling": {"minInstances": 2, "maxInstances": 2}}
    async with running(tmp_path, {"a": light(**pool), "b": light()}) as stack:
        first, second = await whole(stack, "a", 2)
        status = await done(stack, "/api/load-balancer/strategy", {"strategy": "round-robin"})
        assert status["strategy"] == "round-robin"
        assert [row["strategy"] for row in status["servers"]] == ["round-robin"] * 2
        assert status == await got(stack, "/api/load-balancer/status")
        assert await counts(stack, "a", 10) == {first: 5, second: 5}

        status = await done(stack, "/api/load-balancer/strategy", {"strategy": "weighted", "server": "a"})
        assert status["strategy"] == "round-robin"
        assert [row["strategy"] for row in status["servers"]] == ["weighted", "round-robin"]
        weights = {first: 4, "b": 0.5}
        status = await done(stack, "/api/load-balancer/strategy", {"weights": weights})
        assert [row["weight"] for row in status["servers"]] == [1.0, 0.5]
        assert [member["weight"] for member in status["servers"][0]["instances"]] == [4.0, 1.0]
        assert await counts(stack, "a", 10) == {first: 8, second: 2}

        overrides = (await got(stack, "/api/fleet"))["overrides"]
        assert {row["key"]: row["value"] for row in overrides} == {
            "loadBalancing.strategy": "round-robin",
            "servers.a.strategy": "weighted",
            "loadBalancing.weights.b": 0.5,
        }
        await done(stack, "/api/load-balancer/strategy", {"strategy": None, "server": "a"})
        assert await counts(stack, "a", 10) == {first: 5, second: 5}


async def test_an_unknown_name_leaves_all_as_it_was(tmp_path):
    async with running(tmp_path, {"a": light()}) as stack:
        [instance] = await whole(stack, "a", 1)
        before = await got(stack, "/api/load-balancer/status")
        for body in (
            {"strategy": "weighted", "weights": {instance: 2, "a-99": 1}},
            {"strategy": "weighted", "server": instance},
        ):
            answer = await stack.rest("POST", "/api/load-balancer/strategy", json=body)
            assert (answer.status_code, answer.json()["type"]) == (404, "urn:fairlead:problem:unknown-server")
        assert await got(stack, "/api/load-balancer/status") == before
        assert (await got(stack, "/api/fleet"))["overrides"] == []


async def test_an_instance_that_is_still_coming_is_not_weighed_and_spoils_nothing(tmp_path):
    stuck = tmp_path / "stuck"
    server = light("--no-initialize-answer", "--only-if", str(stuck))
    async with running(tmp_path, {"a": server}) as stack:
        [first] = await whole(stack, "a", 1)
        stuck.touch()
        await done(stack, "/api/servers/a/scale", {"instances": 2})
        await until(lambda: len(stack.system.fleet.server("a").instances) == 2)
        [coming] = {each.id for each in stack.system.fleet.server("a").instances} - {first}
        body = {"strategy": "weighted", "weights": {"a": 3, first: 2, coming: 2}}
        answer = await stack.rest("POST", "/api/load-balancer/strategy", json=body)
        assert answer.status_code == 404
        status = await got(stack, "/api/load-balancer/status")
        assert (status["strategy"], status["servers"][0]["weight"]) == ("resource-based", 1.0)
        assert status["servers"][0]["instances"][0]["weight"] == 1.0
        await done(stack, "/api/servers/a/stop")


async def test_checks_now(tmp_path):
    seldom = {"interval": "300s", "idleInterval": "300s", "timeout": "1s", "idleTimeout": "0.2s"}
    servers = {"a": light(healthCheck=seldom), "b": light("--era", "modern", healthCheck=seldom)}
    async with running(tmp_path, servers) as stack:
        [first], [second] = await whole(stack, "a", 1), await whole(stack, "b", 1)
        for body in (None, {}):
            results = (await done(stack, "/api/health/check", body))["results"]
            assert {row["instance"]: row["passed"] for row in results} == {first: True, second: True}
        [result] = (await done(stack, "/api/health/check", {"server": "b"}))["results"]
        assert (result["server"], result["instance"], result["message"]) == ("b", second, "")
        assert (await got(stack, "/api/metrics/servers/b"))["healthChecks"] == {"passed": 3, "failed": 0}
        unknown = await stack.rest("POST", "/api/health/check", json={"server": "c"})
        assert (unknown.status_code, unknown.json()["type"]) == (404, "urn:fairlead:problem:unknown-server")

        os.kill((await got(stack, "/api/servers/a"))["instances"][0]["pid"], signal.SIGSTOP)
        [result] = (await done(stack, "/api/health/check", {"server": "a"}))["results"]
        assert (result["instance"], result["passed"]) == (first, False)
        assert "did not answer within" in result["message"]
        await replaced(stack, "a", first)


async def test_breakers_open_show_and_are_reset(tmp_path):
    breaker = {"minimumCalls": 2, "failureRate": 50, "consecutiveFailures": 2, "openFor": "600s"}
    check = {"errorPatterns": ["always fails"]}
    async with running(tmp_path, {"a": light(circuitBreaker=breaker, healthCheck=check)}) as stack:
        [instance] = await whole(stack, "a", 1)
        client = stack.modern()
        assert await breakers(stack) == {"a": "closed", instance: "closed"}
        for _ in range(2):
            assert (await client.call("a__fail"))["result"]["isError"] is True
        assert await breakers(stack) == {"a": "open", instance: "open"}
        [server, _] = (await got(stack, "/api/circuit-breakers"))["breakers"]
        assert (server["scope"], server["failures"], server["openedTotal"]) == ("server", 2, 1)
        assert 590 < server["retryAfter"] <= 600
        assert "always fails" in server["reason"]
        assert "error" in await client.call("a__echo", text="x")

        for breaker_id in ("a", instance):
            closed = await done(stack, f"/api/circuit-breakers/{breaker_id}/reset")
            assert (closed["id"], closed["state"], closed["failures"]) == (breaker_id, "closed", 0)
        assert await breakers(stack) == {"a": "closed", instance: "closed"}
        assert await client.text("a__echo", text="x") == "x"
        unknown = await stack.rest("POST", "/api/circuit-breakers/a-99/reset")
        assert (unknown.status_code, unknown.json()["type"]) == (404, "urn:fairlead:problem:unknown-breaker")


async def test_a_server_that_is_called_like_an_instance(tmp_path):
    async with running(tmp_path, {"a": light(), "a-1": light()}) as stack:
        assert await whole(stack, "a", 1) == ["a-1"]
        either = await stack.rest("POST", "/api/circuit-breakers/a-1/reset")
        assert either.status_code == 409
        for scope, server in (("server", "a-1"), ("instance", "a")):
            closed = await done(stack, f"/api/circuit-breakers/a-1/reset?scope={scope}")
            assert (closed["scope"], closed["server"]) == (scope, server)
        status = await done(stack, "/api/load-balancer/strategy", {"weights": {"a-1": 2}})
        assert [row["weight"] for row in status["servers"]] == [1.0, 2.0]
        assert status["servers"][0]["instances"][0]["weight"] == 1.0


async def test_metrics_count_what_was_called(tmp_path):
    async with running(tmp_path, {"a": light(), "b": light()}) as stack:
        session = await stack.session()
        for number in range(3):
            assert await session.text("a__echo", text=f"{number}") == f"{number}"
        await session.call("a__fail")
        await session.ask("resources/read", {"uri": "fairlead://b/light://one"})
        await until(lambda: stack.system.gateway.metrics.sessions == 1)  # counted once a second
        summary = await got(stack, "/api/metrics/summary")
        assert summary["sessions"] == 1
        assert (summary["servers"]["a"]["requests"], summary["servers"]["a"]["errors"]) == (4, 1)
        assert sum(summary["servers"]["a"]["latencyCounts"]) == 4

        one = await got(stack, "/api/metrics/servers/a")
        assert (one["id"], one["requests"]) == ("a", 4)
        outcomes = one["methods"]["tools/call"]["outcomes"]
        assert {name: count for name, count in outcomes.items() if count} == {"ok": 3, "tool_error": 1}
        assert one["p50Seconds"] > 0
        assert [(row["state"], row["callsTotal"]) for row in one["instances"]] == [("ready", 4)]
        methods = (await got(stack, "/api/metrics/servers/b"))["methods"]
        assert {name for name, calls in methods.items() if calls["requests"]} == {"resources/read"}
        unknown = await stack.rest("GET", "/api/metrics/servers/c")
        assert (unknown.status_code, unknown.json()["type"]) == (404, "urn:fairlead:problem:unknown-server")


async def test_scaling_up_and_down(tmp_path):
    async with running(tmp_path, {"a": light()}) as stack:
        [first] = await whole(stack, "a", 1)
        file = stack.fleet_file.read_bytes()
        status = await done(stack, "/api/servers/a/scale", {"instances": 3})
        assert (status["minInstances"], status["maxInstances"]) == (3, 4)
        assert first in await whole(stack, "a", 3)
        status = await done(stack, "/api/servers/a/scale", {"minInstances": 1, "maxInstances": 2})
        assert (status["minInstances"], status["maxInstances"]) == (1, 2)
        assert len(await whole(stack, "a", 2)) == 2
        assert await stack.modern().text("a__echo", text="x") == "x"

        crossed = await stack.rest("POST", "/api/servers/a/scale", json={"minInstances": 3})
        assert (crossed.status_code, crossed.json()["errors"][0]["where"]) == (422, "body.minInstances")
        fleet = await got(stack, "/api/fleet")
        assert fleet["spec"]["servers"]["a"]["scaling"]["maxInstances"] == 2
        assert stack.fleet_file.read_bytes() == file


async def test_an_idle_server_is_healthy(tmp_path):
    asleep = {"scaling": {"minInstances": 0, "idleAfter": "0.1s"}}
    async with running(tmp_path, {"a": light(**asleep), "b": light()}, wait=("b",)) as stack:
        await until(lambda: stack.system.fleet.server("a").state is ServerState.IDLE)
        await until(lambda: stack.system.fleet.server("a").instances == [])
        health = await got(stack, "/api/health/servers")
        assert (health["status"], health["counts"]) == ("ok", {"idle": 1, "ready": 1})
        [a, _] = health["servers"]
        assert (a["id"], a["healthy"], a["state"], a["instances"]) == ("a", True, "idle", 0)
        assert (await got(stack, "/health"))["status"] == "ok"
        assert [row["server"] for row in (await done(stack, "/api/health/check"))["results"]] == ["b"]
        assert await stack.modern().text("a__echo", text="woken") == "woken"


async def test_an_instance_that_drains_ends_its_calls_and_is_replaced(tmp_path):
    async with running(tmp_path, {"a": light("--misbehaves")}) as stack:
        [first] = await whole(stack, "a", 1)
        client, gate = stack.modern(), tmp_path / "gate"
        call = asyncio.create_task(client.text("a__hold", text="held", file=str(gate)))
        await until(Path(f"{gate}.held").exists)
        await done(stack, "/api/servers/a/drain", {"instance": first})
        await until(lambda: rotation(stack)[1:] == [True], lambda: str(rotation(stack)))
        assert await client.text("a__echo", text="new") == "new"
        assert not call.done()
        gate.touch()
        assert await call == "held"
        await replaced(stack, "a", first)
        unknown = await stack.rest("POST", "/api/servers/a/drain", json={"instance": first})
        assert (unknown.status_code, unknown.json()["type"]) == (404, "urn:fairlead:problem:unknown-instance")


@pytest.mark.parametrize("count", [1, 2])
async def test_an_instance_that_retires_gets_calls_only_while_no_other_serves(tmp_path, count):
    """The one that is to take its place never comes up."""
    stuck = tmp_path / "stuck"
    pool = {"minInstances": count, "maxInstances": count + 1}
    server = light("--no-initialize-answer", "--only-if", str(stuck), scaling=pool)
    async with running(tmp_path, {"a": server}) as stack:
        first = (await whole(stack, "a", count))[0]
        stuck.touch()
        await done(stack, "/api/servers/a/drain", {"instance": first})
        retiring = (await got(stack, "/api/servers/a"))["instances"][0]
        assert (retiring["id"], retiring["state"], retiring["detail"]) == (first, "ready", "retiring")
        assert retiring["inRotation"] is (count == 1)
        given = await counts(stack, "a", 6)
        assert given[first] == (6 if count == 1 else 0)
        await done(stack, "/api/servers/a/stop")


async def test_a_server_that_drains_ends_its_calls_and_stays_stopped(tmp_path):
    async with running(tmp_path, {"a": light("--misbehaves"), "b": light()}) as stack:
        client, gate = stack.modern(), tmp_path / "gate"
        call = asyncio.create_task(client.text("a__hold", text="held", file=str(gate)))
        await until(Path(f"{gate}.held").exists)
        status = await done(stack, "/api/servers/a/drain")
        assert (status["state"], status["message"]) == ("stopped", "stopped; 1 calls are finishing")
        assert "error" in await client.call("a__echo", text="late")
        assert await client.text("b__echo", text="other") == "other"
        gate.touch()
        assert await call == "held"
        await until(lambda: stack.system.fleet.server("a").instances == [])
        assert (await got(stack, "/api/servers/a"))["state"] == "stopped"
        await done(stack, "/api/servers/a/start")
        await stack.ready("a")


async def test_what_the_spec_disables_says_so_whoever_did_it(tmp_path):
    async with running(tmp_path, {"a": light(enabled=False)}) as stack:
        for action in ("start", "restart"):
            refused = await stack.rest("POST", f"/api/servers/a/{action}")
            assert refused.status_code == 409
            assert "disabled in the fleet spec; set `enabled: true`" in refused.json()["detail"]
