from __future__ import annotations

import json

import pytest

from fairlead.model.access import Caller, Role
from fairlead.model.request import RoutedRequest
from fairlead.web.request import MAX_TIMEOUT

JSON = {"content-type": "application/json"}

ADA = Caller("ada", Role.ADMIN)


async def send(http, **body):
    return await http.post("/api/request", json=body)


async def test_a_request_goes_out_as_it_came_with_the_caller_named(http, behind):
    answer = await send(http, server="filesystem", method="echo", params={"a": [1, None, "é"]}, timeout=2)
    assert (answer.status_code, answer.json()) == (200, {"result": {"echo": {"a": [1, None, "é"]}}})
    assert behind.fleet.requests == [
        RoutedRequest("filesystem", None, "echo", {"a": [1, None, "é"]}, 2.0, "ada", ADA)
    ]


async def test_by_capability_with_nothing_optional(http, behind):
    assert (await send(http, capability="file-operations", method="echo")).status_code == 200
    assert behind.fleet.requests == [RoutedRequest(None, "file-operations", "echo", {}, None, "ada", ADA)]


async def test_a_json_rpc_error_is_502_with_the_error_inside(http):
    answer = await send(http, server="filesystem", method="rpc/error")
    assert answer.status_code == 502
    body = answer.json()
    assert body["type"] == "urn:fairlead:problem:rpc-error"
    assert body["error"] == {"code": -32000, "message": "it went wrong", "data": {"why": "because"}}
    assert body["fault"] == "upstream"


async def test_a_json_rpc_error_of_the_callers_making(http):
    answer = await send(http, server="filesystem", method="rpc/unknown")
    assert (answer.status_code, answer.json()["fault"]) == (502, "client")
    assert "data" not in answer.json()["error"]


async def test_a_request_for_input_is_409_with_the_result_inside(http):
    answer = await send(http, server="filesystem", method="ask")
    assert answer.status_code == 409
    assert answer.json()["inputRequired"] == {"resultType": "input_required", "requestState": "s"}
    assert "requestState" in answer.json()["detail"]


async def test_retry_after_in_whole_seconds(http):
    answer = await send(http, server="filesystem", method="busy")
    assert (answer.status_code, answer.headers["retry-after"], answer.json()["retryAfter"]) == (503, "2", 1.5)


async def test_an_unknown_server(http):
    assert (await send(http, server="nope", method="echo")).status_code == 404


@pytest.mark.parametrize(
    ("body", "where", "how"),
    [
        ({"method": "echo"}, "body", "exactly one of server and capability"),
        (
            {"server": "a", "capability": "b", "method": "echo"},
            "body",
            "exactly one of server and capability",
        ),
        ({"server": "a"}, "body.method", "add it"),
        ({"server": "a", "method": "x y"}, "body.method", "pattern"),
        ({"server": "a", "method": ""}, "body.method", "pattern"),
        ({"server": "", "method": "echo"}, "body.server", "at least 1"),
        ({"server": 5, "method": "echo"}, "body.server", "string"),
        ({"server": "a", "method": "echo", "params": []}, "body.params", "dictionary"),
        ({"server": "a", "method": "echo", "timeout": 0}, "body.timeout", "greater than 0"),
        ({"server": "a", "method": "echo", "timeout": -1}, "body.timeout", "greater than 0"),
        ({"server": "a", "method": "echo", "timeout": MAX_TIMEOUT + 1}, "body.timeout", "600"),
        ({"server": "a", "method": "echo", "timeout": "5"}, "body.timeout", "number"),
        ({"server": "a", "method": "echo", "tiemout": 5}, "body.tiemout", "remove it"),
        ([], "body", "dictionary"),
        ("x", "body", "dictionary"),
        (None, "body", ""),
    ],
)
async def test_each_invalid_field_is_listed(http, behind, body, where, how):
    answer = await http.post("/api/request", content=json.dumps(body), headers=JSON)
    assert answer.status_code == 422
    assert answer.json()["type"] == "urn:fairlead:problem:invalid-request"
    [error] = answer.json()["errors"]
    assert error["where"] == where
    assert how in error["how"]
    assert error["what"]
    assert behind.fleet.requests == []


async def test_all_errors_come_at_once_and_repeat_nothing_that_was_sent(http):
    answer = await send(http, server="a", method="hunter2 hunter2", timeout=0, secret="hunter2")
    assert [e["where"] for e in answer.json()["errors"]] == ["body.method", "body.timeout", "body.secret"]
    assert "hunter2" not in answer.text


def request_with(params: str | bytes) -> bytes:
    raw = params if isinstance(params, bytes) else params.encode()
    return b'{"server":"filesystem","method":"echo","params":' + raw + b"}"


@pytest.mark.parametrize(
    "params",
    [
        "", '{"a":NaN}', '{"a":Infinity}',
        '{"a":1e400}', r'{"a":"\ud800"}', b'{"a":"\xff"}', '{"a":1,}', "{'a':1}",
        '{"a":' + "[" * 10_000 + "]" * 10_000 + "}", '{"a":' + "[" * 500 + "]" * 500 + "}", '{"a"', "{}}",
    ],
)  # fmt: skip
async def test_what_is_no_json_or_cannot_be_passed_on_is_refused(http, behind, params):
    answer = await http.post("/api/request", content=request_with(params), headers=JSON)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["where"] == "body"
    assert behind.fleet.requests == []


@pytest.mark.parametrize(
    "params",
    [
        '{"a":' + "[" * 190 + "]" * 190 + "}",
        '{"a":123456789012345678901234567890}',
        r'{"a":"\ud83d\ude00\n"}',
        "{}",
    ],
)
async def test_what_is_json_arrives(http, behind, params):
    answer = await http.post("/api/request", content=request_with(params), headers=JSON)
    assert answer.status_code == 200
    assert behind.fleet.requests[0].params == json.loads(params)


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/xml", "", "application/x-www-form-urlencoded"]
)
async def test_a_body_that_is_not_declared_as_json(http, behind, content_type):
    answer = await http.post(
        "/api/request", content=request_with("{}"), headers={"content-type": content_type}
    )
    assert (answer.status_code, answer.json()["type"]) == (415, "urn:fairlead:problem:unsupported-media-type")
    assert "application/json" in answer.json()["detail"]
    assert behind.fleet.requests == []


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "application/vnd.api+json"])
async def test_other_names_of_json(http, content_type):
    answer = await http.post(
        "/api/request", content=request_with("{}"), headers={"content-type": content_type}
    )
    assert answer.status_code == 200


async def test_no_body(http):
    answer = await http.post("/api/request", headers=JSON)
    assert answer.status_code == 422
