"""Files of a developer's environment follow Git by key; conflicts wait; promotions take three stages."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from e2e.gitops.conftest import Place
from e2e.gitops.installation import application, branches, pushed
from e2e.system import wait_until

OWN = """{
  // a person's own
  "own": [1,2,   3],
  "mcpServers": {
    "mine": {"command": "x"}
  }
}
"""
TEAM = ',\n    "team": {\n      "command": "one"\n    }'
CLAUDE = "# Mine\n\nkeep  this\n\n<!-- fairlead:begin team -->\nold\n<!-- fairlead:end team -->\n\nand this\n"
SECRET = "s3cr3t-Value-4711-of-nobody"
SUPERCLAUDE = {f"commands/sc/command{n:02}.md": f"# Command {n}\n" for n in range(31)} | {
    f"agents/agent{n:02}.md": f"# Agent {n}\n\nText.\n" for n in range(20)
}


def root(place: Place, name: str) -> Path:
    found = place.installation.folder / "hosts" / name
    found.mkdir(parents=True, exist_ok=True)
    return found


def declared(place: Place, name: str, **more: Any) -> dict[str, str | None]:
    target = {"files": {"root": str(root(place, name))}}
    return {f"applications/{name}.yml": application(name, target, render="files", **more)}


def layered(name: str, files: dict[str, str | None]) -> dict[str, str | None]:
    return {f"apps/{name}/base/files/{path}": text for path, text in files.items()}


def marked(document: dict[str, Any]) -> str:
    return json.dumps(document) + "\n"


@pytest.fixture(scope="module")
def installed(place: Place) -> Place:
    """The controller alone: targets are folders."""
    place.installation.environment["THE_SECRET"] = SECRET
    place.installation.configure({"team": {"url": str(place.bare), "poll": "1s"}})
    place.installation.start("gitops")
    return place


def take(place: Place, name: str, files: dict[str, str | None], **until: Any) -> str:
    commit = pushed(place.work, files)
    place.installation.until(name, applied=commit, **({"reason": "Synced"} | until))
    return commit


def test_foreign_keys_comments_and_text_survive_byte_for_byte(installed: Place):
    home = root(installed, "home")
    (home / ".claude").mkdir()
    (home / ".mcp.json").write_text(OWN)
    (home / "CLAUDE.md").write_text(CLAUDE)
    (home / ".claude" / "settings.json").write_text('{"theme": "dark", "permissions": {"allow": ["Bash"]}}')
    team: dict[str, str | None] = {
        ".mcp.json": marked({"mcpServers": {"team": {"command": "one"}}}),
        "CLAUDE.md": "<!-- fairlead:begin team -->\nnew\n<!-- fairlead:end team -->\n",
        ".claude/settings.json": marked({"enabledMcpjsonServers": ["team"]}),
        **{f".claude/{path}": text for path, text in SUPERCLAUDE.items()},
    }
    take(installed, "home", declared(installed, "home", policy="remote") | layered("home", team))
    mine = '    "mine": {"command": "x"}'
    assert (home / ".mcp.json").read_text() == OWN.replace(mine, mine + TEAM)
    assert (home / "CLAUDE.md").read_text() == CLAUDE.replace("old", "new")
    settings = json.loads((home / ".claude" / "settings.json").read_text())
    assert settings["theme"] == "dark"
    assert settings["enabledMcpjsonServers"] == ["team"]
    assert {path: (home / ".claude" / path).read_text() for path in SUPERCLAUDE} == SUPERCLAUDE

    before = (home / ".mcp.json").read_text()
    second = layered("home", {".mcp.json": marked({"mcpServers": {"team": {"command": "two"}}})})
    commit = take(installed, "home", second)
    assert (home / ".mcp.json").read_text() == before.replace('"one"', '"two"')
    [deployment] = [each for each in installed.installation.deployments("home") if each["commit"] == commit]
    installed.installation.ask(f"/api/deployments/{deployment['id']}/rollback", {})
    wait_until(lambda: (home / ".mcp.json").read_text() == before, (home / ".mcp.json").read_text)


def test_a_persons_edit_is_proposed_and_gone_when_git_has_taken_it(installed: Place):
    home = root(installed, "edited")
    take(
        installed, "edited",
        declared(installed, "edited") | layered("edited", {"a.json": marked({"x": 1, "y": 1})}),
    )  # fmt: skip
    with installed.installation.hearing("drift-detected") as heard:
        (home / "a.json").write_text(marked({"x": 2, "y": 1, "own": True}))
        told = heard.until("drift-detected", application="edited")
    assert (told["object"], told["key"]) == ("a.json", "x")
    found = wait_until(lambda: branches(installed.bare, "fairlead/drift/edited"), "a branch")
    installed.work.git("fetch", "-q", "origin", found[0])
    shown = installed.work.git("show", "FETCH_HEAD:apps/edited/base/files/a.json")
    assert json.loads(shown) == {"x": 2, "y": 1}
    installed.work.git("merge", "-q", "FETCH_HEAD")
    installed.work.git("push", "-q", "origin", "HEAD:main")
    wait_until(lambda: installed.installation.drift("edited") == [], "no drift any more")
    assert json.loads((home / "a.json").read_text()) == {"x": 2, "y": 1, "own": True}


@pytest.mark.parametrize("take_side", ["remote", "local"])
def test_the_same_key_changed_on_both_sides_waits_with_three_versions(installed: Place, take_side: str):
    name = f"conflict-{take_side}"
    home = root(installed, name)
    take(installed, name, declared(installed, name) | layered(name, {"a.json": marked({"x": 1})}))
    (home / "a.json").write_text(marked({"x": 2}))
    pushed(installed.work, layered(name, {"a.json": marked({"x": 3})}))
    installed.installation.until(name, reason="Conflict")
    [difference] = installed.installation.ask(f"/api/applications/{name}/diff")["differences"]
    assert (difference["key"], difference["case"]) == ("x", "conflict")
    assert [difference[side] for side in ("base", "live", "desired")] == ["1", "2", "3"]
    body = {"object": "a.json", "key": "x", "take": take_side}
    installed.installation.ask(f"/api/applications/{name}/resolve", body)
    if take_side == "remote":
        wait_until(lambda: json.loads((home / "a.json").read_text()) == {"x": 3}, "Git's version")
        wait_until(lambda: installed.installation.drift(name) == [], "no conflict any more")
    else:
        wait_until(lambda: branches(installed.bare, f"fairlead/drift/{name}"), "a branch")
        assert json.loads((home / "a.json").read_text()) == {"x": 2}
        [row] = installed.installation.drift(name)
        assert row["state"] == "proposed"


def test_texts_changed_on_both_sides_are_merged_where_the_policy_says_so(installed: Place):
    name = "merged"
    home = root(installed, name)
    lines = [f"line {number}" for number in range(9)]
    take(
        installed, name,
        declared(installed, name, policy="merge") | layered(name, {"notes.txt": "\n".join([*lines, ""])}),
    )  # fmt: skip
    (home / "notes.txt").write_text("\n".join(["mine", *lines[1:], ""]))
    pushed(installed.work, layered(name, {"notes.txt": "\n".join([*lines[:-1], "git's", ""])}))
    both = "\n".join(["mine", *lines[1:-1], "git's", ""])
    wait_until(lambda: (home / "notes.txt").read_text() == both, (home / "notes.txt").read_text)
    assert wait_until(lambda: branches(installed.bare, f"fairlead/drift/{name}"), "a branch")


def test_too_many_removals_wait_and_an_empty_folder_removes_nothing(installed: Place):
    name = "pruned"
    home = root(installed, name)
    files: dict[str, str | None] = {f"f{number}.txt": f"{number}\n" for number in range(12)}
    take(installed, name, declared(installed, name, policy="remote") | layered(name, files))
    fewer = layered(name, {f"f{number}.txt": None for number in range(1, 12)})
    pushed(installed.work, fewer)
    installed.installation.until(name, reason="AwaitingPrune")
    assert len(list(home.iterdir())) == 12
    installed.installation.ask("/api/sync/trigger", {"application": name, "confirm": True})
    wait_until(lambda: [each.name for each in home.iterdir()] == ["f0.txt"], "removed when confirmed")
    pushed(installed.work, layered(name, {"f0.txt": None}))
    installed.installation.ask("/api/sync/trigger", {"application": name, "confirm": True})
    wait_until(lambda: installed.installation.raw(f"/api/applications/{name}").is_success, "there")
    assert (home / "f0.txt").exists(), "an empty source removes nothing"


def test_secrets_are_on_the_disk_and_nowhere_else(installed: Place):
    name = "secret"
    secret_file = installed.installation.folder / "the-secret"
    secret_file.write_text(SECRET)
    home = root(installed, name)
    wanted = {"env": {"TOKEN": f"${{file:{secret_file}}}", "PLAIN": "${STAYS}"}}
    take(
        installed, name,
        declared(installed, name, policy="remote") | layered(name, {"settings.json": marked(wanted)}),
    )  # fmt: skip
    there = json.loads((home / "settings.json").read_text())
    assert there == {"env": {"TOKEN": SECRET, "PLAIN": "${STAYS}"}}
    (home / "settings.json").write_text(marked({"env": {"TOKEN": SECRET + "x", "PLAIN": "edited"}}))
    wait_until(lambda: json.loads((home / "settings.json").read_text()) == there, "healed")
    installation = installed.installation
    shown = "".join(
        installation.raw(path).text
        for path in (
            f"/api/applications/{name}", f"/api/applications/{name}/diff", "/api/drift/status",
            f"/api/deployments?application={name}", "/api/events", "/api/config",
            *(f"/api/deployments/{each['id']}" for each in installation.deployments(name)),
        )
    )  # fmt: skip
    assert SECRET not in shown
    assert SECRET not in installation.log("gitops")
    with sqlite3.connect(installation.state / "gitops.db") as database:
        kept = "\n".join(database.iterdump())
    assert SECRET not in kept
    assert SECRET.encode().hex().upper() not in kept.upper()


def test_promotion_through_three_environments_with_approval(installed: Place):
    installation = installed.installation
    stages = ("dev", "stage", "prod")
    environments = ("development", "staging", "production")
    files: dict[str, str | None] = {}
    for number, (name, environment) in enumerate(zip(stages, environments, strict=True)):
        more: dict[str, Any] = {"promotedFrom": stages[number - 1]} if number else {}
        if name == "prod":
            more["sync"] = {"approval": True}
        target = {"files": {"root": str(root(installed, name))}}
        files[f"applications/{name}.yml"] = json.dumps(
            {
                "version": "1", "name": name, "environment": environment, "target": target,
                "path": "apps/stages", "render": "files", "policy": "remote", **more,
            }
        )  # fmt: skip
    files |= layered("stages", {"app.json": marked({"version": 1})})
    first = pushed(installed.work, files)
    installation.until("dev", applied=first, reason="Synced")
    with_nothing = installation.raw("/api/applications/prod/promote", {})
    assert with_nothing.status_code == 409
    installation.ask("/api/applications/stage/promote", {})
    installation.until("stage", applied=first)
    waiting = installation.ask("/api/applications/prod/promote", {})
    installation.until("prod", reason="AwaitingApproval")
    assert not (root(installed, "prod") / "app.json").exists()
    installation.ask(f"/api/deployments/{waiting['id']}/approve", {})
    installation.until("prod", applied=first)
    assert json.loads((root(installed, "prod") / "app.json").read_text()) == {"version": 1}

    second = pushed(installed.work, layered("stages", {"app.json": marked({"version": 2})}))
    installation.until("dev", applied=second)
    for name in ("stage", "prod"):
        assert json.loads((root(installed, name) / "app.json").read_text()) == {"version": 1}
    installation.ask("/api/applications/stage/promote", {})
    installation.until("stage", applied=second)
    again = installation.ask("/api/applications/prod/promote", {})
    installation.until("prod", reason="AwaitingApproval")
    installation.ask(f"/api/deployments/{again['id']}/cancel", {})
    wait_until(
        lambda: installation.ask(f"/api/deployments/{again['id']}")["state"] == "cancelled", "cancelled"
    )
    assert json.loads((root(installed, "prod") / "app.json").read_text()) == {"version": 1}
    history = installation.deployments("prod")
    assert [each["reason"] for each in history] == ["promotion", "promotion"]
