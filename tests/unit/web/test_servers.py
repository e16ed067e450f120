from __future__ import annotations

import pytest

from fairlead.core.overrides import Edit
from support.web_services import problem


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


def scaling(**bounds: int) -> list[tuple[str, list[Edit]]]:
    edits = [Edit(("servers", "filesystem", "scaling", name), bound) for name, bound in bounds.items()]
    return [("ada", edits)]


@pytest.mark.parametrize(
    ("body", "edits"),
    [
        ({"instances": 3}, scaling(minInstances=3)),
        ({"instances": 4}, scaling(minInstances=4)),
        ({"instances": 5}, scaling(minInstances=5, maxInstances=5)),
        ({"instances": 0}, scaling(minInstances=0)),
        ({"minInstances": 4}, scaling(minInstances=4)),
        ({"maxInstances": 2}, scaling(maxInstances=2)),
        ({"minInstances": 6, "maxInstances": 9}, scaling(minInstances=6, maxInstances=9)),
        ({"instances": None, "minInstances": 0, "maxInstances": None}, scaling(minInstances=0)),
    ],
)
async def test_scaling_becomes_live_edits(http, behind, body, edits):
    behind.fleet.change("filesystem", min_instances=2, max_instances=4)
    answer = await http.post("/api/servers/filesystem/scale", json=body)
    assert answer.status_code == 200
    assert behind.config.edits == edits
    bounds = {"minInstances": 2, "maxInstances": 4} | {edit.key[-1]: edit.value for edit in edits[0][1]}
    assert {name: answer.json()[name] for name in bounds} == bounds


@pytest.mark.parametrize(
    ("body", "where", "what"),
    [
        ({"minInstances": 5}, "body.minInstances", "minInstances (5) would be more than maxInstances (4)"),
        ({"maxInstances": 1}, "body.maxInstances", "minInstances (2) would be more than maxInstances (1)"),
        (
            {"minInstances": 9, "maxInstances": 8},
            "body.minInstances",
            "minInstances (9) would be more than maxInstances (8)",
        ),
    ],
)
async def test_the_least_is_not_more_than_the_most(http, behind, body, where, what):
    behind.fleet.change("filesystem", min_instances=2, max_instances=4)
    answer = await http.post("/api/servers/filesystem/scale", json=body)
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert (error["where"], error["what"]) == (where, what)
    assert "lower one or raise the other" in error["how"]
    assert behind.config.edits == []


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, "body"),
        ({"instances": None}, "body"),
        ({"instances": 1, "minInstances": 1}, "body"),
        ({"instances": 1, "maxInstances": 1}, "body"),
        ({"instances": -1}, "body.instances"),
        ({"instances": 1001}, "body.instances"),
        ({"instances": 1.0}, "body.instances"),
        ({"instances": True}, "body.instances"),
        ({"instances": "2"}, "body.instances"),
        ({"maxInstances": 0}, "body.maxInstances"),
        ({"min_instances": 1}, "body.min_instances"),
        (3, "body"),
        (None, "body"),
    ],
)
async def test_scales_that_cannot_be(http, behind, body, where):
    answer = await http.post("/api/servers/filesystem/scale", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["where"]) == (422, where)
    assert behind.config.edits == []


async def test_an_unknown_server_is_not_scaled(http, behind):
    answer = await http.post("/api/servers/filesytem/scale", json={"minInstances": 9, "maxInstances": 1})
    assert answer.status_code == 404
    assert behind.config.edits == []


async def test_a_scale_that_the_spec_refuses(http, behind):
    behind.config.refusal = problem("change-refused", 409, "it did not come up")
    answer = await http.post("/api/servers/filesystem/scale", json={"instances": 1})
    assert (answer.status_code, answer.json()["detail"]) == (409, "it did not come up")


@pytest.mark.parametrize(
    ("content", "instance"),
    [(b"", None), (b"{}", None), (b'{"instance":"filesystem-1"}', "filesystem-1")],
)
async def test_draining(http, behind, content, instance):
    answer = await http.post(
        "/api/servers/filesystem/drain", content=content, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 200
    assert answer.json()["state"] == ("ready" if instance else "stopped")
    assert behind.fleet.drained == [("filesystem", instance)]


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("filesytem", {}, "unknown-server"),
        ("filesystem", {"instance": "magic-1"}, "unknown-instance"),
    ],
)
async def test_draining_what_is_not_there(http, behind, path, body, code):
    answer = await http.post(f"/api/servers/{path}/drain", json=body)
    assert (answer.status_code, answer.json()["type"]) == (404, f"urn:fairlead:problem:{code}")
    assert behind.fleet.drained == []


async def test_the_documentation_says_what_becomes_of_a_lone_instance(http):
    paths = (await http.get("/openapi.json")).json()["paths"]
    text = " ".join(paths["/api/servers/{id}/drain"]["post"]["description"].split())
    assert "one that is alone goes on until that one is ready" in text
    assert "no more calls" not in text


@pytest.mark.parametrize("body", [{"instnace": "filesystem-1"}, {"instance": ""}, {"instance": 1}, []])
async def test_drains_that_cannot_be_do_not_drain_the_whole_server(http, behind, body):
    answer = await http.post("/api/servers/filesystem/drain", json=body)
    assert answer.status_code == 422
    assert behind.fleet.drained == []


async def test_a_drain_that_is_not_declared_as_json(http, behind):
    answer = await http.post("/api/servers/filesystem/drain", content=b'{"instance":"filesystem-1"}')
    assert answer.status_code == 415
    assert behind.fleet.drained == []
