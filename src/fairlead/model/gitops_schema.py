"""The JSON Schemas of what Git says for GitOps, made from the models: for editors and other tools."""

from __future__ import annotations

from typing import Any

from fairlead.model.fleet_schema import tidied
from fairlead.model.gitops import Application, GitOpsFile
from fairlead.model.spec_model import SpecModel


def application_schema() -> dict[str, Any]:
    """Of a document below `applications/`."""
    return _schema(Application, "Fairlead application")


def gitops_schema() -> dict[str, Any]:
    """Of `config/gitops.yml`."""
    return _schema(GitOpsFile, "Fairlead GitOps file")


def _schema(model: type[SpecModel], title: str) -> dict[str, Any]:
    # The mode of serialization is the one that writes defaults with their units.
    schema = tidied(model.model_json_schema(mode="serialization"))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title, **schema}
