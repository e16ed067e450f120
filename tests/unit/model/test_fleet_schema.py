from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from fairlead.formats.yaml_tree import Mapping, Node, Scalar, compose, plain_value
from fairlead.model.fleet_schema import json_schema
from fairlead.model.not_in_force import NOT_IN_FORCE

CONFIG = Path(__file__).parents[3] / "config"


def data(node: Node | None) -> Any:
    """What a general YAML reader makes of a file."""
    if isinstance(node, Scalar):
        return plain_value(node.text) if node.plain else node.text
    if isinstance(node, Mapping):
        return {name: data(entry.value) for name, entry in node.entries.items()}
    assert node is not None
    return [data(item) for item in node.items]


def complaints(text: str) -> list[str]:
    validator = Draft202012Validator(json_schema())
    return [error.json_path for error in validator.iter_errors(data(compose(text).root))]


def test_the_committed_schema_is_that_of_the_model() -> None:
    committed = json.loads((CONFIG / "mcp-servers.schema.json").read_text(encoding="utf-8"))
    assert committed == json_schema(), "run `make schema`"


def test_it_is_a_schema_and_the_committed_fleet_meets_it() -> None:
    Draft202012Validator.check_schema(json_schema())
    assert complaints((CONFIG / "mcp-servers.yml").read_text(encoding="utf-8")) == []


def test_it_helps_a_person_in_an_editor() -> None:
    schema = json_schema()
    entry = schema["$defs"]["ServerEntry"]["properties"]
    assert schema["title"] == "Fairlead fleet file"
    assert "npm:" in entry["package"]["description"]
    assert entry["image"]["description"] == "Not in force: there is no Docker driver yet."
    assert schema["$defs"]["HealthCheck"]["properties"]["interval"]["default"] == "30s"
    assert schema["$defs"]["Resources"]["properties"]["memory"]["pattern"].startswith("^")
    assert json.dumps(schema).count("Not in force") >= len(NOT_IN_FORCE)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("servers: {a: {command: x}}", None),
        ("servers: {a: {image: x}}", None),
        ("version: '1'", "$"),
        ("servers: {A: {command: x}}", "$.servers"),
        ("servers: {a: {}}", "$.servers.a"),
        ("servers: {a: {command: x, url: 'http://h'}}", "$.servers.a"),
        ("servers: {a: {command: x, comand: y}}", "$.servers.a"),
        ("servers: {a: {package: 'npm:x'}}", "$.servers.a.package"),
        ("servers: {a: {command: x, enabled: 'true'}}", "$.servers.a.enabled"),
        ("servers: {a: {command: x, resources: {memory: 512}}}", "$.servers.a.resources.memory"),
        ("servers: {a: {command: x, resources: {memory: 512mb}}}", "$.servers.a.resources.memory"),
        ("servers: {a: {command: x, sharing: some}}", "$.servers.a.sharing"),
        ("servers: {a: {command: x, environment: {A=B: x}}}", "$.servers.a.environment"),
        ("servers: {}\nloadBalancing: {weights: {a: -1}}", "$.loadBalancing.weights.a"),
    ],
)
def test_it_refuses_what_the_loader_refuses(text: str, path: str | None) -> None:
    assert complaints(text) == ([] if path is None else [path])
