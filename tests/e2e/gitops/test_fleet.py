"""The fleet follows Git: over HTTP and by path, through bad commits, live edits, holds, and restarts."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from e2e.gitops.conftest import Place
from e2e.gitops.installation import application, branches, fleet, light, pushed
from e2e.system import wait_until

APP = "applications/team.yml"
BASE = "apps/team/base/mcp-servers.yml"


def declared(**more: Any) -> str:
    return application("team", {"fleet": {}}, **more)


@pytest.fixture(scope="module", params=["http", "path"])
def installed(place: Place, request: pytest.FixtureRequest) -> Any:
    """The controller has taken the fleet over; its repository is served over HTTP, or by path."""
    installation = place.installation
    url = place.server.url_of("config.git") if request.param == "http" else str(place.bare)
    files = {APP: declared(), BASE: fleet({"light": light()})}
    first = pushed(place.work, files, f"first over {request.param}")
    installation.configure({"team": {"url": url, "poll": "1s"}})
    installation.start("orchestrator")
    installation.start("gitops")
    installation.until("team", applied=first, reason="Synced")
    yield place
    installation.stop()


def call(place: Place, tool: str, **arguments: Any) -> dict[str, Any]:
    body = {"server": "light", "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
    return place.installation.ask("/api/request", body, service="orchestrator")


def busy(place: Place) -> bool:
    shown = place.installation.ask("/api/servers/light", service="orchestrator")
    return any(each["callsInFlight"] for each in shown["instances"])


def arguments(place: Place) -> list[str]:
    found: list[str] = place.installation.spec()["servers"]["light"]["args"]
    return found


def test_a_commit_converges_and_calls_in_flight_survive(installed: Place):
    installation = installed.installation
    plain = pushed(installed.work, {APP: declared(), BASE: fleet({"light": light()})})
    installation.until("team", applied=plain, reason="Synced")
    answers: list[Any] = []
    with installation.hearing("deployment-started", "deployment-completed", "sync-completed") as heard:
        caller = threading.Thread(target=lambda: answers.append(call(installed, "sleep", seconds=8)))
        caller.start()
        wait_until(lambda: busy(installed), "busy")
        commit = pushed(installed.work, {BASE: fleet({"light": light("--era", "both")})})
        installation.until("team", applied=commit, reason="Synced")
        assert arguments(installed)[-2:] == ["--era", "both"]
        assert heard.until("deployment-started", commit=commit)["application"] == "team"
        assert heard.until("deployment-completed", commit=commit)["state"] == "succeeded"
        assert heard.until("sync-completed", commit=commit)["changed"] == 1
        caller.join()
    assert "isError" not in json.dumps(answers) or not answers[0].get("isError")
    [deployment] = [each for each in installation.deployments("team") if each["commit"] == commit]
    assert [step["name"] for step in deployment["steps"]][-1] == "finish"
    assert all(step["seconds"] is not None for step in deployment["steps"])
    shown = installation.ask(f"/api/deployments/{deployment['id']}")
    assert '+        "both"' in shown["difference"]


@pytest.mark.parametrize(
    "server",
    [
        {"command": "/bin/sh", "args": ["-c", "exit 3"]},
        {"command": "/no/such/program"},
    ],
)
def test_a_bad_commit_is_taken_back_and_the_next_good_one_taken(installed: Place, server: dict[str, Any]):
    installation = installed.installation
    before = arguments(installed)
    good = installation.application("team")["applied"]
    bad = pushed(installed.work, {BASE: fleet({"light": server})}, "bad")
    found = installation.until("team", applied=good, reason="BlockedCommit")
    assert arguments(installed) == before
    assert call(installed, "echo", text="still here")
    assert [each["commit"] for each in found["blocked"]][-1] == bad
    assert found["blocked"][-1]["reason"]
    [ended] = [each for each in installation.deployments("team") if each["commit"] == bad]
    assert ended["state"] in {"rolled-back", "failed"}
    assert ended["message"]
    wait_until(lambda: f"fairlead/revert/team/{bad[:12]}" in branches(installed.bare, "fairlead"), "a revert")
    following = pushed(installed.work, {BASE: fleet({"light": light("--era", "modern")})}, "good again")
    installation.until("team", applied=following, reason="Synced")
    assert arguments(installed)[-1] == "modern"


def test_a_commit_that_is_not_valid_is_refused_as_a_whole_with_its_place(installed: Place):
    installation = installed.installation
    before = arguments(installed)
    pushed(installed.work, {BASE: 'version: "1"\nservers:\n  light:\n    comand: x\n'}, "a typo")
    installation.until("team", reason="InvalidConfig")
    assert f"{BASE}:4:5" in installation.message("team")
    assert arguments(installed) == before
    token = "ghp_" + "a1B2" * 9
    pushed(installed.work, {BASE: fleet({"light": light() | {"environment": {"TOKEN": token}}})}, "a secret")
    installation.until("team", reason="InvalidConfig")
    wait_until(lambda: "secret" in installation.message("team").lower(), lambda: installation.message("team"))
    assert token not in installation.raw("/api/applications/team").text + installation.log("gitops")
    good = pushed(installed.work, {BASE: fleet({"light": light()})}, "mended")
    installation.until("team", applied=good, reason="Synced")


def test_a_live_edit_is_told_and_healed_kept_in_the_history_or_held(installed: Place):
    installation = installed.installation
    good = pushed(installed.work, {BASE: fleet({"light": light()}), APP: declared()})
    installation.until("team", applied=good, reason="Synced")
    before = arguments(installed)
    with installation.hearing("drift-detected") as heard:
        installation.edit_live(light("--era", "both"))
        told = heard.until("drift-detected", application="team")
        assert told["key"] == "servers.light.args"
        assert (told["kind"], told["severity"]) == ("configuration", "high")
        assert told["by"] == "local"
        wait_until(lambda: arguments(installed) == before, "healed")
        wait_until(lambda: installation.drift("team") == [], "no drift any more")
        assert installation.deployments("team")[0]["reason"] == "heal"

        hold = {"path": "servers.light", "seconds": 600, "reason": "debugging"}
        installation.ask("/api/applications/team/holds", hold, method="PUT")
        installation.edit_live(light("--era", "modern"))
        wait_until(lambda: [row["state"] for row in installation.drift("team")] == ["held"], "held")
        assert arguments(installed)[-1] == "modern"
        installation.ask("/api/applications/team/holds?path=servers.light", method="DELETE")
        wait_until(lambda: arguments(installed) == before, "healed when the hold is gone")


def test_a_live_edit_is_proposed_where_the_policy_says_so(installed: Place):
    installation = installed.installation
    commit = pushed(installed.work, {APP: declared(policy="local"), BASE: fleet({"light": light()})})
    installation.until("team", applied=commit, reason="Synced")
    installation.edit_live(light("--era", "both"))
    found = wait_until(lambda: branches(installed.bare, "fairlead/drift/team"), "a branch")
    proposed = json.loads(installed.work.git("show", f"{_fetched(installed, found[0])}:{BASE}"))
    assert proposed["servers"]["light"]["args"][-1] == "both"
    wait_until(lambda: [row["state"] for row in installation.drift("team")] == ["proposed"], "proposed")
    installed.work.git("merge", "-q", "FETCH_HEAD")
    merged = pushed(installed.work, {"README.md": "merged\n"})
    installation.until("team", applied=merged, reason="Synced")
    wait_until(lambda: installation.drift("team") == [], "no drift any more")
    assert arguments(installed)[-1] == "both"


def _fetched(place: Place, branch: str) -> str:
    place.work.git("fetch", "-q", "origin", branch)
    return "FETCH_HEAD"


def test_suspended_and_observed_applications_only_tell(installed: Place):
    installation = installed.installation
    good = pushed(installed.work, {APP: declared(), BASE: fleet({"light": light()})})
    installation.until("team", applied=good, reason="Synced")
    before = arguments(installed)
    installation.ask("/api/applications/team/suspend", {})
    later = pushed(installed.work, {BASE: fleet({"light": light("--era", "both")})})
    installation.until("team", applied=good, reason="Suspended")
    assert arguments(installed) == before
    installation.ask("/api/applications/team/resume", {})
    installation.until("team", applied=later, reason="Synced")
    observed = declared(sync={"mode": "observe"})
    pushed(installed.work, {APP: observed, BASE: fleet({"light": light()})})
    installation.until("team", reason="Observed")
    assert arguments(installed)[-1] == "both"
    last = pushed(installed.work, {APP: declared()})
    installation.until("team", applied=last, reason="Synced")
    assert arguments(installed) == before


def test_it_goes_on_after_a_kill_and_history_can_be_returned_to(installed: Place):
    installation = installed.installation
    first = pushed(installed.work, {APP: declared(), BASE: fleet({"light": light()})})
    installation.until("team", applied=first, reason="Synced")
    installation.kill("gitops")
    second = pushed(installed.work, {BASE: fleet({"light": light("--era", "both")})})
    installation.start("gitops")
    installation.until("team", applied=second, reason="Synced")
    [deployment] = [each for each in installation.deployments("team") if each["commit"] == second]
    installation.ask(f"/api/deployments/{deployment['id']}/rollback", {})
    wait_until(lambda: installation.application("team")["applied"] == first, "rolled back")
    assert "both" not in arguments(installed)
    wait_until(
        lambda: second in [each["commit"] for each in installation.application("team")["blocked"]], "blocked"
    )
    third = pushed(installed.work, {BASE: fleet({"light": light("--era", "modern")})})
    installation.until("team", applied=third, reason="Synced")
