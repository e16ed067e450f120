import json
from typing import Any

import pytest

from support.rest_service import RestService


def answers(service: RestService, result: dict[str, Any]) -> None:
    service.answers = {"POST /api/request": (200, {"result": result})}


def text(value: str) -> dict[str, str]:
    return {"type": "text", "text": value}


def test_the_tools_text_is_printed(fairlead, service: RestService):
    answers(service, {"content": [text("one"), text("two\n두")]})
    result = fairlead("call", "filesystem", "read_text_file", '{"path": "a.txt"}')
    assert (result.exit_code, result.stdout, result.stderr) == (0, "one\ntwo\n두\n", "")
    assert service.received[0].body == {
        "server": "filesystem",
        "method": "tools/call",
        "params": {"name": "read_text_file", "arguments": {"path": "a.txt"}},
    }


def test_arguments_are_optional_and_may_come_from_stdin(fairlead, service: RestService):
    answers(service, {"content": []})
    assert fairlead("call", "s", "t").output == ""
    fairlead("call", "s", "t", "-", "--timeout", "2.5", stdin='{"a": 1}')
    first, second = (request.body for request in service.received)
    assert first["params"]["arguments"] == {}
    assert "timeout" not in first
    assert (second["params"]["arguments"], second["timeout"]) == ({"a": 1}, 2.5)


@pytest.mark.parametrize("arguments", ["{", "[1]", "3", "a=b", ""])
def test_arguments_must_be_a_json_object(fairlead, service: RestService, arguments: str):
    result = fairlead("call", "s", "t", arguments)
    assert result.exit_code == 2
    assert "JSON" in result.stderr
    assert service.received == []


def test_an_error_of_the_tool_goes_to_stderr(fairlead, service: RestService):
    answers(service, {"content": [text("no such file")], "isError": True})
    result = fairlead("call", "s", "t")
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", "no such file\n")


def test_the_whole_result_as_json(fairlead, service: RestService):
    whole = {"content": [text("x")], "isError": True, "_meta": {"a": 1}}
    answers(service, whole)
    result = fairlead("call", "s", "t", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == whole


def test_what_is_no_text_is_named(fairlead, service: RestService):
    content = [
        {"type": "image", "mimeType": "image/png", "data": "AAAA"},
        {"type": "resource", "resource": {"uri": "a://1", "text": "inside"}},
        {"type": "resource", "resource": {"uri": "a://2", "blob": "AA=="}},
        {"type": "resource_link", "uri": "a://3", "name": "x"},
        {"type": "hologram"},
    ]
    answers(service, {"content": content})
    assert fairlead("call", "s", "t").stdout.splitlines() == [
        "[image, image/png, 3 bytes: --json shows it]",
        "inside",
        "[a://2]",
        "[a://3]",
        "[hologram: --json shows it]",
    ]


def test_structured_content_alone_is_shown(fairlead, service: RestService):
    answers(service, {"content": [], "structuredContent": {"n": 1}})
    assert json.loads(fairlead("call", "s", "t").stdout) == {"n": 1}


def test_a_json_rpc_error_is_told(fairlead, service: RestService):
    document = {
        "type": "urn:fairlead:problem:rpc-error",
        "title": "The server answered with an error",
        "detail": "JSON-RPC error -32602: Unknown tool",
        "error": {"code": -32602, "message": "Unknown tool"},
    }
    service.answers = {"POST /api/request": (502, document)}
    result = fairlead("call", "s", "t")
    assert result.exit_code == 1
    assert (
        result.stderr == "error: The server answered with an error\n  JSON-RPC error -32602: Unknown tool\n"
    )
