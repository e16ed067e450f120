from __future__ import annotations

import pytest


async def test_all_servers_in_order(http):
    answer = (await http.get("/api/servers")).json()
    assert answer["generation"] == 1
    assert [(s["id"], s["state"], s["message"]) for s in answer["servers"]] == [
        ("filesystem", "ready", "ready"),
        ("magic", "blocked", "needs TWENTYFIRST_API_KEY"),
    ]
    assert answer["servers"][0]["instances"][0]["callsInFlight"] == 0


async def test_one_server(http):
    answer = await http.get("/api/servers/filesystem")
    assert answer.status_code == 200
    assert answer.json()["id"] == "filesystem"


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("POST", "/start"), ("POST", "/stop"), ("POST", "/restart")],
)
async def test_an_unknown_server_is_a_problem_that_names_the_nearest(http, method, path):
    answer = await http.request(method, f"/api/servers/filesytem{path}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["type"] == "urn:fairlead:problem:unknown-server"
    assert "filesystem" in body["detail"]
    assert body["instance"] == answer.headers["x-request-id"]


async def test_stop_start_and_restart_do_it_and_show_the_state_after(http):
    assert (await http.post("/api/servers/filesystem/stop")).json()["state"] == "stopped"
    assert (await http.get("/api/servers/filesystem")).json()["state"] == "stopped"
    assert (await http.post("/api/servers/filesystem/start")).json()["state"] == "ready"
    assert (await http.post("/api/servers/filesystem/restart")).json()["restarts"] == 1


async def test_what_a_server_lacks_is_told(http):
    answer = await http.post("/api/servers/magic/start")
    assert (answer.status_code, answer.json()["detail"]) == (409, "needs TWENTYFIRST_API_KEY")


@pytest.mark.parametrize("name", ["a%2Fb", "..%2F..%2Fhealth", "x" * 129])
async def test_ids_that_cannot_be(http, name):
    answer = await http.get(f"/api/servers/{name}")
    assert answer.status_code in {404, 422}
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/start", "/stop", "/restart"])
async def test_acting_takes_post(http, path):
    answer = await http.get(f"/api/servers/filesystem{path}")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert answer.json()["detail"] == "This resource takes POST."
