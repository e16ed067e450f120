"""The commands that change a running fleet, as processes, upon the real service with light servers."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integration.cli.conftest import Command, Commands, wait_until

LIGHT = Path(__file__).parents[2] / "support" / "light_server.py"
FLEET = {
    "version": "1",
    "servers": {
        "light": {
            "command": sys.executable,
            "args": ["-S", "-E", str(LIGHT)],
            "scaling": {"minInstances": 2, "maxInstances": 2},
            "circuitBreaker": {"minimumCalls": 2, "failureRate": 50, "openFor": "600s"},
            "healthCheck": {"errorPatterns": ["always fails"]},
        }
    },
}
AS_LIGHT = ("--command", sys.executable, "--arg", "-S", "--arg", "-E", "--arg", str(LIGHT))


@pytest.fixture
def running(commands: Commands) -> Iterator[Commands]:
    """A detached service with `light` in its file."""
    path = commands.folder / "fleet.yml"
    path.write_text(json.dumps(FLEET))
    up = commands.run("up", "--config", str(path), "--port", "0", "--detach")
    assert up.ended() == 0, up.stdout + up.stderr
    yield commands
    assert path.read_text() == json.dumps(FLEET)  # live edits are not for the file
    assert commands.run("down").ended() == 0


def good(command: Command) -> Command:
    assert command.ended() == 0, command.stdout + command.stderr
    return command


def told(commands: Commands, *arguments: str) -> Any:
    return json.loads(good(commands.run(*arguments, "--json")).stdout)


def live_edits(commands: Commands) -> dict[str, Any]:
    return {row["key"]: row["value"] for row in told(commands, "overrides")["overrides"]}


def test_a_server_comes_and_goes_and_live_edits_are_taken_back(running: Commands):
    added = told(running, "add", "new", *AS_LIGHT, "--env", "SIGN=😀")
    assert added["change"]["started"] == ["new"]
    assert added["server"]["state"] == "ready"
    environment = good(running.run("call", "new", "environment")).stdout
    assert json.loads(environment)["SIGN"] == "😀"
    again = running.run("add", "new", *AS_LIGHT)
    assert again.ended() == 1
    assert "there is a server 'new' already" in again.stderr

    assert "3 to 3 allowed" in good(running.run("scale", "light", "3")).stdout
    edits = live_edits(running)
    assert edits.keys() == {
        "servers.new",
        "servers.light.scaling.minInstances",
        "servers.light.scaling.maxInstances",
    }
    removed = good(running.run("remove", "new", "--yes")).stdout
    assert "new  stopped, after its calls" in removed
    assert "new stood in no file: it was a live edit itself" in removed
    gone = running.run("call", "new", "echo", '{"text": "x"}')
    assert gone.ended() == 1

    keys = [f"servers.light.scaling.{bound}Instances" for bound in ("min", "max")]
    assert edits[keys[0]] == edits[keys[1]] == 3
    dropped = told(running, "overrides", "--drop", keys[0], "--drop", keys[1])
    assert dropped["adjusted"] == ["light"]
    assert live_edits(running) == {}
    unknown = running.run("overrides", "--drop", keys[0])
    assert unknown.ended() == 1


def test_balancing_breakers_and_draining(running: Commands):
    balance = told(running, "strategy", "round-robin")
    assert [row["strategy"] for row in balance["servers"]] == ["round-robin"]
    assert told(running, "strategy", "weighted", "--server", "light")["servers"][0]["strategy"] == "weighted"
    assert live_edits(running) == {
        "loadBalancing.strategy": "round-robin",
        "servers.light.strategy": "weighted",
    }
    for _ in range(2):
        assert running.run("call", "light", "fail").ended() == 1
    assert states(told(running, "breakers")["breakers"])["light"] == "open"
    refused = running.run("call", "light", "echo", '{"text": "x"}')
    assert refused.ended() == 1
    assert told(running, "breakers", "--reset", "light")["state"] == "closed"
    assert good(running.run("call", "light", "echo", '{"text": "x"}')).stdout == "x\n"

    good(running.run("drain", "light", "--instance", "light-1"))
    wait_until(lambda: members(running) == ["light-2", "light-3"], "another instance takes its place")
    assert "stopped" in good(running.run("drain", "light")).stdout
    assert (
        "It is stopped: `fairlead start light` starts it." in good(running.run("scale", "light", "1")).stdout
    )
    assert told(running, "start", "light")["state"] == "ready"


def test_top_shows_the_fleet_once(running: Commands):
    good(running.run("call", "light", "echo", '{"text": "x"}'))
    frame = told(running, "top", "--once", "--interval", "0.5")
    [light] = frame["servers"]
    assert (light["id"], light["state"], light["ready"], light["breaker"]["state"]) == (
        *("light", "ready", 2),
        "closed",
    )
    assert sorted(row["id"] for row in light["instances"]) == ["light-1", "light-2"]
    assert frame["traffic"]["callsPerSecond"] == 0
    table = good(running.run("top", "--once", "--interval", "0.5", "--filter", "lig")).stdout
    assert "light-2" in table


def states(breakers: list[Any]) -> dict[str, str]:
    return {row["id"]: row["state"] for row in breakers}


def members(commands: Commands) -> list[str]:
    return [row["id"] for row in told(commands, "status", "light")["instances"] if row["state"] == "ready"]
