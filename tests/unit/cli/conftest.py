from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fairlead.cli.main import cli
from fairlead.stores.state import GITOPS, StateFolder
from fairlead.stores.tokens import TokenStore
from support.rest_service import RestService
from unit.cli.fleet_service import FleetService

Fairlead = Callable[..., Result]


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path / "state")


@pytest.fixture
def fairlead(tmp_path: Path, state: StateFolder, monkeypatch: pytest.MonkeyPatch) -> Fairlead:
    """Runs `fairlead ...` in a folder of its own, with a state folder of its own."""
    monkeypatch.chdir(tmp_path)
    for name in ("FAIRLEAD_TOKEN", "FAIRLEAD_SETTINGS", "FAIRLEAD_CONFIG", "FAIRLEAD_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FAIRLEAD_STATE_DIR", str(state.root))

    def run(*arguments: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(cli, arguments, input=stdin, prog_name="fairlead")

    return run


@pytest.fixture
def service(state: StateFolder) -> Iterator[RestService]:
    """A service that runs with the state folder (this process is its process)."""
    state.prepare()
    TokenStore(state).ensure_local()
    with RestService() as running:
        state.write_run({"orchestrator": running.address}, "0")
        yield running


@pytest.fixture
def fleet(state: StateFolder) -> Iterator[FleetService]:
    """A fleet that runs with the state folder and can be changed."""
    state.prepare()
    TokenStore(state).ensure_local()
    with FleetService() as running:
        state.write_run({"orchestrator": running.address}, "0")
        yield running


@pytest.fixture
def controller(state: StateFolder, monkeypatch: pytest.MonkeyPatch) -> Iterator[RestService]:
    """A GitOps controller that runs with the state folder, on a terminal of 200 columns."""
    monkeypatch.setenv("COLUMNS", "200")
    state.prepare()
    TokenStore(state).ensure_local()
    with RestService() as running:
        state.of(GITOPS).write_run({GITOPS: running.address}, "0")
        yield running
