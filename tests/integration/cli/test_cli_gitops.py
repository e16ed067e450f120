"""`fairlead gitops ...` and `fairlead drift` upon the real services: a checkout, and a repository."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from integration.cli.conftest import Command, Commands, wait_until
from integration.cli.test_cli_terminal import Terminal
from support.repositories import Repository
from support.stack import fleet, light

APP = "applications/files.yml"
FILE = "apps/files/base/files/a.json"


def good(commands: Commands, *arguments: str) -> str:
    """What it prints."""
    command = commands.run(*arguments)
    assert command.ended() == 0, command.stdout + command.stderr
    return command.stdout


def data(commands: Commands, *arguments: str) -> Any:
    return json.loads(good(commands, *arguments, "--json"))


def until(commands: Commands, what: str, *arguments: str) -> Command:
    """Run it again and again until it prints so."""

    def found() -> Command | None:
        command = commands.run(*arguments)
        return command if what in command.stdout else None

    result: Command = wait_until(found, f"{what!r} in the output of {arguments}")
    return result


def fleet_of(*servers: str, **more: Any) -> str:
    return fleet({name: light() for name in servers} | more)


@pytest.fixture
def checkout(commands: Commands) -> Repository:
    """With a fleet file and both services that run there."""
    repository = Repository(commands.folder / "checkout")
    repository.commit({"fleet.yml": fleet_of("a")}, "first")
    config = str(repository.path / "fleet.yml")
    up = commands.fairlead("up", "--detach", "--port", "0", "--config", config)
    assert up.ended() == 0, up.stdout + up.stderr
    until(commands, "Synced", "gitops", "apps")
    return repository


def test_a_checkout_from_observed_to_enforced_and_back(commands: Commands, checkout: Repository):
    (checkout.path / "fleet.yml").write_text(fleet_of("a", "b"))
    drift = until(commands, "uncommitted", "drift", "--check", "--exit-code")
    assert drift.process.returncode == 1
    assert "fleet.yml servers.b" in drift.stdout
    assert "Git     (nothing)" in drift.stdout
    observed = commands.run("gitops", "sync", "checkout")
    assert observed.ended() == 1
    assert "`fairlead gitops enable`" in observed.stderr
    second = checkout.commit({}, "second")

    assert "Git is in charge" in good(commands, "gitops", "enable")
    until(commands, f"{second[:12]}  -", "gitops", "apps")
    third = checkout.commit({"fleet.yml": fleet_of("a", "b", "c")}, "third")
    until(commands, third, "gitops", "show", "checkout", "--json")
    assert "as Git says already" in good(commands, "gitops", "sync", "checkout", "--wait")
    history = data(commands, "gitops", "history", "checkout")["deployments"]
    assert [history[0][name] for name in ("commit", "state")] == [third, "succeeded"]
    assert "  apply " in good(commands, "gitops", "deployment", history[0]["id"])

    back = good(commands, "gitops", "rollback", "checkout", "--wait")
    assert back.splitlines()[0].endswith(f": {second[:12]}")
    assert back.splitlines()[-1].startswith("succeeded after ")
    assert f"{third[:12]}  " in good(commands, "gitops", "commits")
    assert "blocked for checkout" in good(commands, "gitops", "commits", "checkout")
    assert "is blocked no more" in good(commands, "gitops", "unblock", "checkout", third[:12])
    until(commands, f"{third[:12]}  -", "gitops", "apps")

    assert "the fleet file is in charge" in good(commands, "gitops", "disable")
    until(commands, "observe", "gitops", "apps")
    assert "service-started" in good(commands, "events", "--gitops", "--since", "0")
    assert "service started" in good(commands, "audit", "--gitops")
    assert checkout.git("status", "--porcelain", "--ignored") == ""


def test_a_commit_that_does_not_become_healthy(commands: Commands, checkout: Repository):
    good(commands, "gitops", "enable")
    bad = checkout.commit({"fleet.yml": fleet_of("a", bad={"command": "/bin/false"})}, "bad")
    waited = until(commands, "BlockedCommit", "gitops", "sync", "--wait")
    assert waited.process.returncode == 1
    told = good(commands, "gitops", "history", "--state", "rolled-back")
    assert bad[:12] in told
    assert "bad is failed" in told
    assert commands.run("gitops", "health").ended() == 1


def test_it_is_coloured_on_a_terminal_and_not_with_no_color(commands: Commands, checkout: Repository):
    (checkout.path / "fleet.yml").write_text(fleet_of("a", "b"))
    until(commands, "uncommitted", "drift")
    for environment, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        argv = [sys.executable, "-m", "fairlead.cli.main", "drift", "--check"]
        terminal = Terminal(argv, {**commands.environment, "COLUMNS": "100", **environment})
        assert terminal.ended() == 0
        assert "servers.b" in terminal.screen
        assert ("\x1b[33m" in terminal.screen) is coloured


def test_what_drifts_is_told_by_the_live_events(commands: Commands, checkout: Repository):
    seldom = "from fairlead.cli import drift, main; drift.EVERY = 3600.0; main.main()"
    watch = commands.start([sys.executable, "-c", seldom, "drift", "--watch"])
    wait_until(lambda: "looked" in watch.stdout, "it shows what is there")
    (checkout.path / "fleet.yml").write_text(fleet_of("a", "b"))
    wait_until(lambda: "uncommitted" in watch.stdout, "the edit is told")
    watch.process.terminate()
    watch.process.wait()


class Team:
    """A repository with an application of files, and the controller that follows it."""

    def __init__(self, commands: Commands, **sync: Any) -> None:
        self.repository = Repository(commands.folder / "team")
        self.file = commands.folder / "host" / "a.json"
        self.file.parent.mkdir()
        document = {
            "version": "1",
            "name": "files",
            "target": {"files": {"root": str(self.file.parent)}},
            "path": "apps/files",
            "render": "files",
            "sync": {"propose": False, **sync},
        }
        self.first = self.repository.commit({APP: json.dumps(document), FILE: '{"x": 1}\n'}, "first")
        config = commands.folder / "config"
        config.mkdir()
        sources = {"team": {"url": str(self.repository.path), "poll": "1s"}}
        (config / "gitops.yml").write_text(json.dumps({"version": "1", "sources": sources}))
        file = str(config / "mcp-servers.yml")
        service = commands.fairlead("gitops", "--gitops-port", "0", "--config", file)
        wait_until(
            lambda: commands.gitops.read_run() is not None or service.process.poll() is not None,
            "the controller runs",
        )
        assert service.process.poll() is None, service.stdout + service.stderr

    @property
    def live(self) -> Any:
        return json.loads(self.file.read_text())


def waiting(commands: Commands, commit: str) -> str:
    """The deployment of a commit, once it waits for a person."""

    def found() -> str | None:
        rows = data(commands, "gitops", "history", "--state", "waiting")["deployments"]
        return next((str(row["id"]) for row in rows if row["commit"] == commit), None)

    result: str = wait_until(found, f"a deployment of {commit} that waits")
    return result


def test_holds_suspension_and_a_conflict_that_a_person_decides(commands: Commands):
    team = Team(commands)
    until(commands, f"{team.first[:12]}  -", "gitops", "apps")
    assert team.live == {"x": 1}
    assert team.first[:12] in good(commands, "gitops", "sources")
    good(commands, "gitops", "hold", "files", "a.json#x", "--for", "2h", "--reason", "incident 42")
    assert "incident 42" in good(commands, "gitops", "show", "files")
    good(commands, "gitops", "release", "files", "a.json#x")
    good(commands, "gitops", "suspend", "files")
    team.repository.commit({FILE: '{"x": 2}\n'}, "second")
    stayed = commands.run("gitops", "sync", "files", "--wait")
    assert (stayed.ended(), "Suspended" in stayed.stdout) == (1, True), stayed.stdout + stayed.stderr
    team.file.write_text('{"x": 3}\n')
    good(commands, "gitops", "resume", "files")

    until(commands, "waits for a person", "gitops", "diff", "files", "--check")
    told = good(commands, "gitops", "diff", "files")
    assert "before  1\n    live    3\n    Git     2\n" in told
    assert "fairlead gitops resolve files a.json x --take remote" in told
    good(commands, "gitops", "resolve", "files", "a.json", "x", "--take", "remote")
    wait_until(lambda: team.live == {"x": 2}, "Git's version is there")
    assert "conflict" not in good(commands, "drift", "files", "--check")


def test_what_waits_for_approval_is_approved_and_cancelled(commands: Commands):
    team = Team(commands, approval=True)
    until(commands, "AwaitingApproval", "gitops", "apps")
    approved = good(commands, "gitops", "approve", waiting(commands, team.first), "--wait")
    assert approved.splitlines()[-1].startswith("succeeded after ")
    assert team.live == {"x": 1}
    second = waiting(commands, team.repository.commit({FILE: '{"x": 2}\n'}, "second"))
    assert "cancelled" in good(commands, "gitops", "cancel", second)
    again = commands.run("gitops", "approve", second)
    assert again.ended() == 1
    assert "it waits for nobody" in again.stderr
    assert team.live == {"x": 1}
