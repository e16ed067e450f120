"""The running fleet is changed by hand: it is told at once, and dealt with as the place's policy says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from e2e.gitops.conftest import Place
from e2e.gitops.installation import Installation, branches, fleet, light, pushed
from e2e.gitops.team import APP, BASE, arguments_of, begin, declared, deployments_of, echo, take_over
from e2e.system import wait_until

BOTH = ("--era", "both")
ARGS = "servers.light.args"


@pytest.fixture(scope="module")
def installed(place: Place) -> Place:
    take_over(place, str(place.bare))
    return place


@pytest.fixture(autouse=True)
def nothing_open(installed: Place) -> Any:
    """Each test begins as Git says; what it leaves is taken back."""
    begin(installed)
    yield
    installed.installation.ask("/api/fleet/overrides", method="DELETE", service="orchestrator")


def states(installation: Installation) -> list[tuple[str, str]]:
    return [(row["key"], row["state"]) for row in installation.drift("team")]


def wait_states(installation: Installation, *wanted: tuple[str, str]) -> None:
    wait_until(lambda: states(installation) == list(wanted), lambda: installation.drift("team"))


def look(installation: Installation) -> list[dict[str, Any]]:
    """The drift, once everything was looked at anew."""
    found: list[dict[str, Any]] = installation.ask("/api/drift/check", {"application": "team"})["drift"]
    return found


def test_who_changed_what_and_how_bad_it_is_are_told_and_git_wins(installed: Place):
    installation = installed.installation
    good = begin(installed, rules=[{"path": ARGS, "severity": "critical"}])
    installation.command("principal", "set", "mallory", "--role", "admin")
    key = installation.command("key", "add", "mallory").stdout.strip()
    before = arguments_of(installed)
    spec = installation.spec()
    spec["servers"]["light"] |= light(*BOTH)
    with installation.hearing("drift-detected", "sync-completed") as heard:
        answer = installation.raw(
            "/api/fleet?origin=live", spec, method="PUT", service="orchestrator", token=key,
            headers={"If-Match": "*"},
        )  # fmt: skip
        assert answer.is_success, answer.text
        told = heard.until("drift-detected", application="team", key=ARGS)
        assert (told["severity"], told["kind"], told["by"]) == ("critical", "configuration", "mallory")
        heard.until("sync-completed", commit=good)
    wait_until(lambda: arguments_of(installed) == before, lambda: arguments_of(installed))
    wait_states(installation)
    newest = deployments_of(installed, good)[0]
    assert (newest["reason"], newest["state"]) == ("heal", "succeeded")
    fleet_now = installation.ask("/api/fleet", service="orchestrator")
    assert (fleet_now["owner"], fleet_now["overrides"]) == ("gitops", [])
    assert "healed" in echo(installed, "healed")


def test_a_proposal_is_withdrawn_when_the_edit_is_taken_back(installed: Place):
    installation = installed.installation
    begin(installed, policy="local")
    installation.edit_live(light(*BOTH))
    [branch] = wait_until(lambda: branches(installed.bare, "fairlead/drift/team"), "a branch")
    wait_states(installation, (ARGS, "proposed"))
    assert arguments_of(installed)[-1] == "both"
    proposed = installed.work.git("ls-remote", "origin", f"refs/heads/{branch}")
    assert proposed.split()[0] != installed.work.head
    installation.ask(f"/api/fleet/overrides?key={ARGS}", method="DELETE", service="orchestrator")
    wait_until(lambda: branches(installed.bare, "fairlead/drift/team") == [], "the branch is gone")
    wait_states(installation)


def test_what_is_ignored_is_no_drift_and_not_written(installed: Place):
    installation = installed.installation
    begin(installed, rules=[{"path": ARGS, "policy": "ignore"}])
    installation.edit_live(light(*BOTH))
    assert look(installation) == []
    assert arguments_of(installed)[-1] == "both"
    commit = pushed(installed.work, {BASE: fleet({"light": light("--era", "modern")})}, "beside it")
    installation.until("team", applied=commit, reason="Synced")
    spec = installation.spec()["servers"]["light"]
    assert spec["args"][-1] == "both"  # which Git would have otherwise
    assert spec["environment"]["NUMBER"] in installed.work.show("HEAD", BASE)


def test_nothing_is_healed_outside_of_a_window_until_it_opens(installed: Place):
    installation = installed.installation
    before = arguments_of(installed)
    tomorrow = datetime.now(UTC) + timedelta(hours=12)
    later = {"schedule": f"{tomorrow.minute} {tomorrow.hour} * * *", "duration": "1h"}
    closed = pushed(installed.work, {APP: declared(sync={"windows": [later]})}, "from now on")
    installation.until("team", applied=closed, reason="Synced")
    installation.edit_live(light(*BOTH))
    wait_states(installation, (ARGS, "open"))
    installation.until("team", reason="WindowClosed")
    assert arguments_of(installed)[-1] == "both"
    pushed(installed.work, {APP: declared(sync={"windows": [{"schedule": "* * * * *", "duration": "1h"}]})})
    wait_until(lambda: arguments_of(installed) == before, "healed in the window")
    wait_states(installation)


def test_without_self_healing_a_person_starts_the_sync(installed: Place):
    installation = installed.installation
    before = arguments_of(installed)
    begin(installed, sync={"selfHeal": False})
    installation.edit_live(light(*BOTH))
    wait_states(installation, (ARGS, "open"))
    installation.until("team", reason="Drifted")
    look(installation)
    assert arguments_of(installed)[-1] == "both"
    installation.command("gitops", "sync", "team")
    wait_until(lambda: arguments_of(installed) == before, "healed when asked")
    wait_states(installation)


def test_a_hold_ends_by_itself_and_then_it_is_healed(installed: Place):
    installation = installed.installation
    before = arguments_of(installed)
    hold = {"path": "servers.light", "seconds": 600, "reason": "debugging"}
    installation.ask("/api/applications/team/holds", hold, method="PUT")
    installation.edit_live(light(*BOTH))
    wait_states(installation, (ARGS, "held"))
    assert look(installation)[0]["state"] == "held"
    assert arguments_of(installed)[-1] == "both"
    installation.ask("/api/applications/team/holds", hold | {"seconds": 0.5}, method="PUT")
    wait_until(lambda: arguments_of(installed) == before, "healed when the hold has ended")
    wait_states(installation)


def test_a_suspended_application_tells_drift_and_heals_when_it_is_resumed(installed: Place):
    installation = installed.installation
    before = arguments_of(installed)
    installation.command("gitops", "suspend", "team")
    with installation.hearing("drift-detected") as heard:
        installation.edit_live(light(*BOTH))
        heard.until("drift-detected", application="team", key=ARGS)
    wait_states(installation, (ARGS, "open"))
    installation.until("team", reason="Suspended")
    assert arguments_of(installed)[-1] == "both"
    installation.command("gitops", "resume", "team")
    wait_until(lambda: arguments_of(installed) == before, "healed when resumed")
    wait_states(installation)


def test_what_is_only_observed_tells_drift_and_stays(installed: Place):
    installation = installed.installation
    pushed(installed.work, {APP: declared(sync={"mode": "observe"})})
    wait_until(lambda: installation.application("team")["mode"] == "observe", "observed")
    with installation.hearing("drift-detected", "deployment-started") as heard:
        installation.edit_live(light(*BOTH))
        heard.until("drift-detected", application="team", key=ARGS)
        assert [row["key"] for row in look(installation)] == [ARGS]
        refused = installation.raw("/api/applications/team/promote", {})
        assert refused.status_code == 409
        assert "deployment-started" not in heard.kinds()
    installation.until("team", reason="Observed")
    assert arguments_of(installed)[-1] == "both"
