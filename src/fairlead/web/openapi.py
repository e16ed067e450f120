"""What holds for every operation of the API, added to the OpenAPI document that FastAPI makes."""

from __future__ import annotations

from typing import Any

from fairlead.core import refusals
from fairlead.model.access import Role
from fairlead.web.permissions import too_weak
from fairlead.web.problems import INTERNAL, FieldError, ProblemDocument, documented, validation_problem
from fairlead.web.store_gate import is_change, store_away

_SCHEMAS = "#/components/schemas/"
_NO_PARAMETER = FieldError(where="query.x", what="there is no such parameter", how="remove it; known: none")


def describe(document: dict[str, Any]) -> dict[str, Any]:
    """Add the token, the schema of problems, and the problems that every operation may answer with."""
    components = document.setdefault("components", {})
    schema = ProblemDocument.model_json_schema(ref_template=_SCHEMAS + "{model}")
    schemas = components.setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):  # FastAPI's own, which nothing answers with
        schemas.pop(unused, None)
    schemas.update(schema.pop("$defs"))
    schemas["Problem"] = schema
    components["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "description": "`fairlead token add NAME` makes one."}
    }
    document["security"] = [{"token": []}]
    limited = documented(refusals.rate_limited(2.0))
    refused = documented(refusals.MISSING_TOKEN, refusals.INVALID_TOKEN, too_weak(Role.OPERATOR, None))
    refused |= documented(validation_problem([_NO_PARAMETER]))
    other = {"default": documented(INTERNAL)[INTERNAL.status] | {"description": "Any other problem"}}
    unkept = documented(store_away("connection refused"))
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            public = operation.get("security") == []
            shared = other if public else refused | limited | other
            if is_change(method.upper(), path):
                shared = unkept | shared
            if "application/json" in operation["responses"].get("422", {}).get("content", ()):
                del operation["responses"]["422"]
            for status, response in shared.items():
                operation["responses"].setdefault(str(status), response)
    return document
