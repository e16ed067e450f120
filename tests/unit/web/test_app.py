"""The API as a whole: the document that describes it, and that it is what the document says."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import jsonschema
import pytest
from fastapi.openapi.models import OpenAPI

from fairlead.web.app import create_app
from support.web_services import services

DOCUMENT: dict[str, Any] = create_app(services()).openapi()
OPERATIONS = [
    (path, method, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]
BODIES: list[tuple[str, dict[str, Any]]] = [
    (f"{operation['operationId']} {status} {media_type}", body)
    for _, _, operation in OPERATIONS
    for status, response in [("request", operation.get("requestBody", {})), *operation["responses"].items()]
    for media_type, body in response.get("content", {}).items()
]


def check(value: Any, schema: dict[str, Any]) -> None:
    """Validate against a schema of the document; raises ValidationError."""
    whole = {**schema, "components": DOCUMENT["components"]}
    jsonschema.Draft202012Validator(whole).validate(value)


def test_the_document_is_openapi_3_1():
    assert DOCUMENT["openapi"].startswith("3.1.")
    OpenAPI.model_validate(DOCUMENT)
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_exactly_the_operations_of_the_api():
    assert {(path, method) for path, method, _ in OPERATIONS} == {
        ("/api/audit", "get"),
        ("/api/metrics/trends", "get"),
        ("/health", "get"),
        ("/api/servers", "get"),
        ("/api/servers/{id}", "get"),
        ("/api/servers/{id}/start", "post"),
        ("/api/servers/{id}/stop", "post"),
        ("/api/servers/{id}/restart", "post"),
        ("/api/servers/{id}/scale", "post"),
        ("/api/servers/{id}/drain", "post"),
        ("/api/toolsets", "get"),
        ("/api/load-balancer/status", "get"),
        ("/api/load-balancer/strategy", "post"),
        ("/api/circuit-breakers", "get"),
        ("/api/circuit-breakers/{id}/reset", "post"),
        ("/api/health/check", "post"),
        ("/api/fleet", "get"),
        ("/api/fleet", "put"),
        ("/api/fleet/overrides", "delete"),
        ("/api/fleet/release", "post"),
        ("/api/metrics/summary", "get"),
        ("/api/metrics/servers/{id}", "get"),
        ("/api/health/servers", "get"),
        ("/api/request", "post"),
        ("/api/config", "get"),
        ("/api/config/reload", "post"),
        ("/api/system/info", "get"),
        ("/metrics", "get"),
        ("/api/events", "get"),
        ("/asyncapi.json", "get"),
    }


def test_all_but_health_need_the_token():
    assert DOCUMENT["security"] == [{"token": []}]
    assert [path for path, _, operation in OPERATIONS if "security" in operation] == ["/health"]


@pytest.mark.parametrize(("path", "method", "operation"), OPERATIONS)
def test_every_operation_is_described_with_examples_and_its_problems(path, method, operation):
    assert operation["summary"]
    assert operation["description"]
    assert operation["tags"][0] in {tag["name"] for tag in DOCUMENT["tags"]}
    responses = operation["responses"]
    assert set(responses) >= ({"200", "default"} if path == "/health" else {"200", "401", "429", "default"})
    for status, response in responses.items():
        assert response["description"]
        problem = status != "200"
        assert ("application/problem+json" in response["content"]) is problem, status


@pytest.mark.parametrize(("name", "body"), BODIES, ids=[name for name, _ in BODIES])
def test_every_body_has_examples_that_fit_its_schema(name, body):
    assert body["examples"]
    for example in body["examples"].values():
        check(example["value"], body["schema"])


def bodies_for(path: str, operation: dict[str, Any]) -> list[Any]:
    """No body, and those that the operation shows; a call's method is one that the fleet of the tests has."""
    if "requestBody" not in operation:
        return [None]
    shown = operation["requestBody"]["content"]["application/json"]["examples"].values()
    bodies = [None, *(example["value"] for example in shown), {"nonsense": 1}, []]
    if path == "/api/request":
        bodies = [body | {"method": "echo"} if body else body for body in bodies]
        asked = ("rpc/error", "ask", "busy", "x y", "boom")
        bodies += [{"server": "filesystem", "method": method} for method in asked]
    return bodies


@pytest.mark.parametrize(("path", "method", "operation"), OPERATIONS)
async def test_answers_fit_what_is_declared(http, path, method, operation):
    seen = set()
    for name in ("filesystem", "filesystem-1", "magic", "unknown"):
        for body in bodies_for(path, operation):
            for headers in ({}, {"if-match": "*"}, {"if-match": '"0"'}):
                answer = await http.request(method, path.replace("{id}", name), json=body, headers=headers)
                seen.add(answer.status_code)
                responses = operation["responses"]
                declared = responses.get(str(answer.status_code), responses["default"])["content"]
                schema = declared[answer.headers["content-type"].split(";")[0]]["schema"]
                is_json = "json" in answer.headers["content-type"]
                check(answer.json() if is_json else answer.text, schema)
                if answer.status_code >= 400:
                    assert answer.json()["status"] == answer.status_code
    assert 200 in seen


@pytest.mark.parametrize(("path", "method"), [(p, m) for p, m, _ in OPERATIONS if p.startswith("/api/")])
async def test_unknown_query_parameters_are_refused(http, path, method):
    answer = await http.request(method, path.replace("{id}", "filesystem"), params={"dryrun": "true"})
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:fairlead:problem:invalid-request")
    [error] = answer.json()["errors"]
    assert (error["where"], error["what"]) == ("query.dryrun", "there is no such parameter")


@pytest.mark.parametrize("path", ["/health", "/metrics"])
async def test_probes_and_scrapers_may_add_what_they_like(http, path):
    assert (await http.get(path, params={"t": "1"})).status_code == 200


async def test_the_document_itself_needs_a_token(http, stranger):
    assert (await http.get("/openapi.json")).json() == DOCUMENT
    assert (await stranger.get("/openapi.json")).status_code == 401


@pytest.mark.parametrize(
    "path", ["/", "/nowhere", "/api", "/api/servers/", "//api/servers", "/api/servers/a/b", "/redoc"]
)
async def test_other_paths_are_404_problems(http, path):
    answer = await http.get(path)
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:fairlead:problem:not-found")


@pytest.mark.parametrize(("path", "allowed"), [("/health", "GET, HEAD"), ("/api/fleet", "GET, PUT")])
async def test_a_405_names_all_methods_of_the_path(http, path, allowed):
    answer = await http.request("PATCH", path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


async def test_other_methods_are_405_problems(http):
    answer = await http.put("/api/servers")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")
    assert answer.json()["type"] == "urn:fairlead:problem:method-not-allowed"


def test_the_app_does_not_bring_a_server():
    code = "import sys, fairlead.web.app; sys.exit('uvicorn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
