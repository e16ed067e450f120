"""One server by itself at `/servers/{id}/mcp`: names and URIs are the server's own."""

from __future__ import annotations

import pytest

from e2e.programs import FLAVOURS, Connect, Connection, StepError
from e2e.system import System


@pytest.fixture(
    params=[one for one in FLAVOURS if str(one) in ("typescript-1-legacy", "python-2-auto")], ids=str
)
def everything(request: pytest.FixtureRequest, connect: Connect, fleet: System) -> Connection:
    return connect(request.param, fleet, path="/servers/everything/mcp")


def test_names_are_not_prefixed(everything: Connection):
    names = {tool["name"] for tool in everything("list", what="tools")}
    assert len(names) == 13
    assert "echo" in names
    assert everything.text("echo", message="hi") == "Echo: hi"
    assert "simple-prompt" in {prompt["name"] for prompt in everything("list", what="prompts")}


def test_uris_are_not_wrapped(everything: Connection):
    uri = "demo://resource/static/document/architecture.md"
    assert uri in {resource["uri"] for resource in everything("list", what="resources")}
    assert everything("read", uri=uri)["contents"][0]["uri"] == uri
    template = {"type": "ref/resource", "uri": "demo://resource/dynamic/text/{resourceId}"}
    assert everything("complete", ref=template, argument={"name": "resourceId", "value": "12"}) == ["12"]


def test_other_servers_tools_are_not_there(everything: Connection):
    try:
        result = everything.call("everything__echo", message="hi")
    except StepError as error:
        assert error.code == -32602  # noqa: PT017 - or the server's own answer, below
    else:
        assert result["isError"]
