"""The API as a whole: the document that describes it, and that it is what the document says."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import jsonschema
import pytest
from fastapi.openapi.models import OpenAPI

from fairlead.model.access import Role
from fairlead.model.reconciling import Blocked, DeploymentState, Hold
from fairlead.web.app import create_app
from fairlead.web.examples import SINCE
from fairlead.web.gitops_app import create_gitops_app
from fairlead.web.gitops_examples import GOOD, NEWER
from support.gitops_web import BEARER, GitOpsRig, gitops_services, signed
from support.web_services import AUTHORIZED, client, services

DOCUMENTS: dict[str, dict[str, Any]] = {
    "orchestrator": create_app(services()).openapi(),
    "gitops": create_gitops_app(gitops_services(GitOpsRig())).openapi(),
}
DOCUMENT = DOCUMENTS["orchestrator"]
OPERATIONS = [
    (service, path, method, operation)
    for service, document in DOCUMENTS.items()
    for path, methods in document["paths"].items()
    for method, operation in methods.items()
]
BODIES: list[tuple[str, str, dict[str, Any]]] = [
    (service, f"{operation['operationId']} {status} {media_type}", body)
    for service, _, _, operation in OPERATIONS
    for status, response in [("request", operation.get("requestBody", {})), *operation["responses"].items()]
    for media_type, body in response.get("content", {}).items()
]
PUBLIC = {"orchestrator": ["/health"], "gitops": ["/health", "/webhooks/{source}"]}
each_service = pytest.mark.parametrize("service", list(DOCUMENTS))


def check(value: Any, schema: dict[str, Any], service: str) -> None:
    """Validate against a schema of a service's document; raises ValidationError."""
    whole = {**schema, "components": DOCUMENTS[service]["components"]}
    jsonschema.Draft202012Validator(whole).validate(value)


@asynccontextmanager
async def speaking_to(service: str) -> AsyncIterator[httpx.AsyncClient]:
    """An administrator's client."""
    if service == "orchestrator":
        async with client(services(), **AUTHORIZED) as http:
            yield http
        return
    async with as_in_the_examples() as rig, client(gitops_services(rig), **BEARER[Role.ADMIN]) as http:
        yield http


@asynccontextmanager
async def as_in_the_examples() -> AsyncIterator[GitOpsRig]:
    """`filesystem` has a conflict and takes commits by itself, `magic` takes those of `filesystem`."""
    rig = GitOpsRig(
        more={
            "filesystem": {"policy": "manual"},
            "magic": {"environment": "production", "promoted_from": "filesystem"},
        }
    )
    key = {"servers": {"filesystem": {"args": ["x"]}}}
    rig.commit(GOOD, {"filesystem": {"fleet": key}, "magic": {"fleet": key}})
    async with rig.running():
        rig.edit("filesystem", {"servers": {"filesystem": {"args": ["by hand"]}}})
        await rig.settle()
        newer = {"servers": {"filesystem": {"args": ["git"]}}}
        rig.commit(NEWER, {"filesystem": {"fleet": newer}, "magic": {"fleet": newer}})
        await rig.settle()
        rig.rows.blocks.append(Blocked("filesystem", GOOD, SINCE, "it was bad"))
        rig.store.held.append(Hold("filesystem", "servers.magic.**", "ada", "incident 42", SINCE * 2))
        rig.row("filesystem-1", "magic", state=DeploymentState.WAITING, ended=None, author="")
        rig.row("done", "magic", commit=NEWER, previous=GOOD)
        yield rig


@each_service
def test_the_document_is_openapi_3_1(service):
    document = DOCUMENTS[service]
    assert document["openapi"].startswith("3.1.")
    OpenAPI.model_validate(document)
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def operations_of(service: str) -> set[tuple[str, str]]:
    return {(path, method) for each, path, method, _ in OPERATIONS if each == service}


def test_exactly_the_operations_of_the_orchestrator():
    assert operations_of("orchestrator") == {
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


def test_exactly_the_operations_of_the_gitops_controller():
    assert operations_of("gitops") == {
        ("/api/applications", "get"),
        ("/api/applications/{name}", "get"),
        ("/api/applications/{name}/blocked/{commit}", "delete"),
        ("/api/applications/{name}/diff", "get"),
        ("/api/applications/{name}/holds", "put"),
        ("/api/applications/{name}/holds", "delete"),
        ("/api/applications/{name}/promote", "post"),
        ("/api/applications/{name}/resolve", "post"),
        ("/api/applications/{name}/resume", "post"),
        ("/api/applications/{name}/suspend", "post"),
        ("/api/audit", "get"),
        ("/api/config", "get"),
        ("/api/config/validate", "post"),
        ("/api/deployments", "get"),
        ("/api/deployments", "post"),
        ("/api/deployments/{id}", "get"),
        ("/api/deployments/{id}/approve", "post"),
        ("/api/deployments/{id}/cancel", "post"),
        ("/api/deployments/{id}/rollback", "post"),
        ("/api/drift/check", "post"),
        ("/api/drift/status", "get"),
        ("/api/events", "get"),
        ("/api/git/commits", "get"),
        ("/api/git/status", "get"),
        ("/api/gitops", "get"),
        ("/api/gitops/disable", "post"),
        ("/api/gitops/enable", "post"),
        ("/api/health/environment", "get"),
        ("/api/sync/status", "get"),
        ("/api/sync/trigger", "post"),
        ("/api/system/info", "get"),
        ("/asyncapi.json", "get"),
        ("/health", "get"),
        ("/metrics", "get"),
        ("/webhooks/{source}", "post"),
    }


@each_service
def test_all_but_health_and_webhooks_need_the_token(service):
    assert DOCUMENTS[service]["security"] == [{"token": []}]
    public = [path for each, path, _, operation in OPERATIONS if each == service and "security" in operation]
    assert public == PUBLIC[service]


def names_of(operations: list[Any]) -> list[str]:
    return [f"{service} {method} {path}" for service, path, method, *_ in operations]


@pytest.mark.parametrize(("service", "path", "method", "operation"), OPERATIONS, ids=names_of(OPERATIONS))
def test_every_operation_is_described_with_examples_and_its_problems(service, path, method, operation):
    assert operation["summary"]
    assert operation["description"]
    assert operation["tags"][0] in {tag["name"] for tag in DOCUMENTS[service]["tags"]}
    responses = operation["responses"]
    good = [status for status in responses if status.startswith("2")]
    assert len(good) == 1
    assert set(responses) >= ({"default"} if path in PUBLIC[service] else {"401", "429", "default"})
    for status, response in responses.items():
        assert response["description"]
        if status == "204":
            assert "content" not in response
        else:
            assert ("application/problem+json" in response["content"]) is (status not in good), status


@pytest.mark.parametrize(
    ("service", "name", "body"), BODIES, ids=[f"{service} {name}" for service, name, _ in BODIES]
)
def test_every_body_has_examples_that_fit_its_schema(service, name, body):
    assert body["examples"]
    for example in body["examples"].values():
        check(example["value"], body["schema"], service)


def bodies_for(path: str, operation: dict[str, Any]) -> list[Any]:
    """No body, and those that the operation shows; a call's method is one that the fleet of the tests has."""
    if "requestBody" not in operation:
        return [None]
    shown = [
        named(example["value"])
        for example in operation["requestBody"]["content"]["application/json"]["examples"].values()
    ]
    bodies = [None, *shown, {"nonsense": 1}, []]
    if path == "/api/request":
        bodies = [body | {"method": "echo"} if body else body for body in bodies]
        asked = ("rpc/error", "ask", "busy", "x y", "boom")
        bodies += [{"server": "filesystem", "method": method} for method in asked]
    return bodies


def named(body: Any) -> Any:
    """The example's application, as it is called here."""
    return body | {"application": "filesystem"} if body.get("application") == "fleet" else body


def paths_of(path: str) -> list[str]:
    """With whatever its parameters may be."""
    filled = path.replace("{commit}", GOOD).replace("{source}", "config")
    names = ("filesystem", "filesystem-1", "magic", "done", "unknown")
    found = [filled.replace("{id}", name).replace("{name}", name) for name in names]
    if path.endswith("/holds"):
        found += [f"{each}?path=servers.magic.**" for each in found]
    return list(dict.fromkeys(found))


def shown_body(answer: httpx.Response, responses: dict[str, Any], service: str) -> None:
    declared = responses.get(str(answer.status_code), responses["default"])
    if answer.status_code == 204:
        assert "content" not in declared
        assert answer.content == b""
        return
    schema = declared["content"][answer.headers["content-type"].split(";")[0]]["schema"]
    check(answer.json() if "json" in answer.headers["content-type"] else answer.text, schema, service)


@pytest.mark.parametrize(("service", "path", "method", "operation"), OPERATIONS, ids=names_of(OPERATIONS))
async def test_answers_fit_what_is_declared(service, path, method, operation):
    seen = set()
    async with speaking_to(service) as http:
        for filled in paths_of(path):
            for body in bodies_for(path, operation):
                proof = webhook_headers(body) if path == "/webhooks/{source}" else {}
                for headers in ({}, {"if-match": "*"}, {"if-match": '"99"'}):
                    answer = await http.request(method, filled, json=body, headers=headers | proof)
                    seen.add(answer.status_code)
                    shown_body(answer, operation["responses"], service)
                    if answer.status_code >= 400:
                        assert answer.json()["status"] == answer.status_code
    assert {200, 202, 204} & seen


def webhook_headers(body: Any) -> dict[str, str]:
    return signed(b"" if body is None else httpx.Request("POST", "http://x", json=body).content)


REST = [(service, path, method) for service, path, method, _ in OPERATIONS if path.startswith("/api/")]


@pytest.mark.parametrize(("service", "path", "method"), REST, ids=names_of(REST))
async def test_unknown_query_parameters_are_refused(service, path, method):
    async with speaking_to(service) as http:
        answer = await http.request(method, paths_of(path)[0], params={"dryrun": "true"})
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:fairlead:problem:invalid-request")
    [error] = [each for each in answer.json()["errors"] if each["where"] == "query.dryrun"]
    assert error["what"] == "there is no such parameter"


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
