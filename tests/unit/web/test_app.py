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
        ("/health", "get"),
        ("/api/servers", "get"),
        ("/api/servers/{id}", "get"),
        ("/api/servers/{id}/start", "post"),
        ("/api/servers/{id}/stop", "post"),
        ("/api/servers/{id}/restart", "post"),
        ("/api/health/servers", "get"),
        ("/api/request", "post"),
        ("/api/config", "get"),
        ("/api/config/reload", "post"),
        ("/api/system/info", "get"),
        ("/metrics", "get"),
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


@pytest.mark.parametrize(("path", "method", "operation"), OPERATIONS)
async def test_answers_fit_what_is_declared(http, path, method, operation):
    bodies: list[Any] = [None]
    if "requestBody" in operation:
        examples = operation["requestBody"]["content"]["application/json"]["examples"]
        bodies = [
            *({**example["value"], "method": "echo"} for example in examples.values()),
            *(
                {"server": "filesystem", "method": asked}
                for asked in ("rpc/error", "ask", "busy", "x y", "boom")
            ),
        ]
    for server_id in ("filesystem", "magic", "unknown"):
        for body in bodies:
            answer = await http.request(method, path.replace("{id}", server_id), json=body)
            responses = operation["responses"]
            declared = responses.get(str(answer.status_code), responses["default"])["content"]
            schema = declared[answer.headers["content-type"].split(";")[0]]["schema"]
            is_json = "json" in answer.headers["content-type"]
            check(answer.json() if is_json else answer.text, schema)
            if answer.status_code >= 400:
                assert answer.json()["status"] == answer.status_code


async def test_the_document_itself_needs_a_token(http, stranger):
    assert (await http.get("/openapi.json")).json() == DOCUMENT
    assert (await stranger.get("/openapi.json")).status_code == 401


@pytest.mark.parametrize(
    "path", ["/", "/nowhere", "/api", "/api/servers/", "//api/servers", "/api/servers/a/b", "/redoc"]
)
async def test_other_paths_are_404_problems(http, path):
    answer = await http.get(path)
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:fairlead:problem:not-found")


async def test_other_methods_are_405_problems(http):
    answer = await http.put("/api/servers")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")
    assert answer.json()["type"] == "urn:fairlead:problem:method-not-allowed"


def test_the_app_does_not_bring_a_server():
    code = "import sys, fairlead.web.app; sys.exit('uvicorn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
