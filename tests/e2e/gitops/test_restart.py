"""Either service is killed in the middle of a deployment: it goes on where it was, and ends well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from e2e.gitops.conftest import Place
from e2e.gitops.installation import branches, fleet, light, pushed
from e2e.gitops.team import (
    BASE,
    arguments_of,
    begin,
    blocked,
    deployments_of,
    echo,
    gated,
    steps_of,
    take_over,
)
from e2e.system import wait_until


@pytest.fixture(scope="module")
def installed(place: Place) -> Place:
    take_over(place, str(place.bare))
    return place


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """What a server waits for that is committed with `gated`."""
    return tmp_path / "open"


def in_health_gate(place: Place, commit: str) -> dict[str, Any]:
    """The deployment of the commit, once its health is waited for."""

    def there() -> dict[str, Any] | None:
        found = [each for each in deployments_of(place, commit) if steps_of(each)[-1:] == ["health"]]
        return found[0] if found else None

    def stands() -> str:
        return place.installation.raw("/api/applications/team").text + str(deployments_of(place, commit))

    return wait_until(there, stands)  # type: ignore[return-value]


def test_the_controller_is_killed_in_the_health_gate_and_goes_on(installed: Place, gate: Path):
    installation = installed.installation
    good = begin(installed)
    commit = pushed(installed.work, {BASE: fleet({"light": gated(gate, "--era", "both")})}, "slow")
    before = in_health_gate(installed, commit)
    installation.kill("gitops")
    installation.start("gitops")
    assert in_health_gate(installed, commit)["id"] == before["id"]
    assert installation.application("team")["applied"] == good
    gate.touch()
    installation.until("team", applied=commit, reason="Synced")
    [ended] = deployments_of(installed, commit)
    assert (ended["id"], ended["state"]) == (before["id"], "succeeded")
    assert ended["previous"] == good
    assert arguments_of(installed)[-1] == "both"
    assert "after" in echo(installed, "after")


def test_a_bad_commit_is_taken_back_by_the_controller_that_comes_after_a_kill(installed: Place, gate: Path):
    installation = installed.installation
    good = begin(installed)
    before = arguments_of(installed)
    server = gated(gate, "--exit-at-once", "3")
    bad = pushed(installed.work, {BASE: fleet({"light": server})}, "ends by and by")
    first = in_health_gate(installed, bad)
    installation.kill("gitops")
    installation.start("gitops")
    in_health_gate(installed, bad)
    gate.touch()
    installation.until("team", applied=good, reason="BlockedCommit")
    [ended] = deployments_of(installed, bad)
    assert (ended["id"], ended["state"]) == (first["id"], "rolled-back")
    assert arguments_of(installed) == before
    assert "as before" in echo(installed, "as before")
    wait_until(lambda: f"fairlead/revert/team/{bad[:12]}" in branches(installed.bare, "fairlead"), "a revert")


def test_a_newer_commit_overtakes_one_that_was_stuck_when_the_controller_was_killed(
    installed: Place, gate: Path
):
    installation = installed.installation
    begin(installed)
    stuck = pushed(installed.work, {BASE: fleet({"light": gated(gate)})}, "never healthy")
    in_health_gate(installed, stuck)
    installation.kill("gitops")
    newer = pushed(installed.work, {BASE: fleet({"light": light("--era", "modern")})}, "its fix")
    installation.start("gitops")
    installation.until("team", applied=newer, reason="Synced")
    assert arguments_of(installed)[-1] == "modern"
    assert [each["state"] for each in deployments_of(installed, stuck)] == ["superseded"]
    assert stuck not in blocked(installed)


def test_the_orchestrator_is_killed_in_mid_deployment_and_converges_when_it_is_back(
    installed: Place, gate: Path
):
    installation = installed.installation
    begin(installed)
    commit = pushed(installed.work, {BASE: fleet({"light": gated(gate, "--era", "both")})}, "slow")
    in_health_gate(installed, commit)
    installation.kill("orchestrator")
    gate.touch()
    installation.start("orchestrator")
    installation.until("team", applied=commit, reason="Synced")
    assert arguments_of(installed)[-1] == "both"
    assert [each["state"] for each in deployments_of(installed, commit)] == ["succeeded"]
    assert "back" in echo(installed, "back")


def test_a_commit_waits_for_an_orchestrator_that_is_away(installed: Place):
    installation = installed.installation
    good = begin(installed)
    installation.kill("orchestrator")
    commit = pushed(installed.work, {BASE: fleet({"light": light("--era", "both")})}, "meanwhile")
    installation.until("team", applied=good, reason="TargetAway")
    installation.start("orchestrator")
    installation.until("team", applied=commit, reason="Synced")
    assert commit not in blocked(installed)
    assert "there" in echo(installed, "there")
