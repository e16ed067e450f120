from __future__ import annotations

import pytest

from fairlead.model.status import ServerState
from fairlead.web.health import Overall, overall
from support.web_services import MemoryFleet, client, server, services

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
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "version": "1.2.3"})
    assert answer.headers["cache-control"] == "no-store"


async def test_health_is_200_also_when_servers_fail():
    async with client(services(MemoryFleet(server("a", FAILED)))) as http:
        answer = await http.get("/health")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")


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
