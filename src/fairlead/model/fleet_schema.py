"""The JSON Schema of the fleet file, made from the model."""

from __future__ import annotations

from typing import Any

from fairlead.model.fleet import FleetFile
from fairlead.model.not_in_force import NOT_IN_FORCE


def json_schema() -> dict[str, Any]:
    """The schema of today's form (units written out, nothing null), for editors and other tools."""
    # The mode of serialization is the one that writes defaults with their units.
    schema = tidied(FleetFile.model_json_schema(mode="serialization"))
    for place, entry in NOT_IN_FORCE.items():
        for found in _properties(schema, place):
            when = f" where it matches `{entry.value}`" if entry.value else ""
            note = f"Not in force{when}: {entry.why}."
            found["description"] = f"{found.get('description', '')} {note}".strip()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Fairlead fleet file",
        **schema,
    }


def tidied(value: Any) -> Any:
    """A schema without generated titles, the alternative null, and defaults that stand further in too."""
    if isinstance(value, list):
        return [tidied(item) for item in value]
    if not isinstance(value, dict):
        return value
    schema = {
        key: tidied(item)
        for key, item in value.items()
        if not (key == "title" and isinstance(item, str))
        and not (key == "default" and (item is None or isinstance(item, dict)))
    }
    if "patternProperties" in schema:
        schema["additionalProperties"] = False
    if isinstance(schema.get("anyOf"), list) and {"type": "null"} in schema["anyOf"]:
        choices = [choice for choice in schema.pop("anyOf") if choice != {"type": "null"}]
        schema |= choices[0] if len(choices) == 1 else {"anyOf": choices}
    return schema


def _properties(schema: dict[str, Any], place: str) -> list[dict[str, Any]]:
    """What the schema says of a place of `NOT_IN_FORCE`; a server's key has a second one, in `defaults`."""
    found = _property(schema, place)
    default = _property(schema, place.replace("servers.*.", "defaults.")) if "*" in place else None
    return [each for each in (found, default) if each is not None]


def _property(schema: dict[str, Any], place: str) -> dict[str, Any] | None:
    node = schema
    for name in place.replace("[]", ".[]").split("."):
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].rpartition("/")[2]]
        if name == "[]":
            node = node["items"]
        elif name == "*":
            (node,) = node["patternProperties"].values()
        elif name in node["properties"]:
            node = node["properties"][name]
        else:
            return None
    return node
