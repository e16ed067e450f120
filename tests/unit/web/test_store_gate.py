"""While the database is away nothing is changed, and all else goes on."""

import pytest

from fairlead.model.errors import ProblemError
from fairlead.ports import StoreAwayError, StoreSlowError
from fairlead.web.app import create_app
from fairlead.web.live_following import problem_of
from fairlead.web.permissions import PERMISSIONS
from fairlead.web.store_gate import LOOKING, NO_CHANGES, require_store
from support.web_services import AUTHORIZED, MemoryFleet, client, server, services

AWAY = {"store": "10.0.0.1:5432 refused"}


@pytest.fixture
async def http():
    async with client(services(away=lambda: AWAY), **AUTHORIZED) as http:
        yield http


async def test_every_change_is_refused_for_now(http):
    paths = create_app(services()).openapi()["paths"]
    served = {(method.upper(), route) for route, methods in paths.items() for method in methods}
    changes = {(method, route) for method, route in served & set(PERMISSIONS) if method not in LOOKING}
    assert len(changes - NO_CHANGES) >= 10
    for method, route in changes - NO_CHANGES:
        path = route.replace("{id}", "filesystem").replace("{name}", "x").replace("{server}", "filesystem")
        answer = await http.request(method, path, json={})
        assert answer.status_code == 503, (method, path, answer.text)
        assert answer.headers["retry-after"] == "1"
        problem = answer.json()
        assert problem["type"] == "urn:fairlead:problem:store-unavailable"
        assert "10.0.0.1:5432 refused" in problem["detail"]


async def test_reading_and_single_requests_go_on(http):
    assert (await http.get("/api/servers")).status_code == 200
    assert (await http.get("/openapi.json")).status_code == 200
    body = {"server": "filesystem", "method": "echo"}
    assert (await http.post("/api/request", json=body)).status_code == 200
    assert (await http.post("/api/health/check", json={})).status_code == 200


async def test_who_may_not_change_anything_is_told_that_first():
    async with client(services(away=lambda: AWAY)) as stranger:
        assert (await stranger.post("/api/servers/filesystem/stop")).status_code == 401


async def test_the_bus_alone_stops_nothing():
    async with client(services(away=lambda: {"bus": "cut"}), **AUTHORIZED) as http:
        assert (await http.post("/api/servers/filesystem/stop")).status_code == 200


async def test_a_store_that_goes_away_meanwhile_is_the_same_answer():
    class Fleet(MemoryFleet):
        async def stop(self, server_id):
            raise StoreAwayError("the connection was lost")

    async with client(services(Fleet(server("a"))), **AUTHORIZED) as http:
        answer = await http.post("/api/servers/a/stop")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert "the connection was lost" in answer.json()["detail"]


async def test_a_question_that_was_too_much_for_the_store_is_another():
    class Fleet(MemoryFleet):
        async def stop(self, server_id):
            raise StoreSlowError("it did not answer in time")

    async with client(services(Fleet(server("a"))), **AUTHORIZED) as http:
        answer = await http.post("/api/servers/a/stop")
    assert answer.status_code == 504
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["type"] == "urn:fairlead:problem:store-slow"
    assert problem_of(StoreSlowError("so")).status == 504


def test_commands_of_live_connections_are_held_to_the_same_rule():
    require_store(AWAY, "GET", "/api/servers")
    require_store(AWAY, "POST", "/api/request")
    require_store({}, "POST", "/api/servers/{id}/stop")
    with pytest.raises(ProblemError):
        require_store(AWAY, "POST", "/api/servers/{id}/stop")
