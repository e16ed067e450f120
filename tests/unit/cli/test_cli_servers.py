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
        "",
        "GitOps controller: it does not run; `fairlead up` starts it",
    ]
    assert json.loads(fairlead("status", "--json").output) == {
        "servers": servers,
        "gitops": None,
        "gitopsReason": "it does not run; `fairlead up` starts it",
    }


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
        "cpuCores": 0.42,
        "leased": False,
        "inRotation": True,
        "detail": "",
    }
    other = {
        "id": "git-2", "state": "ready", "health": "suspect", "breaker": "open", "callsInFlight": 1,
        "leased": True, "weight": 0.5, "detail": "retir\x1b[2Jing",
    }  # fmt: skip
    condition = {"type": "Ready", "status": True, "reason": "Ready", "message": "12 tools", "since": 1.0}
    server = server_status(
        "git", instances=[instance, other], conditions=[condition], serverName="mcp-git", serverVersion="1.2",
        capabilities=["history", "blame"], weight=0.5,
        strategy="weighted", breaker="half-open", panicking=True, callsWaiting=7,
        wantedInstances=3, minInstances=1, maxInstances=4,
    )  # fmt: skip
    service.answers = {"GET /api/servers/git": (200, server)}
    lines = fairlead("status", "git").output.splitlines()
    assert lines[0] == "git"
    assert "  state         ready  2 tools" in lines
    assert "  server        mcp-git 1.2" in lines
    assert "  capabilities  history, blame" in lines
    assert "  weight        0.5" in lines
    assert "    Ready  yes  Ready  12 tools" in lines
    assert "  strategy      weighted  panicking: so few instances are trusted that all get calls" in lines
    assert "  breaker       half-open" in lines
    assert "  scale         2 of 3 instances ready; 1 to 4 allowed" in lines
    assert "  waiting       7 calls" in lines
    rows = [" ".join(line.split()) for line in lines[-2:]]
    since = "MCP 2025-11-25 since 2023-11-14 22:13:20Z"
    marks = "breaker open, gets no calls, leased, weight 0.5, retiring"
    assert rows == [
        f"git-1 ready healthy pid 4711 {since} 0 in flight 3 calls 42% CPU 63 MiB",
        f"git-2 ready suspect 1 in flight 0 calls {marks}",
    ]
    assert json.loads(fairlead("status", "git", "--json").output) == server


def test_one_of_a_kind_is_not_many(fairlead, service: RestService):
    instance = {"id": "x-1", "state": "ready", "callsTotal": 1, "inRotation": True, "detail": ""}
    one = {"tools": 1, "resources": 1, "prompts": 1, "callsWaiting": 1, "wantedInstances": 1}
    service.answers = {"GET /api/servers/x": (200, server_status("x", instances=[instance], **one))}
    lines = fairlead("status", "x").output.splitlines()
    assert "  offers        1 tool, 1 resource, 1 prompt" in lines
    assert "  waiting       1 call" in lines
    assert "  scale         1 of 1 instance ready; 1 to 1 allowed" in lines
    assert lines[-1].endswith("1 call")


def test_the_help_of_restart_says_that_it_rolls(fairlead):
    assert "these come first, and no call is lost" in " ".join(fairlead("restart", "--help").output.split())
    assert "Stop a server and start it again" not in fairlead("--help").output


def test_a_bare_instance_and_server_can_be_shown(fairlead, service: RestService):
    instance = {"id": "x-1", "state": "starting", "callsTotal": 0, "detail": "handshake"}
    service.answers = {"GET /api/servers/x": (200, server_status("x", "starting", "", instances=[instance]))}
    lines = fairlead("status", "x").output.splitlines()
    assert " ".join(lines[-1].split()) == "x-1 starting healthy 0 in flight 0 calls handshake"


def test_an_idle_server_is_well(fairlead, service: RestService):
    status = server_status("git", "idle", "started by the next call", tools=12)
    service.answers = {"POST /api/servers/git/start": (200, {}), "GET /api/servers/git": (200, status)}
    result = fairlead("start", "git")
    assert result.exit_code == 0
    assert "git     idle   12     started by the next call" in result.output
    service.answers["POST /api/servers/git/stop"] = (200, {})
    assert fairlead("stop", "git").exit_code == 1


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
