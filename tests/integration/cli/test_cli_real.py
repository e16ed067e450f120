"""The command line and the real orchestrator, with light servers: each command once, end to end."""

import json
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from integration.cli.conftest import Commands, wait_until

LIGHT = Path(__file__).parents[2] / "support" / "light_server.py"
FLEET = f"""\
version: "1"
servers:
  light:
    command: {sys.executable}
    args: [-S, -E, {LIGHT}]
    capabilities: [demonstration]
  locked:
    command: {sys.executable}
    environment:
      KEY: ${{LOCKED_KEY}}
  off:
    command: {sys.executable}
    enabled: false
"""


@pytest.fixture
def fleet(commands: Commands) -> Path:
    path = commands.folder / "fleet.yml"
    path.write_text(FLEET)
    return path


def start(commands: Commands, fleet: Path, *options: str):
    return commands.fairlead("up", "--config", str(fleet), "--port", "0", *options)


def test_every_command_upon_a_running_fleet(commands: Commands, fleet: Path):
    up = start(commands, fleet, "--detach")
    assert up.ended() == 0, up.stderr
    assert "light: ready" in up.stdout
    assert "locked: blocked, needs LOCKED_KEY" in up.stdout
    assert "off: disabled" in up.stdout
    holder = commands.state.holder()
    assert holder is not None

    status = json.loads(commands.run("status", "--json").stdout)
    assert {row["id"]: row["state"] for row in status["servers"]} == {
        "light": "ready",
        "locked": "blocked",
        "off": "disabled",
    }
    assert "light" in commands.run("status", "light").stdout
    call = commands.run("call", "light", "echo", '{"text": "안녕"}')
    assert (call.ended(), call.stderr) == (0, "")
    assert "안녕" in call.stdout
    assert commands.run("call", "light", "nonesuch").ended() == 1
    unknown = commands.run("call", "nonesuch", "echo")
    assert unknown.ended() == 1
    assert "error: " in unknown.stderr

    stopped = commands.run("stop", "light", "--json")
    assert (stopped.ended(), json.loads(stopped.stdout)["state"]) == (0, "stopped")
    for action in ("start", "restart"):
        done = commands.run(action, "light", "--json")
        assert (done.ended(), json.loads(done.stdout)["state"]) == (0, "ready"), done.stderr
    assert "started, pid" in commands.run("logs", "light").stdout
    assert '"event"' in commands.run("logs").stdout
    blocked = commands.run("start", "locked")
    assert blocked.ended() == 1

    value = json.loads(commands.run("token", "add", "ci", "--json").stdout)["token"]
    commands.environment["FAIRLEAD_TOKEN"] = value
    wait_until(lambda: commands.run("status").ended() == 0, "the new token is taken")
    commands.run("token", "revoke", "ci")
    wait_until(lambda: commands.run("status").ended() == 1, "the revoked token is refused")
    del commands.environment["FAIRLEAD_TOKEN"]

    children = psutil.Process(holder.pid).children(recursive=True)
    assert commands.run("down").ended() == 0
    assert [child for child in children if child.is_running()] == []
    assert not commands.state.run_file.exists()


def test_the_foreground_shows_what_becomes_of_a_server(commands: Commands, fleet: Path):
    up = start(commands, fleet)
    up.told("Ctrl-C, or")
    status = json.loads(commands.run("status", "light", "--json").stdout)
    os.kill(status["instances"][0]["pid"], signal.SIGKILL)
    up.told("killed by SIGKILL")
    up.told("light: ready")
    up.process.send_signal(signal.SIGINT)
    assert up.ended() == 0, up.stderr
    assert "stopped after" in up.stderr
    assert commands.state.holder() is None


def test_a_bad_fleet_file_is_quoted(commands: Commands, fleet: Path):
    fleet.write_text(FLEET + "    wight: 1\n")
    up = start(commands, fleet)
    assert up.ended() == 1
    assert f"{fleet}:14:5: error: servers.off.wight" in up.stderr
    assert "Traceback" not in up.stderr


def test_the_orchestrator_alone_logs_to_stdout(commands: Commands, fleet: Path):
    service = commands.fairlead("orchestrator", "--config", str(fleet), "--port", "0")
    service.told('"ready for clients"')
    second = commands.fairlead("orchestrator", "--config", str(fleet), "--port", "0")
    assert second.ended() == 1
    assert "error: Fairlead already runs with this state folder" in second.stderr
    assert f"process {service.process.pid}" in second.stderr
    service.process.send_signal(signal.SIGTERM)
    assert service.ended() == 0
    for line in service.stdout.splitlines():
        assert {"time", "level", "event", "logger"} <= json.loads(line).keys()
