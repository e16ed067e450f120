"""The version of a server is changed under load: by the fleet file, by REST, by both at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from fairlead.app.fleet_config import FleetConfig
from support.stack import light, running, until
from support.trial import POOL, Trial, trial

QUICK_START = POOL["timeouts"] | {"start": "2s"}
BAD = {
    "exits": (light("--exit-at-once", "3", **POOL), "exited with code 3"),
    "is missing": ({"command": "/no/such/program", **POOL}, "/no/such/program"),
    "never answers": (
        light("--no-initialize-answer", **POOL | {"timeouts": QUICK_START}),
        "did not answer within 2 s",
    ),
}


async def by_file(it: Trial, servers: dict[str, Any]) -> None:
    it.write_file(servers)


async def by_rest(it: Trial, servers: dict[str, Any]) -> None:
    answer = await it.put(servers)
    assert answer.status_code == 200, answer.text
    change = answer.json()
    assert change["replaced"] == ["pool"]
    assert change["kept"] == ["neighbour"]
    assert answer.headers["etag"] == await it.tag()


@pytest.mark.parametrize("means", [by_file, by_rest])
async def test_no_call_is_lost(tmp_path: Path, means: Callable[[Trial, Any], Awaitable[None]]):
    async with trial(tmp_path, may_lose=False) as it:
        before = it.pids()
        for label in ("2", "3"):
            await means(it, it.edited("--label", label))
            await it.version(label)
            assert not it.pids() & before
        status = await it.rest("GET", "/api/fleet")
        assert status["observedGeneration"] == status["generation"] == 3


@pytest.mark.parametrize("means", [by_file, by_rest])
async def test_calls_in_flight_end_where_they_are(
    tmp_path: Path, means: Callable[[Trial, Any], Awaitable[None]]
):
    async with trial(tmp_path, may_lose=False) as it:
        held = await it.hold_calls()
        await means(it, it.edited("--label", "2"))
        await until(lambda: it.status().server_version == "2", lambda: f"{it.status()}")
        await it.pool.more(300)
        assert await held.let_go() == ["0", "1", "2", "3"]
        await it.gone(*held.pids().values())
        await it.version("2")


async def unchanged(it: Trial, pids: set[int], fleet: dict[str, Any]) -> None:
    """What serves, and what should, is as it was."""
    await it.pool.more(300)
    assert it.pids() == pids
    now = await it.rest("GET", "/api/fleet")
    assert {name: now[name] for name in ("generation", "spec", "owner", "overrides")} == {
        name: fleet[name] for name in ("generation", "spec", "owner", "overrides")
    }


@pytest.mark.parametrize("bad", BAD)
async def test_a_bad_version_in_the_file_changes_nothing(tmp_path: Path, bad: str):
    server, why = BAD[bad]
    async with trial(tmp_path, may_lose=False) as it:
        pids, before = it.pids(), await it.rest("GET", "/api/fleet")
        it.write_file(it.servers | {"pool": server})
        await it.says("refused", why)
        await unchanged(it, pids, before)
        conditions = (await it.rest("GET", "/api/fleet"))["conditions"]
        last = next(one for one in conditions if one["type"] == "LastChange")
        assert not last["status"]
        assert why in last["message"]
        it.write_file(it.edited("--label", "2"))
        await it.version("2")


@pytest.mark.parametrize("bad", BAD)
async def test_a_bad_version_by_rest_changes_nothing(tmp_path: Path, bad: str):
    server, why = BAD[bad]
    async with trial(tmp_path, may_lose=False) as it:
        pids, before = it.pids(), await it.rest("GET", "/api/fleet")
        answer = await it.put(it.servers | {"pool": server})
        assert answer.status_code == 409
        assert answer.json()["type"] == "urn:fairlead:problem:change-refused"
        assert why in answer.json()["detail"]
        await unchanged(it, pids, before)
        assert (await it.put(it.edited("--label", "2"))).status_code == 200
        await it.version("2")


async def test_of_two_changes_by_rest_at_once_one_wins(tmp_path: Path):
    async with trial(tmp_path, may_lose=False) as it:
        seen = await it.tag()
        answers = await asyncio.gather(*(it.put(it.edited("--label", label), seen) for label in ("2", "3")))
        assert sorted(answer.status_code for answer in answers) == [200, 412]
        await it.version("2" if answers[0].status_code == 200 else "3")
        lost = next(answer for answer in answers if answer.status_code == 412)
        assert lost.json()["type"] == "urn:fairlead:problem:generation-changed"
        assert (await it.rest("GET", "/api/fleet"))["generation"] == 2


async def test_of_the_file_and_rest_at_once_the_owner_wins(tmp_path: Path):
    """Whoever comes first: the file is the spec's owner, so a live edit of the same key gives way."""
    async with trial(tmp_path, may_lose=False) as it:
        seen = await it.tag()
        it.write_file(it.edited("--label", "2"))
        answer = await it.put(it.edited("--label", "3"), seen)
        assert answer.status_code in (200, 412)
        await until(lambda: it.status().server_version == "2", lambda: f"{it.status()}")
        await it.version("2")
        status = await it.rest("GET", "/api/fleet")
        assert status["overrides"] == []
        assert status["spec"]["servers"]["pool"]["args"] == it.edited("--label", "2")["pool"]["args"]


async def test_a_put_that_waits_behind_a_save_of_the_file_is_too_late(tmp_path: Path):
    """Its tag was good when it was sent; by its turn, the file has been put in force."""
    gate = tmp_path / "gate"
    async with trial(tmp_path, may_lose=False) as it:
        config, seen = it.stack.system.config, await it.tag()
        slow = behind(gate, it.edited("--label", "2")["pool"])
        it.write_file(it.servers | {"pool": slow})
        await until(lambda: changing(config), lambda: f"{config.status()}")
        put = asyncio.create_task(it.put(it.edited("--label", "3"), seen))
        await until(lambda: bool(config._lock._waiters), lambda: "it waits for its turn")
        gate.touch()
        answer = await put
        assert answer.status_code == 412, answer.text
        assert answer.json()["type"] == "urn:fairlead:problem:generation-changed"
        assert answer.json()["tag"] == (await it.tag()).strip('"')
        await it.version("2")
        status = await it.rest("GET", "/api/fleet")
        assert status["overrides"] == []
        assert status["spec"]["servers"]["pool"]["args"] == slow["args"]


def behind(gate: Path, server: dict[str, Any]) -> dict[str, Any]:
    """The server, which does not start before the gate is there."""
    wait = 'until [ -e "$0" ]; do sleep 0.05; done; exec "$@"'
    return server | {
        "command": "/bin/sh",
        "args": ["-c", wait, str(gate), server["command"], *server["args"]],
    }


def changing(config: FleetConfig) -> bool:
    return any(one.reason == "Changing" for one in config.status().conditions)


async def test_a_tag_of_before_a_restart_is_too_late(tmp_path: Path):
    servers = {"a": light()}
    async with running(tmp_path, servers) as stack:
        before = await stack.rest("GET", "/api/fleet")
    async with running(tmp_path, servers) as stack:
        after = await stack.rest("GET", "/api/fleet")
        assert after.json()["generation"] == before.json()["generation"]
        spec = after.json()["spec"] | {"servers": {}}
        for tag, status in ((before.headers["etag"], 412), (after.headers["etag"], 200)):
            answer = await stack.rest("PUT", "/api/fleet", json=spec, headers={"If-Match": tag})
            assert answer.status_code == status, answer.text


async def test_conditions_are_worked_out_while_nobody_looks(tmp_path: Path):
    async with running(tmp_path, {"a": light()}) as stack:
        config = stack.system.config
        await until(lambda: any(one.type == "Ready" and one.status for one in config._conditions))


async def test_origins_that_cannot_be_do_not_bring_the_service_down(tmp_path: Path):
    servers = {"a": light()}
    async with running(tmp_path, servers) as stack:
        spec = (await stack.rest("GET", "/api/fleet")).json()["spec"]
        for origin, status in (("http://ü.x", 422), ("*", 200), ("http://localhost:*", 200)):
            wanted = spec | {"security": spec["security"] | {"networkPolicies": {"allowedOrigins": [origin]}}}
            answer = await stack.rest("PUT", "/api/fleet", json=wanted, headers={"If-Match": "*"})
            assert answer.status_code == status, answer.text
    async with running(tmp_path, servers) as stack:
        assert (await stack.rest("GET", "/api/fleet")).json()["overrides"] != []


async def test_of_the_file_and_rest_at_once_both_hold_where_they_differ(tmp_path: Path):
    scaling = POOL["scaling"] | {"maxInstances": 8}
    async with trial(tmp_path, may_lose=False) as it:
        seen = await it.tag()
        it.write_file(it.edited("--label", "2"))
        answer = await it.put(it.edited(scaling=scaling), seen)
        assert answer.status_code in (200, 412)
        await until(lambda: it.status().server_version == "2", lambda: f"{it.status()}")
        await it.version("2")
        both = answer.status_code == 200
        assert it.status().max_instances == (8 if both else POOL["scaling"]["maxInstances"])
        keys = [one["key"] for one in (await it.rest("GET", "/api/fleet"))["overrides"]]
        assert keys == (["servers.pool.scaling.maxInstances"] if both else [])
