"""One commit through three running fleets: promoted by people, approved by two of them, and taken back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from e2e.gitops.conftest import Place
from e2e.gitops.installation import Installation, fleet, light, pushed
from e2e.gitops.team import steps_of
from e2e.system import wait_until

STAGES = ("development", "staging", "production")
BASE = "apps/stages/base/mcp-servers.yml"


@dataclass
class Stages:
    """Three orchestrators; the first one's controller keeps them all. Ada is the commits' author."""

    place: Place
    fleets: dict[str, Installation]
    keys: dict[str, str]

    @property
    def installation(self) -> Installation:
        return self.place.installation

    def label(self, stage: str) -> str:
        """What `light` says its version is, where the stage runs."""
        return str(self.fleets[stage].spec()["servers"]["light"]["args"][-1])

    def commit(self, label: str) -> str:
        """A version of the server, and it is in force in development."""
        commit = pushed(self.place.work, {BASE: fleet({"light": light("--label", label)})}, label)
        self.installation.until("development", applied=commit, reason="Synced")
        return commit

    def promote(self, stage: str) -> dict[str, Any]:
        found: dict[str, Any] = self.installation.ask(f"/api/applications/{stage}/promote", {})
        return found

    def decide(self, deployment: dict[str, Any], what: str, who: str) -> Any:
        path = f"/api/deployments/{deployment['id']}/{what}"
        return self.installation.raw(path, {}, token=self.keys.get(who, ""))

    def deployment(self, deployment: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = self.installation.ask(f"/api/deployments/{deployment['id']}")
        return found

    def wait_for(self, deployment: dict[str, Any], state: str) -> dict[str, Any]:
        wait_until(lambda: self.deployment(deployment)["state"] == state, lambda: self.deployment(deployment))
        return self.deployment(deployment)

    def to_production(self, label: str) -> tuple[str, dict[str, Any]]:
        """A version as far as it comes by itself: the commit, and the deployment that waits for people."""
        commit = self.commit(label)
        self.promote("staging")
        self.installation.until("staging", applied=commit)
        deployment = self.promote("production")
        self.wait_for(deployment, "waiting")
        return commit, deployment


@pytest.fixture(scope="module")
def stages(place: Place) -> Any:
    main = place.installation
    others = [Installation(main.folder, name) for name in STAGES[1:]]
    fleets = dict(zip(STAGES, [main, *others], strict=True))
    try:
        for each in fleets.values():
            each.start("orchestrator")
        files: dict[str, str | None] = {BASE: fleet({"light": light("--label", "0")})}
        for number, (name, installation) in enumerate(fleets.items()):
            files[f"applications/{name}.yml"] = _declared(name, number, installation)
        first = pushed(place.work, files, "first")
        main.configure({"team": {"url": str(place.bare), "poll": "1s"}})
        main.start("gitops")
        main.until("development", applied=first, reason="Synced")
        yield Stages(place, fleets, {who: _key(main, who) for who in ("ada", "bob", "carol")})
    finally:
        for each in others:
            each.stop()


def _declared(name: str, number: int, installation: Installation) -> str:
    target: dict[str, str] = {}
    more: dict[str, Any] = {}
    if number:
        token = Path(installation.state / "local-token")
        target = {"url": installation.url("orchestrator"), "token": f"${{file:{token}}}"}
        more["promotedFrom"] = STAGES[number - 1]
    if name == "production":
        more["sync"] = {"approval": True, "approvals": 2}
    document = {
        "version": "1", "name": name, "environment": name, "target": {"fleet": target},
        "path": "apps/stages", **more,
    }  # fmt: skip
    return json.dumps(document) + "\n"


def _key(installation: Installation, who: str) -> str:
    installation.command("principal", "set", who, "--role", "operator")
    return installation.command("key", "add", who).stdout.strip()


def test_a_commit_goes_through_three_fleets_and_two_others_than_its_author_approve(stages: Stages):
    commit, deployment = stages.to_production("1")
    assert [stages.label(each) for each in STAGES][:2] == ["1", "1"]
    assert stages.label("production") != "1"
    shown = stages.deployment(deployment)
    assert (shown["author"], shown["approvedBy"]) == ("Ada <ada@example.org>", [])
    assert '"--label"' in shown["difference"]

    for who, says in (("ada", "commit of their own"), ("local", "needs a person")):
        refused = stages.decide(deployment, "approve", who)
        assert refused.status_code == 403, refused.text
        assert says in refused.json()["detail"]
    assert stages.decide(deployment, "approve", "bob").is_success
    again = stages.decide(deployment, "approve", "bob")
    assert again.status_code == 403
    assert "has approved it already" in again.json()["detail"]
    assert stages.deployment(deployment)["state"] == "waiting"
    assert stages.label("production") != "1"

    assert stages.decide(deployment, "approve", "carol").is_success
    stages.installation.until("production", applied=commit)
    ended = stages.wait_for(deployment, "succeeded")
    assert ended["approvedBy"] == ["bob", "carol"]
    assert ended["reason"] == "promotion"
    assert stages.label("production") == "1"


def test_what_is_cancelled_changes_nothing_and_the_next_promotion_is_taken(stages: Stages):
    before = stages.label("production")
    _, deployment = stages.to_production("2")
    assert stages.decide(deployment, "cancel", "bob").is_success
    assert "cancelled by bob" in stages.wait_for(deployment, "cancelled")["message"]
    assert stages.decide(deployment, "approve", "carol").status_code == 409
    assert stages.label("production") == before
    commit, deployment = stages.to_production("3")
    for who in ("bob", "carol"):
        assert stages.decide(deployment, "approve", who).is_success
    stages.installation.until("production", applied=commit)
    assert stages.label("production") == "3"


def test_production_goes_back_by_one_command_and_its_history_tells_all(stages: Stages):
    installation = stages.installation
    good, deployment = stages.to_production("4")
    for who in ("bob", "carol"):
        assert stages.decide(deployment, "approve", who).is_success
    installation.until("production", applied=good)
    bad, deployment = stages.to_production("5")
    for who in ("bob", "carol"):
        assert stages.decide(deployment, "approve", who).is_success
    installation.until("production", applied=bad)

    said = installation.command("gitops", "rollback", "production", "--wait").stdout
    assert "succeeded" in said
    assert stages.label("production") == "4"
    assert [stages.label(each) for each in STAGES[:2]] == ["5", "5"]
    installation.until("production", applied=good)

    history = json.loads(installation.command("gitops", "history", "production", "--json").stdout)
    newest = history["deployments"][0]
    assert (newest["reason"], newest["commit"], newest["previous"]) == ("rollback", good, bad)
    readable = installation.command("gitops", "history", "production").stdout
    for each in (newest["id"], "rollback", "promotion", good[:8]):
        assert each in readable
    told = installation.command("gitops", "deployment", deployment["id"]).stdout
    for each in ("bob, carol", "Ada", "plan", "gate", "apply", "health", "finish", '"5"'):
        assert each in told
    shown = stages.deployment(deployment)
    times = [(step["started"], step["ended"]) for step in shown["steps"]]
    assert all(started <= ended for started, ended in times)
    assert times == sorted(times)
    assert steps_of(shown)[:1] + steps_of(shown)[-1:] == ["fetch", "finish"]
