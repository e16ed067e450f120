"""The AsyncAPI document: that it is one, that it is the code's, and that it says what is sent."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from fairlead.model import event_data
from fairlead.model.access import Caller, Role
from fairlead.model.events import Event, EventType, StoredEvent
from fairlead.model.reconciling import Blocked, DeploymentState, Hold
from fairlead.web import live_fleet, live_gitops
from fairlead.web.asyncapi import asyncapi_document
from fairlead.web.live_messages import ErrorMessage, Pong, Result, Welcome, leaving
from fairlead.web.live_table import Table
from fairlead.web.problems import NOT_FOUND
from support.gitops_web import FIRST, SECOND, GitOpsRig, gitops_services
from support.web_services import MemoryFleet, a_live, policy, server

ACTIONS = {live_fleet.SERVICE: live_fleet.ACTIONS, live_gitops.SERVICE: live_gitops.ACTIONS}
DATA = {live_fleet.SERVICE: event_data.DATA, live_gitops.SERVICE: event_data.GITOPS_DATA}
FILES = {live_fleet.SERVICE: "asyncapi.json", live_gitops.SERVICE: "asyncapi-gitops.json"}
DOCUMENTS: dict[str, dict[str, Any]] = {
    service: json.loads(json.dumps(asyncapi_document(service, actions)))
    for service, actions in ACTIONS.items()
}
DOCS = Path(__file__).parents[3] / "docs"
each_service = pytest.mark.parametrize("service", list(ACTIONS))
each_action = pytest.mark.parametrize(
    ("service", "action"),
    [(service, action) for service, actions in ACTIONS.items() for action in actions],
    ids=lambda each: each if isinstance(each, str) else each.name,
)


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


def resolve(service: str, reference: str) -> Any:
    value = DOCUMENTS[service]
    for part in reference.removeprefix("#/").split("/"):
        value = value[part]
    return value


def check(value: Any, message: str, service: str) -> None:
    components = DOCUMENTS[service]["components"]
    schema = {**components["messages"][message]["payload"], "components": components}
    jsonschema.Draft202012Validator(schema).validate(value)


@each_service
def test_the_published_document_is_the_codes(service) -> None:
    assert json.loads((DOCS / FILES[service]).read_text()) == DOCUMENTS[service], "run `make schema`"


@each_service
def test_every_reference_leads_somewhere_and_every_schema_is_one(service) -> None:
    for reference in set(references(DOCUMENTS[service])):
        assert resolve(service, reference) is not None
    for schema in DOCUMENTS[service]["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


@each_service
def test_every_message_of_the_channel_has_an_operation(service) -> None:
    used, document = set(), DOCUMENTS[service]
    for operation in document["operations"].values():
        for side in (operation, operation.get("reply", {"messages": []})):
            used |= {reference["$ref"] for reference in side["messages"]}
    channels = document["channels"]
    there = {f"#/channels/{c}/messages/{m}" for c, channel in channels.items() for m in channel["messages"]}
    assert used == there
    assert {operation["action"] for operation in document["operations"].values()} == {"receive", "send"}
    assert all(operation["security"] for operation in document["operations"].values())


@each_action
def test_each_command_and_snapshot_is_there_with_its_result(service, action) -> None:
    name = f"{'command' if action.is_command else 'get'}-{action.name}"
    operation = DOCUMENTS[service]["operations"][name]
    assert operation["messages"] == [{"$ref": f"#/channels/live/messages/{name}"}]
    assert {"$ref": f"#/channels/live/messages/result-{name}"} in operation["reply"]["messages"]
    schema = resolve(service, f"#/components/messages/{name}")["payload"]
    members = resolve(service, schema["$ref"])
    assert members["additionalProperties"] is False
    assert members["description"]


@each_service
def test_each_type_of_event_has_its_data(service) -> None:
    kinds = {
        each["title"]: each for each in DOCUMENTS[service]["components"]["schemas"]["CloudEvent"]["oneOf"]
    }
    assert set(kinds) == {each.value for each in EventType}
    for type_ in DATA[service]:
        assert resolve(service, kinds[type_.value]["properties"]["data"]["$ref"])["properties"]


@each_service
def test_the_seven_names_that_clients_have_always_known(service) -> None:
    text = json.dumps(DOCUMENTS[service])
    for name in (
        "drift-detected", "sync-started", "sync-completed", "deployment-started", "deployment-completed",
        "server-health-changed", "config-changed",
    ):  # fmt: skip
        assert f'"{name}"' in text


@each_service
async def test_what_is_sent_fits(service) -> None:
    welcome = Welcome(service=service, node="n", sequence=None, epoch="", principal="ada", role="admin")
    check(welcome.model_dump(by_alias=True), "welcome", service)
    check(Pong(id="1", sequence=3).model_dump(by_alias=True), "pong", service)
    for reason in ("stopping", "credential", "slow"):
        message = leaving(reason, {"s": 3})
        check(message.model_dump(by_alias=True), message.type, service)
    problem = NOT_FOUND.document("r-1")
    check({"type": "error", "id": None, "problem": problem}, "error", service)
    ErrorMessage.model_validate({"type": "error", "id": None, "problem": problem})


EVENTS = [
    (
        "orchestrator",
        EventType.SERVER_HEALTH_CHANGED,
        {"server": "a", "before": "ready", "state": "failed", "reason": "gone"},
    ),
    (
        "gitops",
        EventType.DEPLOYMENT_COMPLETED,
        {
            "deployment": "d", "application": "a", "environment": "staging", "commit": "c",
            "state": "succeeded", "message": "", "seconds": 1.5,
        },
    ),
    (
        "gitops",
        EventType.CONFIG_CHANGED,
        {"source": "config", "commit": "c", "added": ["a"], "changed": [], "removed": []},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("service", "type_", "data"), EVENTS)
async def test_events_fit_only_with_their_data(service, type_, data) -> None:
    stored = StoredEvent(7, Event(type_, "/x/n", "a", data, 1.5))
    check({"type": "event", "subscription": "s", "event": stored.document()}, "event", service)
    for name in data:
        broken = {**stored.document(), "data": {**data, name: {"no": "such"}}}
        with pytest.raises(jsonschema.ValidationError):
            check({"type": "event", "subscription": "s", "event": broken}, "event", service)


@each_action
async def test_what_commands_give_fits(service, action) -> None:
    async with table_of(service) as table:
        kind = "command" if action.is_command else "get"
        wanted = {"type": kind, "id": "1", ("name" if action.is_command else "what"): action.name}
        required = [name for name, member in action.message.model_fields.items() if member.is_required()]
        wanted |= {name: MEMBERS[name] for name in required if name in MEMBERS}
        wanted |= {"scope": "server"} if action.name == "reset-breaker" else {}
        wanted |= {"key": "servers.magic.args"} if action.name == "resolve" else {}
        wanted |= {"application": "next"} if action.name == "promote" else {}
        wanted |= {"deployment": "waits"} if action.name in ("approve", "cancel") else {}
        check(wanted, f"{kind}-{action.name}", service)
        message = table.decode(json.dumps(wanted))
        result = await table.run(action, message, Caller("ada", Role.ADMIN))
        answer = Result(id="1", result=result).model_dump_json(by_alias=True)
        check(json.loads(answer), f"result-{kind}-{action.name}", service)
        with pytest.raises(jsonschema.ValidationError):
            check({**wanted, "more": 1}, f"{kind}-{action.name}", service)


MEMBERS: dict[str, Any] = {
    "server": "magic",
    "breaker": "magic",
    "application": "magic",
    "deployment": "done",
    "commit": SECOND,
    "path": "servers.magic.**",
    "seconds": 60,
    "reason": "incident 42",
    "object": "fleet",
    "take": "remote",
}


@asynccontextmanager
async def table_of(service: str) -> AsyncIterator[Table]:
    if service == live_fleet.SERVICE:
        yield a_live(MemoryFleet(server("magic")), policy).table
        return
    rig = GitOpsRig(
        more={
            "magic": {"policy": "manual"},
            "next": {"environment": "production", "promoted_from": "magic"},
        }
    )
    said = {"fleet": {"servers": {"magic": {"args": ["x"]}}}}
    rig.commit(FIRST, {"magic": said, "next": said})
    async with rig.running():
        rig.edit("magic", {"servers": {"magic": {"args": ["by hand"]}}})
        await rig.settle()
        rig.commit(SECOND, {"magic": {"fleet": {"servers": {"magic": {"args": ["git"]}}}}, "next": said})
        await rig.settle()
        rig.rows.blocks.append(Blocked("magic", SECOND, 1.0, "it was bad"))
        rig.store.held.append(Hold("magic", "servers.magic.**", "ada", "incident 42", 1e11))
        rig.row("waits", "magic", state=DeploymentState.WAITING, ended=None, author="")
        rig.row("done", "next", commit=SECOND, previous=FIRST)
        yield gitops_services(rig).live.table
