from __future__ import annotations

import pytest

from support.web_services import server


async def test_all_breakers(http, behind):
    behind.fleet.open = {"filesystem-1"}
    breakers = (await http.get("/api/circuit-breakers")).json()["breakers"]
    assert [(b["id"], b["scope"], b["server"], b["state"]) for b in breakers] == [
        ("filesystem", "server", "filesystem", "closed"),
        ("magic", "server", "magic", "closed"),
        ("filesystem-1", "instance", "filesystem", "open"),
    ]
    assert {"openedTotal", "retryAfter", "calls", "failures", "slow", "reason"} < set(breakers[0])


@pytest.mark.parametrize("breaker", ["filesystem", "filesystem-1"])
async def test_one_is_closed(http, behind, breaker):
    behind.fleet.open = {"filesystem", "filesystem-1"}
    answer = await http.post(f"/api/circuit-breakers/{breaker}/reset")
    assert (answer.status_code, answer.json()["id"], answer.json()["state"]) == (200, breaker, "closed")
    assert behind.fleet.open == {"filesystem", "filesystem-1"} - {breaker}


async def test_of_two_with_one_id_the_scope_says_which(http, behind):
    behind.fleet._servers["filesystem-1"] = server("filesystem-1")
    answer = await http.post("/api/circuit-breakers/filesystem-1/reset")
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:fairlead:problem:ambiguous-breaker")
    for scope in ("server", "instance"):
        answer = await http.post(f"/api/circuit-breakers/filesystem-1/reset?scope={scope}")
        assert (answer.status_code, answer.json()["scope"]) == (200, scope)
    answer = await http.post("/api/circuit-breakers/filesystem-1/reset?scope=both")
    assert (answer.status_code, answer.json()["errors"][0]["where"]) == (422, "query.scope")


async def test_an_unknown_one(http):
    answer = await http.post("/api/circuit-breakers/filesytem/reset")
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:fairlead:problem:unknown-breaker")


@pytest.mark.parametrize("name", ["a%2Fb", "x" * 129])
async def test_ids_that_cannot_be(http, name):
    assert (await http.post(f"/api/circuit-breakers/{name}/reset")).status_code in {404, 422}


async def test_they_need_a_token(stranger):
    assert (await stranger.get("/api/circuit-breakers")).status_code == 401
    assert (await stranger.post("/api/circuit-breakers/filesystem/reset")).status_code == 401
