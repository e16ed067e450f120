"""The same place is changed in Git and by hand: all three versions are shown, and each policy has its way."""

from __future__ import annotations

import json
from typing import Any

import pytest

from e2e.gitops.conftest import Place
from e2e.gitops.installation import application, branches, fleet, light, pushed
from e2e.gitops.team import APP, BASE, arguments_of, begin, declared, echo, take_over
from e2e.system import wait_until

ARGS = "servers.light.args"


@pytest.fixture(scope="module")
def installed(place: Place) -> Place:
    take_over(place, str(place.bare))
    return place


@pytest.fixture(autouse=True)
def nothing_open(installed: Place) -> None:
    """Git wins over whatever the test before has left."""
    begin(installed)


def both_changed(place: Place, policy: str) -> str:
    """`--label` is 1 in force, 2 by hand, and 3 in Git, whose commit is returned.

    Suspended meanwhile, so that neither change is dealt with before the other is there.
    """
    installation = place.installation
    begin(place, "--label", "1", policy=policy)
    installation.ask("/api/applications/team/suspend", {})
    installation.edit_live(light("--label", "2"))
    files = {APP: declared(policy=policy), BASE: fleet({"light": light("--label", "3")})}
    commit = pushed(place.work, files, "Git's own")
    wait_until(
        lambda: installation.application("team")["commit"] == commit, lambda: installation.application("team")
    )
    installation.ask("/api/applications/team/resume", {})
    return commit


def labels(difference: dict[str, Any]) -> list[str]:
    return [json.loads(difference[side])[-1] for side in ("base", "live", "desired")]


def conflict(place: Place) -> dict[str, Any]:
    """What is shown of it to a person."""
    place.installation.until("team", reason="Conflict")
    found = place.installation.ask("/api/applications/team/diff")["differences"]
    [difference] = [each for each in found if each["key"] == ARGS]
    assert (difference["case"], difference["action"]) == ("conflict", "wait")
    assert labels(difference) == ["1", "2", "3"]
    return dict(difference)


@pytest.mark.parametrize(("policy", "wins"), [("remote", "3"), ("local", "2")])
def test_a_policy_decides_by_itself(installed: Place, policy: str, wins: str):
    commit = both_changed(installed, policy)
    installation = installed.installation
    installation.until("team", applied=commit)
    wait_until(lambda: arguments_of(installed)[-1] == wins, lambda: arguments_of(installed))
    if policy == "local":
        wait_until(lambda: branches(installed.bare, "fairlead/drift/team"), "a branch")
        assert [(row["key"], row["state"]) for row in installation.drift("team")] == [(ARGS, "proposed")]
    else:
        wait_until(lambda: installation.drift("team") == [], lambda: installation.drift("team"))
    assert "still" in echo(installed, "still")


@pytest.mark.parametrize("policy", ["manual", "merge"])
@pytest.mark.parametrize(("take", "wins"), [("remote", "3"), ("local", "2")])
def test_a_person_decides_what_cannot_be_merged(installed: Place, policy: str, take: str, wins: str):
    commit = both_changed(installed, policy)
    installation = installed.installation
    difference = conflict(installed)
    assert arguments_of(installed)[-1] == "2"
    assert difference["policy"] == policy
    body = {"object": "fleet", "key": ARGS, "take": take}
    installation.ask("/api/applications/team/resolve", body)
    wait_until(lambda: arguments_of(installed)[-1] == wins, lambda: arguments_of(installed))
    if take == "remote":
        installation.until("team", applied=commit, reason="Synced")
        wait_until(lambda: installation.drift("team") == [], lambda: installation.drift("team"))
    else:
        [branch] = wait_until(lambda: branches(installed.bare, "fairlead/drift/team"), "a branch")
        installed.work.git("fetch", "-q", "origin", branch)
        proposed = json.loads(installed.work.show("FETCH_HEAD", BASE))
        assert proposed["servers"]["light"]["args"][-1] == "2"
        [row] = installation.drift("team")
        assert (row["key"], row["state"]) == (ARGS, "proposed")


def test_different_places_are_merged(installed: Place):
    installation = installed.installation
    begin(installed, policy="merge")
    installation.edit_live({"priority": "high"})
    wait_until(lambda: branches(installed.bare, "fairlead/drift/team"), "a branch")
    commit = pushed(installed.work, {BASE: fleet({"light": light("--label", "9")})}, "another place")
    installation.until("team", applied=commit)
    wait_until(lambda: arguments_of(installed)[-1] == "9", lambda: arguments_of(installed))
    assert installation.spec()["servers"]["light"]["priority"] == "high"
    assert [row["state"] for row in installation.drift("team")] == ["proposed"]


@pytest.mark.parametrize(("take", "wins"), [("remote", "git's"), ("local", "mine")])
def test_texts_that_cannot_be_merged_wait_for_a_person(installed: Place, take: str, wins: str):
    installation, name = installed.installation, f"text-{take}"
    home = installation.folder / name
    home.mkdir()
    declares = application(name, {"files": {"root": str(home)}}, render="files", policy="merge")
    path = f"apps/{name}/base/files/notes.txt"
    first = pushed(installed.work, {f"applications/{name}.yml": declares, path: "one\ntwo\n"})
    installation.until(name, applied=first, reason="Synced")
    installation.ask(f"/api/applications/{name}/suspend", {})
    (home / "notes.txt").write_text("mine\ntwo\n")
    commit = pushed(installed.work, {path: "git's\ntwo\n"})
    wait_until(lambda: installation.application(name)["commit"] == commit, "it was looked at")
    installation.ask(f"/api/applications/{name}/resume", {})
    installation.until(name, reason="Conflict")
    [difference] = installation.ask(f"/api/applications/{name}/diff")["differences"]
    versions = [json.loads(difference[side]) for side in ("base", "live", "desired")]
    assert versions == ["one\ntwo\n", "mine\ntwo\n", "git's\ntwo\n"]
    assert (home / "notes.txt").read_text() == "mine\ntwo\n"
    body = {"object": "notes.txt", "key": difference["key"], "take": take}
    installation.ask(f"/api/applications/{name}/resolve", body)
    wait_until(lambda: (home / "notes.txt").read_text() == f"{wins}\ntwo\n", "as it was decided")
    if take == "local":
        wait_until(lambda: branches(installed.bare, f"fairlead/drift/{name}"), "a branch")
