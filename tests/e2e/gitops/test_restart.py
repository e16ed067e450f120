"""Either service is killed in the middle of a deployment: it goes on where it was, and ends well.

A server that is replaced comes up while the orchestrator is told of it: a deployment is then in its write.
One that is new comes up afterwards: it is then in its health gate.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from e2e.gitops.conftest import Place
from e2e.gitops.installation import branches, fleet, light, pushed
from e2e.gitops.team import (
    BASE,
    Gate,
    arguments_of,
    begin,
    blocked,
    deployments_of,
    echo,
    steps_of,
    take_over,
)
from e2e.system import wait_until

BOTH = ("--era", "both")


@pytest.fixture(scope="module")
def installed(place: Place) -> Place:
    take_over(place, str(place.bare))
    return place


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path)


def changed(place: Place, gate: Gate, where: str, *arguments: str) -> str:
    """A commit whose deployment stops there; `light` has other arguments in both."""
    if where == "write":
        servers = {"light": gate.before(light(*BOTH, *arguments))}
    else:
        servers = {"light": light(*BOTH), "second": gate.before(light(*arguments))}
    commit = pushed(place.work, {BASE: fleet(servers)}, f"stops in its {where}")
    gate.wait_reached()
    if where == "health":
        in_health_gate(place, commit)
    return commit


def in_health_gate(place: Place, commit: str) -> None:
    def stands() -> str:
        return place.installation.raw("/api/applications/team").text + str(deployments_of(place, commit))

    wait_until(
        lambda: [steps_of(each)[-1:] for each in deployments_of(place, commit)] == [["health"]], stands
    )


def the_deployment(place: Place, commit: str) -> dict[str, Any]:
    [found] = deployments_of(place, commit)
    return found


@pytest.mark.parametrize("where", ["write", "health"])
def test_the_controller_is_killed_and_goes_on(installed: Place, gate: Gate, where: str):
    installation = installed.installation
    good = begin(installed)
    commit = changed(installed, gate, where)
    before = the_deployment(installed, commit)
    installation.kill("gitops")
    installation.start("gitops")
    wait_until(lambda: installation.raw("/api/applications/team").is_success, "it knows the application")
    assert installation.application("team")["applied"] == good
    gate.open()
    installation.until("team", applied=commit, reason="Synced")
    ended = the_deployment(installed, commit)
    assert (ended["id"], ended["state"], ended["previous"]) == (before["id"], "succeeded", good)
    assert steps_of(ended)[-2:] == ["health", "finish"]
    assert arguments_of(installed)[-1] == "both"
    assert "after" in echo(installed, "after")


def test_a_bad_commit_is_taken_back_by_the_controller_that_comes_after_a_kill(installed: Place, gate: Gate):
    installation = installed.installation
    good = begin(installed)
    before = installation.spec()
    bad = changed(installed, gate, "health", "--exit-at-once", "3")
    first = the_deployment(installed, bad)
    installation.kill("gitops")
    installation.start("gitops")
    gate.open()
    installation.until("team", applied=good, reason="BlockedCommit")
    ended = the_deployment(installed, bad)
    assert (ended["id"], ended["state"]) == (first["id"], "rolled-back")
    assert installation.spec() == before
    assert "as before" in echo(installed, "as before")
    wait_until(lambda: f"fairlead/revert/team/{bad[:12]}" in branches(installed.bare, "fairlead"), "a revert")


@pytest.mark.parametrize("killed", [False, True])
def test_a_newer_commit_overtakes_one_that_is_stuck(installed: Place, gate: Gate, killed: bool):
    installation = installed.installation
    begin(installed)
    stuck = changed(installed, gate, "health")
    if killed:
        installation.kill("gitops")
    newer = pushed(installed.work, {BASE: fleet({"light": light("--era", "modern")})}, "its fix")
    if killed:
        installation.start("gitops")
    installation.until("team", applied=newer, reason="Synced")
    assert sorted(installation.spec()["servers"]) == ["light"]
    assert arguments_of(installed)[-1] == "modern"
    assert the_deployment(installed, stuck)["state"] == "superseded"
    assert stuck not in blocked(installed)


@pytest.mark.parametrize("where", ["write", "health"])
def test_the_orchestrator_is_killed_and_all_converges_when_it_is_back(
    installed: Place, gate: Gate, where: str
):
    installation = installed.installation
    begin(installed)
    commit = changed(installed, gate, where)
    installation.kill("orchestrator")
    gate.open()
    installation.start("orchestrator")
    installation.until("team", applied=commit, reason="Synced")
    assert arguments_of(installed)[-1] == "both"
    assert the_deployment(installed, commit)["state"] == "succeeded"
    assert "back" in echo(installed, "back")


def test_a_commit_waits_for_an_orchestrator_that_is_away(installed: Place):
    installation = installed.installation
    good = begin(installed)
    installation.kill("orchestrator")
    commit = pushed(installed.work, {BASE: fleet({"light": light(*BOTH)})}, "meanwhile")
    installation.until("team", applied=good, reason="TargetAway")
    installation.start("orchestrator")
    installation.until("team", applied=commit, reason="Synced")
    assert commit not in blocked(installed)
    assert "there" in echo(installed, "there")
