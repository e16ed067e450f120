"""A commit that does not run is taken back by itself, with all that came with it; a person may end one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from e2e.gitops.conftest import Place
from e2e.gitops.installation import branches, fleet, light, pushed
from e2e.gitops.team import (
    APP,
    BASE,
    Gate,
    arguments_of,
    begin,
    blocked,
    declared,
    deployments_of,
    echo,
    steps_of,
    take_over,
)
from e2e.system import wait_until

QUICK = {"timeouts": {"start": "1s"}}
BAD: dict[str, dict[str, Any]] = {
    "exits": light("--exit-at-once", "3"),
    "is missing": {"command": "/no/such/program"},
    "never answers": light("--no-initialize-answer") | QUICK,
    "no such version": {"package": "npm:@modelcontextprotocol/server-everything@0.0.0"},
}


@pytest.fixture(scope="module")
def installed(place: Place) -> Place:
    take_over(place, str(place.bare))
    return place


def taken_back(place: Place, bad: str, good: str) -> dict[str, Any]:
    """The deployment of the bad commit, once all is as it should be afterwards."""
    installation = place.installation
    installation.until("team", applied=good, reason="BlockedCommit")
    assert blocked(place)[-1] == bad
    [ended] = deployments_of(place, bad)
    assert ended["message"]
    return ended


@pytest.mark.parametrize("bad", BAD)
def test_a_new_server_that_does_not_come_up_takes_the_whole_commit_back(installed: Place, bad: str):
    installation = installed.installation
    good = begin(installed)
    before = installation.spec()
    servers = {"light": light("--label", "with it"), "bad": BAD[bad]}
    with installation.hearing("deployment-completed") as heard:
        commit = pushed(installed.work, {BASE: fleet(servers)}, bad)
        ended = taken_back(installed, commit, good)
        assert heard.until("deployment-completed", commit=commit)["state"] == ended["state"]
    assert ended["state"] == "rolled-back"
    assert "bad" in ended["message"]
    assert steps_of(ended)[-1] == "roll-back"
    assert installation.spec() == before
    assert "as before" in echo(installed, "as before")
    [told] = [each for each in installation.application("team")["blocked"] if each["commit"] == commit]
    assert "bad" in told["reason"]


def test_the_revert_that_is_proposed_has_the_good_version_and_can_be_merged(installed: Place):
    installation = installed.installation
    good = begin(installed)
    bad = pushed(installed.work, {BASE: fleet({"light": BAD["exits"]})}, "bad")
    taken_back(installed, bad, good)
    branch = f"fairlead/revert/team/{bad[:12]}"
    wait_until(lambda: branch in branches(installed.bare, "fairlead"), "a revert")
    installed.work.git("fetch", "-q", "origin", branch)
    assert installed.work.show("FETCH_HEAD", BASE) == installed.work.show(good, BASE)
    installed.work.git("merge", "-q", "FETCH_HEAD")
    merged = pushed(installed.work, {"README.md": "reverted\n"})
    installation.until("team", applied=merged, reason="Synced")
    assert "merged" in echo(installed, "merged")


def test_what_is_not_healthy_in_time_is_taken_back(installed: Place, tmp_path: Path):
    installation, gate = installed.installation, Gate(tmp_path)
    good = begin(installed, sync={"health": {"timeout": "2s"}})
    before = installation.spec()
    slow = fleet({"light": light(), "slow": gate.before(light())})
    commit = pushed(installed.work, {BASE: slow}, "too slow")
    ended = taken_back(installed, commit, good)
    assert "not healthy after 2 s" in ended["message"]
    assert installation.spec() == before


def test_a_blocked_commit_is_tried_again_when_a_person_says_so(installed: Place, tmp_path: Path):
    installation = installed.installation
    fault = tmp_path / "fault"
    fault.touch()
    good = begin(installed)
    unsure = light("--exit-at-once", "3", "--only-if", str(fault)) | {"security": {"sandbox": "off"}}
    commit = pushed(installed.work, {BASE: fleet({"light": unsure})}, "the host is not ready for it")
    taken_back(installed, commit, good)
    fault.unlink()
    installation.ask("/api/applications/team/blocked/" + commit[:12], method="DELETE")
    installation.until("team", applied=commit, reason="Synced")
    assert blocked(installed).count(commit) == 0


def test_a_person_ends_a_deployment_and_what_it_wrote_is_taken_back(installed: Place, tmp_path: Path):
    installation, gate = installed.installation, Gate(tmp_path)
    good = begin(installed)
    before = installation.spec()
    commit = pushed(installed.work, {BASE: fleet({"light": light(), "slow": gate.before(light())})}, "slow")
    gate.wait_reached()
    wait_until(
        lambda: [steps_of(each)[-1:] for each in deployments_of(installed, commit)] == [["health"]],
        lambda: deployments_of(installed, commit),
    )
    [running] = deployments_of(installed, commit)
    installation.command("gitops", "cancel", running["id"])
    ended = taken_back(installed, commit, good)
    assert (ended["id"], ended["state"]) == (running["id"], "cancelled")
    assert "cancelled by" in ended["message"]
    assert installation.spec() == before
    following = pushed(installed.work, {APP: declared(), BASE: fleet({"light": light("--label", "next")})})
    installation.until("team", applied=following, reason="Synced")


def at_the_write(place: Place) -> dict[str, Any]:
    """A commit whose new version of `light` does not come up for an hour, so that nobody answers."""
    mute = light("--no-initialize-answer") | {"timeouts": {"start": "1h"}}
    commit = pushed(place.work, {BASE: fleet({"light": mute})}, "mute")
    wait_until(
        lambda: [steps_of(each)[-1:] for each in deployments_of(place, commit)] == [["apply"]],
        lambda: deployments_of(place, commit),
    )
    [running] = deployments_of(place, commit)
    return running


def test_a_write_that_gets_no_answer_is_overtaken_and_cancelled(installed: Place):
    installation = installed.installation
    good = begin(installed)
    before = installation.spec()
    stuck = at_the_write(installed)
    assert "still served" in echo(installed, "still served")
    installation.command("gitops", "cancel", stuck["id"])
    ended = taken_back(installed, stuck["commit"], good)
    assert (ended["id"], ended["state"]) == (stuck["id"], "cancelled")
    assert installation.spec() == before
    stuck = at_the_write(installed)
    newer = pushed(installed.work, {BASE: fleet({"light": light("--label", "newer")})}, "newer")
    installation.until("team", applied=newer, reason="Synced")
    [overtaken] = deployments_of(installed, stuck["commit"])
    assert overtaken["state"] == "superseded"
    assert "newer" in arguments_of(installed)
