"""The AsyncAPI document (3.0) of the live connection, made from its models, so that it cannot drift.

`receive` and `send` are the service's: clients send what it receives.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, get_args

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from fairlead.model.event_data import DATA, GITOPS_DATA
from fairlead.model.events import CONTENT_TYPE, EventType
from fairlead.web.live_messages import (
    PROTOCOL,
    SERVER_MESSAGES,
    ClientMessage,
    EventMessage,
    Ping,
    Result,
    Subscribe,
    Unsubscribe,
)
from fairlead.web.live_table import Action

_DATA: Final = {"orchestrator": DATA, "gitops": GITOPS_DATA}
_SCHEMAS: Final = "#/components/schemas/"
_DESCRIPTION: Final = (
    "Events, snapshots and commands over one WebSocket; and the events alone as a stream over HTTP.\n\n"
    "Open `/ws` with a bearer token in `Authorization`. A browser offers two subprotocols instead: "
    f"`{PROTOCOL}` and `fairlead.bearer.TOKEN`, the token in base64url without padding; or it has the cookie "
    "of a login. Messages are JSON objects in text frames. The service says `welcome`; then each message of "
    "the client is answered by one `result`, `pong` or `error` with its `id`.\n\n"
    "Events of a subscription come in the order of their numbers, each once. After a break go on with "
    "`since`, the `sequence` of the last event that you have. The service closes with 1001 when it stops, "
    "4001 when the credential is not good any more, 4008 when the client does not keep up (the reason "
    "says where to resume), 1003 for a binary message, 1008 for too many messages, 1009 for one that is too "
    "large."
)


def asyncapi_document(service: str, actions: Collection[Action]) -> dict[str, Any]:
    """The whole document of one service, as JSON."""
    own: tuple[type[ClientMessage], ...] = (Subscribe, Unsubscribe, Ping)
    clients = {_word(model): model for model in own}
    clients |= {_key(action): action.message for action in actions}
    servers = {_word(model): model for model in SERVER_MESSAGES}
    results = {f"result-{_key(action)}": action.result for action in actions}
    data = {f"data-{type_.value}": model for type_, model in _DATA[service].items()}
    payloads, schemas = _schemas(clients, servers | results | data)
    schemas["CloudEvent"] = {"oneOf": [_event(type_, payloads) for type_ in EventType]}
    schemas[EventMessage.__name__]["properties"]["event"] = {"$ref": _SCHEMAS + "CloudEvent"}
    messages = {name: _message(name, model, payloads[name]) for name, model in (clients | servers).items()}
    messages |= {name: _result(name, payloads[name]) for name in results}
    messages["cloudEvent"] = {
        "name": "cloudEvent",
        "summary": "One event: the `data` of a server-sent event, whose `id` is its number.",
        "contentType": CONTENT_TYPE,
        "payload": {"$ref": _SCHEMAS + "CloudEvent"},
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": f"Fairlead {service}, live",
            "version": PROTOCOL.removeprefix("fairlead."),
            "description": _DESCRIPTION,
        },
        "defaultContentType": "application/json",
        "channels": _channels(messages),
        "operations": _operations(clients, results),
        "components": {
            "messages": messages,
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _word(model: type[BaseModel]) -> str:
    return str(get_args(model.model_fields["type"].annotation)[0])


def _key(action: Action) -> str:
    return f"{'command' if action.is_command else 'get'}-{action.name}"


def _schemas(inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The schema of each of them, and those that they refer to, by name."""
    asked: list[tuple[str, JsonSchemaMode, TypeAdapter[Any]]] = [
        (name, "validation", TypeAdapter(model)) for name, model in inputs.items()
    ]
    asked += [(name, "serialization", TypeAdapter(model)) for name, model in outputs.items()]
    given, document = TypeAdapter.json_schemas(asked, ref_template=_SCHEMAS + "{model}")
    return {name: schema for (name, _), schema in given.items()}, document["$defs"]


def _message(name: str, model: type[BaseModel], payload: Any) -> dict[str, Any]:
    summary = (model.__doc__ or f"{name.capitalize()}.").strip().partition("\n")[0]
    return {"name": name, "summary": summary, "payload": payload}


def _result(name: str, schema: Any) -> dict[str, Any]:
    what = {"type": "object", "properties": {"result": schema}}
    payload = {"allOf": [{"$ref": _SCHEMAS + Result.__name__}, what]}
    return {"name": name, "summary": f"The result of {name.removeprefix('result-')}.", "payload": payload}


def _event(type_: EventType, payloads: Mapping[str, Any]) -> dict[str, Any]:
    text = {"type": "string"}
    return {
        "title": type_.value,
        "type": "object",
        "required": ["specversion", "type", "source", "id", "time", "sequence", "data"],
        "properties": {
            "specversion": {"const": "1.0"},
            "type": {"const": type_.value},
            "source": text | {"format": "uri-reference"},
            "id": text,
            "time": text | {"format": "date-time"},
            "subject": text,
            "datacontenttype": {"const": "application/json"},
            "sequence": text | {"pattern": "^[0-9]+$", "description": "A number, as CloudEvents has it"},
            "sequencetype": {"const": "Integer"},
            "data": payloads.get(f"data-{type_.value}", {"type": "object"}),
        },
    }


def _channels(messages: Mapping[str, Any]) -> dict[str, Any]:
    refs = {name: {"$ref": f"#/components/messages/{name}"} for name in messages}
    stream = {"cloudEvent": refs.pop("cloudEvent")}
    return {
        "live": {"address": "/ws", "messages": refs, "bindings": {"ws": {"method": "GET"}}},
        "events": {"address": "/api/events", "messages": stream},
    }


def _operations(clients: Mapping[str, Any], results: Mapping[str, Any]) -> dict[str, Any]:
    def operation(action: str, channel: str, names: Sequence[str]) -> dict[str, Any]:
        here = f"#/channels/{channel}"
        return {
            "action": action,
            "channel": {"$ref": here},
            "messages": [{"$ref": f"{here}/messages/{name}"} for name in names],
            "security": [{"$ref": "#/components/securitySchemes/token"}],
        }

    def request(name: str) -> dict[str, Any]:
        result = f"result-{name}" if f"result-{name}" in results else "pong" if name == "ping" else "result"
        answers = operation("send", "live", [result, "error"])
        reply = {"channel": answers["channel"], "messages": answers["messages"]}
        return operation("receive", "live", [name]) | {"reply": reply}

    told = ["welcome", "event", "slow", "goodbye"]
    return {
        **{name: request(name) for name in clients},
        "tell": operation("send", "live", told) | {"summary": "What comes unasked"},
        "stream": operation("send", "events", ["cloudEvent"]) | {"summary": "Server-sent events"},
    }
