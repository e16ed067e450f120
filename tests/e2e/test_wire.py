"""What clients do on the wire that the SDKs do not show: ids of every type, and the life of a session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from e2e.programs import MODERN
from e2e.system import System
from e2e.wire import META, Wire, messages


@pytest.fixture
def wire(fleet: System) -> Iterator[Wire]:
    wire = Wire(fleet.endpoint, fleet.token("alice"))
    yield wire
    wire.close()


def test_claude_codes_opening_keeps_the_type_of_every_id(wire: Wire):
    with wire.modern("server/discover", number="server-discover-probe-1") as response:
        assert response.status_code == 200
        (answer,) = messages(response)
    assert answer["id"] == "server-discover-probe-1"
    assert MODERN in answer["result"]["supportedVersions"]
    assert {"tools", "prompts", "resources"} <= answer["result"]["capabilities"].keys()
    assert answer["result"]["cacheScope"] in ("public", "private")
    assert isinstance(answer["result"]["ttlMs"], int)

    wanted = {"toolsListChanged": True, "promptsListChanged": True, "resourcesListChanged": True}
    with wire.modern("subscriptions/listen", {"notifications": wanted}, number="listen:0") as listening:
        assert listening.headers["content-type"].startswith("text/event-stream")
        acknowledged = next(messages(listening))
        assert acknowledged["method"] == "notifications/subscriptions/acknowledged"
        assert acknowledged["params"]["_meta"][f"{META}subscriptionId"] == "listen:0"
        assert acknowledged["params"]["notifications"] == wanted

        with wire.modern("tools/list", number=0) as response:
            (answer,) = messages(response)
        assert answer["id"] == 0
        assert answer["id"] is not False
        assert len(answer["result"]["tools"]) == 30


@pytest.mark.parametrize("number", [0, -1, 2**53, "0", "", "listen:0", "조타"], ids=repr)
def test_an_id_comes_back_as_it_went(wire: Wire, number: int | str):
    params = {"name": "everything__echo", "arguments": {"message": "hi"}}
    with wire.modern("tools/call", params, number=number, name="everything__echo") as response:
        answer = list(messages(response))[-1]
    assert answer["id"] == number
    assert type(answer["id"]) is type(number)
    assert answer["result"]["content"][0]["text"] == "Echo: hi"
    wire.initialize()
    assert wire.ask("ping", number=number) == {"jsonrpc": "2.0", "id": number, "result": {}}


def test_an_ended_session_is_not_found(wire: Wire):
    wire.initialize()
    assert len(wire.ask("tools/list")["result"]["tools"]) == 30
    ended = wire.http.delete(wire.url, headers=wire.headers)
    assert ended.status_code in (200, 204)
    with wire.post({"id": 2, "method": "tools/list"}) as response:
        assert response.status_code == 404
    with wire.http.stream("GET", wire.url, headers=wire.headers) as response:
        assert response.status_code == 404


def test_a_session_belongs_to_the_token_that_opened_it(wire: Wire, fleet: System):
    wire.initialize()
    stranger = Wire(fleet.endpoint, fleet.token("bob"))
    stranger.headers = wire.headers
    with stranger.post({"id": 2, "method": "tools/list"}) as response:
        assert response.status_code == 404
    assert stranger.http.delete(stranger.url, headers=stranger.headers).status_code == 404
    stranger.close()
    assert len(wire.ask("tools/list")["result"]["tools"]) == 30


@pytest.mark.parametrize("session", ["made-up", "", "0" * 5000])
def test_an_unknown_session_is_not_found(wire: Wire, session: str):
    wire.headers = {"Mcp-Session-Id": session, "MCP-Protocol-Version": "2025-11-25"}
    with wire.post({"id": 2, "method": "tools/list"}) as response:
        assert response.status_code in ((404,) if session else (400, 404))


def test_nobody_gets_in_without_a_token(fleet: System):
    for token in ("x", "nonesuch" * 6):
        stranger = Wire(fleet.endpoint, token)
        with stranger.post({"id": 1, "method": "ping"}) as response:
            assert response.status_code == 401
        stranger.close()
