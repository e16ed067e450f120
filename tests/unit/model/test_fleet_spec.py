from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from fairlead.model.fleet import ResolvedServer, Resources, ServerSpec, resolve_server
from fairlead.model.placeholders import MissingNames


def spec(**fields: Any) -> ServerSpec:
    return ServerSpec(**{"id": "a", "command": "run"} | fields)


def resolved(server: ServerSpec, **known: str) -> ResolvedServer:
    found = resolve_server(server, known.get)
    assert isinstance(found, ResolvedServer)
    return found


def test_every_part_that_may_hold_placeholders_is_resolved() -> None:
    server = spec(
        command="${BIN}/run",
        args=("--root", "${ROOT}", "$$5"),
        environment={"KEY": "${KEY}", "MODE": "fast"},
        working_directory="${ROOT}/work",
    )
    found = resolved(server, BIN="/opt", ROOT="/srv", KEY="k")
    assert found.command == "/opt/run"
    assert found.args == ("--root", "/srv", "$5")
    assert found.environment == {"KEY": "k", "MODE": "fast"}
    assert found.working_directory == "/srv/work"
    assert found.url is None


def test_a_remote_server_is_resolved() -> None:
    server = ServerSpec(id="r", url="https://${HOST}/mcp", headers={"Authorization": "Bearer ${TOKEN}"})
    found = resolved(server, HOST="example.com", TOKEN="t")
    assert (found.url, found.headers) == ("https://example.com/mcp", {"Authorization": "Bearer t"})
    assert (found.command, found.working_directory) == (None, None)


def test_all_that_is_missing_is_told_at_once() -> None:
    server = spec(args=("${A}",), environment={"X": "${B} ${A}", "Y": "${C:-c}"}, working_directory="${D}")
    assert resolve_server(server, {}.get) == MissingNames(("A", "B", "D"))


def test_what_comes_out_empty_is_left_out_but_what_is_written_empty_stays() -> None:
    server = spec(environment={"OPTIONAL": "${OPTIONAL:-}", "EMPTY": ""}, args=("${X:-}",))
    found = resolved(server)
    assert found.environment == {"EMPTY": ""}
    assert found.args == ("",), "an argument has a place, and keeps it"


def test_no_value_shows_in_a_repr() -> None:
    server = spec(environment={"KEY": "literal-s3cret"}, headers={"X": "literal-s3cret"}, args=("${S}",))
    assert "s3cret" not in repr(server) + repr(resolved(server, S="s3cret"))


def test_a_spec_is_frozen() -> None:
    with pytest.raises(ValidationError):
        spec().weight = 2.0  # type: ignore[misc]


def test_json_has_the_units_written_out_and_python_has_them_plain() -> None:
    server = spec(timeouts={"start": 60.0, "call": "90s", "stop": 0.5})
    assert server.model_dump(mode="json", by_alias=True)["timeouts"] == {
        "answer": "10m",
        "start": "1m",
        "call": "90s",
        "stop": "500ms",
    }
    assert server.model_dump()["resources"] == {"memory": 2**29, "cpu": 1.0, "processes": 1000}
    assert ServerSpec.model_validate_json(server.model_dump_json(by_alias=True)) == server
    assert Resources(memory=1024).memory == 1024, "a plain number is in the base unit"


@pytest.mark.parametrize(
    ("fields", "source"),
    [
        ({"command": "run"}, "run"),
        ({"command": None, "package": "npm:x@1.0.0"}, "npm:x@1.0.0"),
        ({"command": None, "url": "https://h/mcp"}, "https://h/mcp"),
        ({"command": None, "image": "mcp/x:latest"}, "mcp/x:latest"),
    ],
)
def test_what_a_server_is(fields: dict[str, Any], source: str) -> None:
    assert spec(**fields).source == source


@pytest.mark.parametrize(
    "fields",
    [
        {"command": None},
        {"url": "https://h/mcp"},
        {"id": "A"},
        {"id": "-a"},
        {"id": "a__b"},
        {"id": "a" * 33},
        {"id": "a\n"},
        {"weight": -1},
        {"weight": float("nan")},
        {"weight": float("inf")},
        {"transport": "stdio"},
        {"nonsense": 1},
        {"environment": {"A=B": "x"}},
        {"environment": {"": "x"}},
        {"headers": {"X Y": "x"}},
        {"headers": {"X": "a\r\nHost: evil"}},
        {"args": ("a\0b",)},
        {"scaling": {"minInstances": 5, "maxInstances": 2}},
        {"scaling": {"minInstances": 5}},
        {"scaling": {"maxInstances": True}},
        {"scaling": {"targetCallsInFlight": 0}},
        {"strategy": "fastest"},
        {"healthCheck": {"retries": 0}},
        {"healthCheck": {"errorPatterns": ("a", "[")}},
        {"healthCheck": {"errorPatterns": ("a(?i)b",)}},
        {"healthCheck": {"errorPatterns": ("",)}},
        {"healthCheck": {"errorPatterns": ("x" * 1001,)}},
        {"healthCheck": {"errorPatterns": ("a{99999999999}",)}},
        {"circuitBreaker": {"failureRate": 0}},
        {"circuitBreaker": {"trials": 0}},
        {"limits": {"callsPerInstance": 0}},
        {"limits": {"waiting": -1}},
        {"command": ""},
        {"command": None, "url": "https://user:word@h/"},
        {"command": None, "url": "https://h/a b"},
        {"command": None, "url": "https://h:0/"},
        {"command": None, "url": "https:///mcp"},
    ],
)
def test_what_cannot_be_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        spec(**fields)
