"""The one test of the defaults: `make up` in a home that never saw Fairlead. It needs ports 3002 and 5000."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.environments import ROOT
from e2e.system import READY, SERVERS, System, listens
from e2e.wire import Wire

PORTS = (3002, 5000)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[System]:
    system = System(tmp_path, home=True)
    yield system
    system.end()


def make_up(system: System) -> str:
    """`make up`; the packages of Fairlead itself are not installed anew in the middle of a test run."""
    done = subprocess.run(
        ["make", "-o", ".venv/.runtime", "up", "ARGS=--detach"],
        cwd=ROOT,
        env=system.environment,
        capture_output=True,
        text=True,
        timeout=READY,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def tools(system: System) -> list[str]:
    wire = Wire(system.endpoint, system.local_token)
    wire.initialize()
    names = [tool["name"] for tool in wire.ask("tools/list")["result"]["tools"]]
    wire.close()
    return names


def test_make_up_serves_every_server_but_the_one_that_lacks_its_key(home: System):
    for port in PORTS:
        assert not listens(port), f"port {port} is taken: this test needs it free, stop what listens there"

    told = make_up(home)
    assert home.url == "http://127.0.0.1:3002"
    home.wait_ready(*SERVERS)
    assert "claude mcp add --transport http fairlead http://127.0.0.1:3002/mcp" in told
    assert "needs TWENTYFIRST_API_KEY" in told
    assert str(home.state / "workspace") in told

    magic = home.server("magic")
    assert magic["state"] == "blocked"
    assert magic["message"] == "needs TWENTYFIRST_API_KEY"
    assert home.server("dev-tools")["state"] == "disabled"
    names = tools(home)
    assert len(names) == 30
    assert not [name for name in names if name.startswith(("magic__", "dev-tools__"))]
    token = home.local_token
    home.down()

    make_up(home)
    home.wait_ready(*SERVERS)
    assert home.local_token == token
    assert tools(home) == names
    home.down()
    assert not listens(3002)
