from __future__ import annotations

import pytest

from fairlead.core.overrides import REMOVED, Edit
from fairlead.model.status import InstanceStatus
from support.web_services import problem

JSON = {"content-type": "application/json"}


async def send(http, **body):
    return await http.post("/api/load-balancer/strategy", json=body)


async def test_how_it_is_balanced(http):
    body = (await http.get("/api/load-balancer/status")).json()
    assert body["strategy"] == "resource-based"
    assert [s["id"] for s in body["servers"]] == ["filesystem", "magic"]
    assert body["servers"][0]["instances"][0]["callsInFlight"] == 0


@pytest.mark.parametrize(
    ("body", "edits"),
    [
        ({"strategy": "weighted"}, [Edit(("loadBalancing", "strategy"), "weighted")]),
        (
            {"strategy": "round-robin", "server": "magic"},
            [Edit(("servers", "magic", "strategy"), "round-robin")],
        ),
        ({"strategy": None, "server": "magic"}, [Edit(("servers", "magic", "strategy"), REMOVED)]),
        (
            {"weights": {"magic": 0, "filesystem": 2.5}},
            [
                Edit(("loadBalancing", "weights", "magic"), 0),
                Edit(("loadBalancing", "weights", "filesystem"), 2.5),
            ],
        ),
        (
            {"strategy": None, "server": None, "weights": {"magic": 2}},
            [Edit(("loadBalancing", "weights", "magic"), 2)],
        ),
        (
            {"strategy": "least-connections", "weights": {"magic": 2, "filesystem-1": 3}},
            [
                Edit(("loadBalancing", "strategy"), "least-connections"),
                Edit(("loadBalancing", "weights", "magic"), 2),
            ],
        ),
    ],
)
async def test_what_is_asked_for_becomes_live_edits_of_whoever_asks(http, behind, body, edits):
    assert (await send(http, **body)).status_code == 200
    assert behind.config.edits == [("ada", edits)]


async def test_the_answer_shows_it_already(http):
    await send(http, strategy="round-robin", server="filesystem")
    body = (await send(http, strategy="weighted", weights={"magic": 2, "filesystem-1": 0.5})).json()
    filesystem, magic = body["servers"]
    assert (body["strategy"], filesystem["strategy"]) == ("weighted", "round-robin")
    assert (filesystem["instances"][0]["weight"], magic["weight"]) == (0.5, 2.0)
    body = (await send(http, strategy=None, server="filesystem")).json()
    assert body["servers"][0]["strategy"] == "weighted"


async def test_weights_of_instances_alone_are_no_edits(http, behind):
    assert (await send(http, weights={"filesystem-1": 0})).status_code == 200
    assert behind.fleet.instance_weights == {"filesystem-1": 0}
    assert behind.config.edits == []


@pytest.mark.parametrize(
    ("body", "where", "how"),
    [
        ({}, "body", "at least one of strategy and weights"),
        ({"weights": {}}, "body", "at least one of strategy and weights"),
        ({"strategy": None}, "body", "null only with server"),
        ({"server": "magic"}, "body", "strategy with server"),
        ({"server": "magic", "weights": {"magic": 1}}, "body", "weights need no server"),
        ({"strategy": "fastest"}, "body.strategy", "round-robin"),
        ({"strategy": 1}, "body.strategy", "weighted"),
        ({"strategy": "weighted", "server": ""}, "body.server", "at least 1"),
        ({"strategy": "weighted", "server": 1}, "body.server", "string"),
        ({"weights": {"magic": -1}}, "body.weights.magic", "greater than or equal to 0"),
        ({"weights": {"magic": 1_000_001}}, "body.weights.magic", "1000000"),
        ({"weights": {"magic": "1"}}, "body.weights.magic", "number"),
        ({"weights": {"magic": True}}, "body.weights.magic", "number"),
        ({"weights": {"magic": None}}, "body.weights.magic", "number"),
        ({"weights": [1]}, "body.weights", "dictionary"),
        ({"weights": {"x" * 129: 1}}, "body.weights." + "x" * 129 + ".[key]", "128"),
        ({"strategy": "weighted", "wieghts": {}}, "body.wieghts", "remove it"),
    ],
)
async def test_what_cannot_be_is_refused(http, behind, body, where, how):
    answer = await http.post("/api/load-balancer/strategy", json=body)
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert error["where"] == where
    assert how in error["how"]
    assert behind.config.edits == []


@pytest.mark.parametrize(
    "body",
    [
        {"strategy": "weighted", "server": "filesytem"},
        {"strategy": "weighted", "server": "filesystem-1"},
        {"weights": {"magic": 1, "filesystem-1": 2, "filesystem-9": 1}},
    ],
)
async def test_an_unknown_name_changes_nothing_at_all(http, behind, body):
    answer = await http.post("/api/load-balancer/strategy", json=body)
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:fairlead:problem:unknown-server")
    assert "filesystem" in answer.json()["detail"]
    assert behind.config.edits == []
    assert behind.fleet.instance_weights == {}


async def test_what_the_spec_refuses_leaves_the_instances_alone(http, behind):
    behind.config.refusal = problem("change-refused", 409)
    answer = await send(http, weights={"magic": 1, "filesystem-1": 2})
    assert answer.status_code == 409
    assert behind.fleet.instance_weights == {}


async def test_an_instance_that_goes_meanwhile_does_not_spoil_the_rest(http, behind, monkeypatch):
    edit = behind.config.edit

    async def edit_and_lose_the_instance(edits, *, by):
        behind.fleet.change("filesystem", instances=[])
        return await edit(edits, by=by)

    monkeypatch.setattr(behind.config, "edit", edit_and_lose_the_instance)
    answer = await send(http, weights={"magic": 1, "filesystem-1": 2})
    assert answer.status_code == 200
    assert [s["weight"] for s in answer.json()["servers"]] == [1.0, 1.0]
    assert behind.config.edits == [("ada", [Edit(("loadBalancing", "weights", "magic"), 1)])]
    assert behind.fleet.instance_weights == {}  # a real fleet has 404 for it


async def test_a_server_that_is_called_like_an_instance_is_the_one_that_is_weighed(http, behind):
    behind.fleet.change("magic", instances=[InstanceStatus(id="filesystem", state="ready")])
    assert (await send(http, weights={"filesystem": 3})).status_code == 200
    assert behind.config.edits == [("ada", [Edit(("loadBalancing", "weights", "filesystem"), 3)])]
    assert behind.fleet.instance_weights == {}


async def test_a_body_must_be_there_and_be_json(http):
    assert (await http.post("/api/load-balancer/strategy")).status_code == 422
    answer = await http.post("/api/load-balancer/strategy", content=b'{"strategy":"weighted"}')
    assert answer.status_code == 415
    answer = await http.post(
        "/api/load-balancer/strategy", content=b'{"weights":{"magic":NaN}}', headers=JSON
    )
    assert answer.status_code == 422
