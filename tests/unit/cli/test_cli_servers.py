import json

import pytest

from fairlead.cli import servers
from support.rest_service import RestService, server_status


def test_status_shows_all_servers(fairlead, service: RestService):
    servers = [
        server_status("filesystem", tools=14, message="14 tools"),
        server_status("magic", "blocked", "needs \x1b[2JA_KEY"),
    ]
    service.answers = {"GET /api/servers": (200, {"servers": servers})}
    result = fairlead("status")
    assert result.output.splitlines() == [
        "SERVER      STATE    TOOLS",
        "filesystem  ready    14     14 tools",
        "magic       blocked  -      needs A_KEY",
    ]
    assert json.loads(fairlead("status", "--json").output) == {"servers": servers}


def test_status_shows_one_server_in_detail(fairlead, service: RestService):
    instance = {
        "id": "git-1",
        "state": "ready",
        "pid": 4711,
        "protocolVersion": "2025-11-25",
        "startedAt": 0.0 + 1_700_000_000,
        "callsInFlight": 0,
        "callsTotal": 3,
        "memoryBytes": 63 * 2**20,
        "leased": False,
        "detail": "",
    }
    condition = {"type": "Ready", "status": True, "reason": "Ready", "message": "12 tools", "since": 1.0}
    server = server_status(
        "git", instances=[instance], conditions=[condition], serverName="mcp-git", serverVersion="1.2",
        capabilities=["history", "blame"], weight=0.5,
    )  # fmt: skip
    service.answers = {"GET /api/servers/git": (200, server)}
    lines = fairlead("status", "git").output.splitlines()
    assert lines[0] == "git"
    assert "  state         ready  2 tools" in lines
    assert "  server        mcp-git 1.2" in lines
    assert "  capabilities  history, blame" in lines
    assert "  weight        0.5" in lines
    assert "    Ready  yes  Ready  12 tools" in lines
    assert "    git-1  ready  pid 4711  MCP 2025-11-25  since 2023-11-14 22:13:20Z  3 calls  63 MiB" in lines
    assert json.loads(fairlead("status", "git", "--json").output) == server


def test_a_bare_instance_and_server_can_be_shown(fairlead, service: RestService):
    instance = {"id": "x-1", "state": "starting", "callsTotal": 0, "detail": "handshake"}
    service.answers = {"GET /api/servers/x": (200, server_status("x", "starting", "", instances=[instance]))}
    lines = fairlead("status", "x").output.splitlines()
    assert "    x-1  starting        0 calls    handshake" in lines


@pytest.mark.parametrize("action", ["start", "stop", "restart"])
def test_an_action_is_asked_for_and_its_outcome_shown(fairlead, service: RestService, action: str):
    status = server_status("git", "stopped" if action == "stop" else "ready", "note")
    service.answers = {f"POST /api/servers/git/{action}": (200, {}), "GET /api/servers/git": (200, status)}
    result = fairlead(action, "git")
    assert result.exit_code == 0
    assert "note" in result.output
    assert service.received[0].path == f"/api/servers/git/{action}"
    assert json.loads(fairlead(action, "git", "--json").output) == status


def test_an_action_waits_for_its_outcome(fairlead, service: RestService, monkeypatch: pytest.MonkeyPatch):
    service.answers = {"POST /api/servers/git/start": (200, {})}
    coming = [
        server_status("git", "installing"),
        server_status("git", "starting"),
        server_status("git", "failed"),
    ]
    service.answers["GET /api/servers/git"] = (200, coming)
    result = fairlead("start", "git")
    assert result.exit_code == 1
    assert "git     failed" in result.output
    assert len(service.received) == 4


def test_an_action_does_not_wait_for_ever(fairlead, service: RestService, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(servers, "PATIENCE", 0.0)
    status = server_status("git", "starting")
    service.answers = {"POST /api/servers/git/restart": (200, {}), "GET /api/servers/git": (200, status)}
    assert fairlead("restart", "git").exit_code == 1


def test_an_unknown_server_is_an_error(fairlead, service: RestService):
    result = fairlead("stop", "nonesuch")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: Not found")


def test_without_a_running_system(fairlead):
    result = fairlead("status")
    assert result.exit_code == 1
    assert "fairlead up" in result.stderr
