"""The AsyncAPI document: that it is one, that it is the code's, and that it says what is sent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from fairlead.model.access import Caller, Role
from fairlead.model.event_data import DATA
from fairlead.model.events import Event, EventType, StoredEvent
from fairlead.web.asyncapi import asyncapi_document
from fairlead.web.live_fleet import ACTIONS, SERVICE
from fairlead.web.live_messages import ErrorMessage, Pong, Result, Welcome, leaving
from fairlead.web.problems import NOT_FOUND
from support.web_services import MemoryFleet, a_live, policy, server

DOCUMENT: dict[str, Any] = json.loads(json.dumps(asyncapi_document(SERVICE, ACTIONS)))
PUBLISHED = Path(__file__).parents[3] / "docs" / "asyncapi.json"


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == "$ref":
                yield inner
            else:
                yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def resolve(reference: str) -> Any:
    value = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        value = value[part]
    return value


def check(value: Any, message: str) -> None:
    schema = {**DOCUMENT["components"]["messages"][message]["payload"], "components": DOCUMENT["components"]}
    jsonschema.Draft202012Validator(schema).validate(value)


def test_the_published_document_is_the_codes() -> None:
    assert json.loads(PUBLISHED.read_text()) == DOCUMENT, "run `make schema`"


def test_every_reference_leads_somewhere_and_every_schema_is_one() -> None:
    for reference in set(references(DOCUMENT)):
        assert resolve(reference) is not None
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_every_message_of_the_channel_has_an_operation() -> None:
    used = set()
    for operation in DOCUMENT["operations"].values():
        for side in (operation, operation.get("reply", {"messages": []})):
            used |= {reference["$ref"] for reference in side["messages"]}
    channels = DOCUMENT["channels"]
    there = {f"#/channels/{c}/messages/{m}" for c, channel in channels.items() for m in channel["messages"]}
    assert used == there
    assert {operation["action"] for operation in DOCUMENT["operations"].values()} == {"receive", "send"}
    assert all(operation["security"] for operation in DOCUMENT["operations"].values())


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.name)
def test_each_command_and_snapshot_is_there_with_its_result(action) -> None:
    name = f"{'command' if action.is_command else 'get'}-{action.name}"
    operation = DOCUMENT["operations"][name]
    assert operation["messages"] == [{"$ref": f"#/channels/live/messages/{name}"}]
    assert {"$ref": f"#/channels/live/messages/result-{name}"} in operation["reply"]["messages"]
    schema = resolve(f"#/components/messages/{name}")["payload"]
    members = resolve(schema["$ref"])
    assert members["additionalProperties"] is False
    assert members["description"]


def test_each_type_of_event_has_its_data() -> None:
    kinds = {each["title"]: each for each in DOCUMENT["components"]["schemas"]["CloudEvent"]["oneOf"]}
    assert set(kinds) == {each.value for each in EventType}
    for type_ in DATA:
        assert resolve(kinds[type_.value]["properties"]["data"]["$ref"])["properties"]


def test_the_seven_names_that_clients_have_always_known() -> None:
    text = json.dumps(DOCUMENT)
    for name in (
        "drift-detected", "sync-started", "sync-completed", "deployment-started", "deployment-completed",
        "server-health-changed", "config-changed",
    ):  # fmt: skip
        assert f'"{name}"' in text


async def test_what_is_sent_fits() -> None:
    welcome = Welcome(
        service="orchestrator", node="n", sequence=None, epoch="", principal="ada", role="admin"
    )
    check(welcome.model_dump(by_alias=True), "welcome")
    check(Pong(id="1", sequence=3).model_dump(by_alias=True), "pong")
    for reason in ("stopping", "credential", "slow"):
        message = leaving(reason, {"s": 3})
        check(message.model_dump(by_alias=True), message.type)
    problem = NOT_FOUND.document("r-1")
    check({"type": "error", "id": None, "problem": problem}, "error")
    ErrorMessage.model_validate({"type": "error", "id": None, "problem": problem})
    data = {"server": "a", "before": "ready", "state": "failed", "reason": "gone"}
    stored = StoredEvent(7, Event(EventType.SERVER_HEALTH_CHANGED, "/orchestrator/n", "a", data, 1.5))
    check({"type": "event", "subscription": "s", "event": stored.document()}, "event")
    broken = {**stored.document(), "data": {**data, "state": 7}}
    with pytest.raises(jsonschema.ValidationError):
        check({"type": "event", "subscription": "s", "event": broken}, "event")


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.name)
async def test_what_commands_give_fits(action) -> None:
    fleet = MemoryFleet(server("magic"))
    table = a_live(fleet, policy).table
    kind = "command" if action.is_command else "get"
    wanted = {"type": kind, "id": "1", ("name" if action.is_command else "what"): action.name}
    wanted |= {name: "magic" for name in ("server", "breaker") if name in action.message.model_fields}
    wanted |= {"scope": "server"} if action.name == "reset-breaker" else {}
    check(wanted, f"{kind}-{action.name}")
    message = table.decode(json.dumps(wanted))
    result = await table.run(action, message, Caller("ada", Role.ADMIN))
    answer = Result(id="1", result=result).model_dump_json(by_alias=True)
    check(json.loads(answer), f"result-{kind}-{action.name}")
    with pytest.raises(jsonschema.ValidationError):
        check({**wanted, "more": 1}, f"{kind}-{action.name}")
