from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from fairlead.formats.yaml_document import read
from fairlead.model.gitops_schema import application_schema, gitops_schema

ROOT = Path(__file__).parents[3]
TEMPLATES = ROOT / "src/fairlead/cli/templates/repository/applications"


@pytest.mark.parametrize(
    ("file", "schema"),
    [("application", application_schema()), ("gitops", gitops_schema())],
    ids=["app", "gitops"],
)
def test_the_committed_schemas_are_those_of_the_models(file: str, schema: dict[str, Any]) -> None:
    committed = json.loads((ROOT / f"config/{file}.schema.json").read_text(encoding="utf-8"))
    assert committed == schema, "run `make schema`"
    Draft202012Validator.check_schema(schema)


def complaints(schema: dict[str, Any], text: str) -> list[str]:
    return [error.json_path for error in Draft202012Validator(schema).iter_errors(read(text.encode()))]


@pytest.mark.parametrize("name", ["development", "staging", "production"])
def test_the_templates_meet_it(name: str) -> None:
    assert complaints(application_schema(), (TEMPLATES / f"{name}.yml").read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("target: {fleet: {}}", "$"),
        ("name: a\ntarget: {fleet: {}}\nnmae: b", "$"),
        ("name: A\ntarget: {fleet: {}}", "$.name"),
        ("name: a\ntarget: {fleet: {}}\nenvironment: prod", "$.environment"),
        ("name: a\ntarget: {fleet: {}}\nsync: {health: {timeout: 5}}", "$.sync.health.timeout"),
        ("name: a\ntarget: {fleet: {}}\nsync: {health: {stableFor: 0s}}", None),
        ("name: a\ntarget: {fleet: {}}\nrules: [{path: x, policy: merged}]", "$.rules[0].policy"),
    ],
)
def test_it_refuses_what_the_loader_refuses(text: str, path: str | None) -> None:
    assert complaints(application_schema(), text) == ([] if path is None else [path])


def test_it_helps_a_person_in_an_editor() -> None:
    source = gitops_schema()["$defs"]["Source"]["properties"]
    assert "placeholder" in source["token"]["description"]
    assert source["poll"]["default"] == "1m"
