from __future__ import annotations

import pytest

from fairlead.model.status import ServerState
from fairlead.web.health import Overall, overall
from support.web_services import AUTHORIZED, MemoryFleet, client, server, services

READY, FAILED = ServerState.READY, ServerState.FAILED


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([], Overall.OK),
        ([READY], Overall.OK),
        ([READY, ServerState.BLOCKED, ServerState.STOPPED, ServerState.DISABLED], Overall.OK),
        ([READY, ServerState.STARTING], Overall.STARTING),
        ([ServerState.INSTALLING], Overall.STARTING),
        ([READY, FAILED], Overall.DEGRADED),
        ([ServerState.STARTING, FAILED], Overall.DEGRADED),
    ],
)
def test_the_fleet_in_one_word(states, expected):
    assert overall(server(f"s{number}", state) for number, state in enumerate(states)) is expected


async def test_health_is_public_and_says_no_more_than_status_and_version(stranger):
    answer = await stranger.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "version": "1.2.3", "away": []})
    assert answer.headers["cache-control"] == "no-store"


async def test_health_is_200_also_when_servers_fail():
    async with client(services(MemoryFleet(server("a", FAILED)))) as http:
        answer = await http.get("/health")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")


async def test_health_names_what_is_away_and_keeps_the_reason_to_itself():
    async with client(services(away=lambda: {"store": "db.intern:5432 refused", "bus": "cut"})) as http:
        answer = await http.get("/health")
    assert answer.status_code == 200
    assert answer.json() == {"status": "degraded", "version": "1.2.3", "away": ["bus", "store"]}


async def test_head_of_health(stranger):
    answer = await stranger.head("/health")
    assert (answer.status_code, answer.content) == (200, b"")


async def test_health_of_the_servers(http):
    answer = (await http.get("/api/health/servers")).json()
    assert answer["status"] == "ok"
    assert answer["counts"] == {"ready": 1, "blocked": 1}
    assert [(s["id"], s["healthy"], s["message"]) for s in answer["servers"]] == [
        ("filesystem", True, "ready"),
        ("magic", False, "needs TWENTYFIRST_API_KEY"),
    ]


async def test_health_of_the_servers_needs_a_token(stranger):
    assert (await stranger.get("/api/health/servers")).status_code == 401


async def test_an_idle_server_is_healthy():
    fleet = MemoryFleet(server("a", ServerState.IDLE), server("b", ServerState.STOPPED))
    async with client(services(fleet), **AUTHORIZED) as http:
        answer = (await http.get("/api/health/servers")).json()
    assert answer["status"] == "ok"
    assert [(s["healthy"], s["state"]) for s in answer["servers"]] == [(True, "idle"), (False, "stopped")]


@pytest.fixture
async def two():
    """A client of two servers that are ready."""
    async with client(services(MemoryFleet(server("a"), server("b"))), **AUTHORIZED) as http:
        yield http


@pytest.mark.parametrize(
    ("content", "checked"),
    [(b"", ["a-1", "b-1"]), (b"{}", ["a-1", "b-1"]), (b'{"server":"b"}', ["b-1"])],
)
async def test_servers_are_checked_when_asked_for(two, content, checked):
    answer = await two.post(
        "/api/health/check", content=content, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [result["instance"] for result in results] == checked
    assert (results[-1]["server"], results[-1]["passed"], results[-1]["seconds"]) == ("b", True, 0.001)


async def test_no_body_needs_no_content_type(two):
    assert (await two.post("/api/health/check")).status_code == 200


async def test_an_unknown_server_is_not_checked(two):
    answer = await two.post("/api/health/check", json={"server": "c"})
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:fairlead:problem:unknown-server")


@pytest.mark.parametrize("body", [{"sever": "a"}, {"server": ""}, {"server": 1}, [], "a", 0])
async def test_what_cannot_be_checked(two, body):
    answer = await two.post("/api/health/check", json=body)
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:fairlead:problem:invalid-request")


async def test_a_check_that_is_not_declared_as_json(two):
    assert (await two.post("/api/health/check", content=b'{"server":"a"}')).status_code == 415
