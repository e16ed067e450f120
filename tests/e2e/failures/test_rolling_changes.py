"""The version of a server is changed under load: by the fleet file, by REST, by both at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from support.stack import light, until
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
    assert answer.headers["etag"] == f'"{change["generation"]}"'


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
        answers = await asyncio.gather(
            *(it.put(it.edited("--label", label), generation=1) for label in ("2", "3"))
        )
        assert sorted(answer.status_code for answer in answers) == [200, 412]
        await it.version("2" if answers[0].status_code == 200 else "3")
        lost = next(answer for answer in answers if answer.status_code == 412)
        assert lost.json()["type"] == "urn:fairlead:problem:generation-changed"
        assert (await it.rest("GET", "/api/fleet"))["generation"] == 2


async def test_of_the_file_and_rest_at_once_the_owner_wins(tmp_path: Path):
    """Whoever comes first: the file is the spec's owner, so a live edit of the same key gives way."""
    async with trial(tmp_path, may_lose=False) as it:
        it.write_file(it.edited("--label", "2"))
        answer = await it.put(it.edited("--label", "3"), generation=1)
        assert answer.status_code in (200, 412)
        await until(lambda: it.status().server_version == "2", lambda: f"{it.status()}")
        await it.version("2")
        status = await it.rest("GET", "/api/fleet")
        assert status["overrides"] == []
        assert status["spec"]["servers"]["pool"]["args"] == it.edited("--label", "2")["pool"]["args"]


async def test_of_the_file_and_rest_at_once_both_hold_where_they_differ(tmp_path: Path):
    scaling = POOL["scaling"] | {"maxInstances": 8}
    async with trial(tmp_path, may_lose=False) as it:
        it.write_file(it.edited("--label", "2"))
        answer = await it.put(it.edited(scaling=scaling), generation=1)
        assert answer.status_code in (200, 412)
        await until(lambda: it.status().server_version == "2", lambda: f"{it.status()}")
        await it.version("2")
        both = answer.status_code == 200
        assert it.status().max_instances == (8 if both else POOL["scaling"]["maxInstances"])
        keys = [one["key"] for one in (await it.rest("GET", "/api/fleet"))["overrides"]]
        assert keys == (["servers.pool.scaling.maxInstances"] if both else [])
