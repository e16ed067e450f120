from importlib import import_module
from typing import Any

import click
import pytest
from click.testing import CliRunner

from fairlead.app.settings import Settings
from fairlead.cli.gitops import gitops_command
from fairlead.cli.gitops_table import GITOPS_COMMANDS
from fairlead.cli.main import cli
from fairlead.stores.state import GITOPS, StateFolder


@pytest.mark.parametrize("name", GITOPS_COMMANDS)
def test_every_command_can_be_had_and_has_a_short_text(name: str):
    module, prefix, summary = GITOPS_COMMANDS[name]
    command = gitops_command.get_command(click.Context(gitops_command), name)
    assert command is getattr(import_module(f"fairlead.cli.{module}"), f"{prefix}_command")
    assert command.name == name
    assert command.help is not None
    assert summary.endswith(".")
    assert len(summary) <= 60


def test_help_lists_every_command():
    result = CliRunner().invoke(cli, ["gitops", "--help"])
    assert result.exit_code == 0
    for name in GITOPS_COMMANDS:
        assert f"\n  {name} " in result.output


def test_an_unknown_command_is_wrong_usage():
    result = CliRunner().invoke(cli, ["gitops", "nonesuch"])
    assert result.exit_code == 2
    assert "nonesuch" in result.stderr


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Settings, bool]]:
    """What the service would have been run with."""
    calls: list[tuple[Settings, bool]] = []

    def run(settings: Settings, *, stop_when_stdin_closes: bool = False) -> int:
        calls.append((settings, stop_when_stdin_closes))
        return 7

    monkeypatch.setattr("fairlead.cli.gitops_service.run_gitops", run)
    monkeypatch.setattr("fairlead.cli.gitops_service.configure", lambda *_, **__: None)
    return calls


@pytest.mark.parametrize("command", [["gitops"], ["gitops", "run"]])
def test_without_a_command_the_service_runs(fairlead, started: list[Any], command: list[str]):
    result = fairlead(*command, "--gitops-port", "0", "--stop-with-stdin")
    assert result.exit_code == 7
    ((settings, with_stdin),) = started
    assert (settings.gitops_port, with_stdin) == (0, True)


def test_a_port_that_is_taken_is_told_before_the_service_starts(fairlead, started: list[Any]):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        result = fairlead("gitops", "--gitops-port", str(server.getsockname()[1]))
    assert result.exit_code == 1
    assert "--gitops-port or FAIRLEAD_GITOPS_PORT" in result.stderr
    assert started == []


def test_restore_is_refused_while_the_controller_runs(fairlead, state: StateFolder):
    state.prepare()
    with state.of(GITOPS).lock():
        result = fairlead("restore", "any.backup", "--yes")
    assert result.exit_code == 1
    assert "Fairlead's service gitops already runs with this state folder" in result.stderr
    assert "fairlead down" in result.stderr
