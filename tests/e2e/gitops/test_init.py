"""A new configuration repository, as `fairlead init` makes it, from its first commit on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from e2e.environments import BIN
from e2e.gitops.conftest import Place
from e2e.gitops.installation import LIGHT, pushed
from fairlead.formats.yaml_document import read

PRODUCTION = "environments/production/mcp-servers.yml"
ENVIRONMENT = "environments/development/mcp-servers.yml"
BASE = json.dumps(
    {
        "version": "1",
        "servers": {
            "light": {"command": sys.executable, "args": ["-S", "-E", str(LIGHT), "--label", "base"]},
            "other": {"command": sys.executable, "args": ["-S", "-E", str(LIGHT)]},
        },
    }
)
LAYER = json.dumps({"servers": {"light": {"args": ["-S", "-E", str(LIGHT), "--label", "development"]}}})
WORKSTATION = """\
name: workstation
target:
  files:
    root: {root}
render: files
layers:
  team: platform
policy: manual
sync:
  propose: false
tools:
  python: ">=99"
"""


def validated(folder: Path) -> subprocess.CompletedProcess[str]:
    """What both examples for CI run, in the repository's folder."""
    workflow = read((folder / ".github/workflows/validate.yml").read_bytes())
    command = workflow["jobs"]["validate"]["steps"][-1]["run"]
    assert read((folder / ".gitlab-ci.yml").read_bytes())["validate"]["script"][-1] == command
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["/bin/sh", "-ec", command], cwd=folder, env={**os.environ, "PATH": path},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def first(place: Place) -> str:
    """The commit of a new repository, with servers of ours, which is followed."""
    subprocess.run([BIN / "fairlead", "init", "."], cwd=place.work.path, check=True, capture_output=True)
    assert validated(place.work.path).returncode == 0
    files = {"base/mcp-servers.yml": BASE, ENVIRONMENT: LAYER, PRODUCTION: "servers: {}\n"}
    commit = pushed(place.work, files, "first")
    assert validated(place.work.path).returncode == 0
    place.installation.configure({"configuration": {"url": place.server.url_of("config.git"), "poll": "1s"}})
    place.installation.start("orchestrator")
    place.installation.start("gitops")
    place.installation.until("development", applied=commit, reason="Synced")
    return commit


def test_development_has_the_base_and_its_layer_and_the_others_say_what_they_wait_for(place, first):
    servers = place.installation.spec()["servers"]
    assert sorted(servers) == ["light", "other"]
    assert servers["light"]["args"][-2] == "--label"  # base's arguments are replaced, not added to
    assert servers["light"]["args"][-1] in ("development", "mended")
    apps = place.installation.command("gitops", "apps").stdout
    assert "development" in apps
    for name in ("staging", "production"):
        ready = place.installation.application(name)["conditions"][0]
        assert ready["status"] is False
        assert ready["message"].startswith("waits for a promotion from "), ready


def test_what_ci_refuses_the_controller_refuses_too_and_the_next_commit_is_taken(place, first):
    broken = pushed(place.work, {ENVIRONMENT: LAYER.replace("args", "argz")}, "broken")
    refused = validated(place.work.path)
    assert refused.returncode == 1
    assert f"{ENVIRONMENT}:1:" in refused.stdout
    assert "servers.light.argz" in refused.stdout
    found = place.installation.until("development", reason="InvalidConfig")
    assert found["commit"] == broken
    assert found["applied"] not in (None, broken)
    assert "servers.light.argz: unknown key" in found["conditions"][0]["message"]
    mended = pushed(place.work, {ENVIRONMENT: LAYER.replace("development", "mended")}, "mended")
    assert validated(place.work.path).returncode == 0
    place.installation.until("development", applied=mended, reason="Synced")
    assert place.installation.spec()["servers"]["light"]["args"][-1] == "mended"


def test_a_host_gets_its_files_and_tools_that_are_too_old_are_drift(place, first):
    root = place.installation.folder / "workstation"
    root.mkdir()
    files = {
        "applications/workstation.yml": WORKSTATION.format(root=root),
        "base/files/.mcp.json": json.dumps(
            {"mcpServers": {"fairlead": {"url": "http://127.0.0.1:3002/mcp"}}}
        ),
        "teams/platform/files/CLAUDE.md": "# How we work\n",
    }
    commit = pushed(place.work, files, "a workstation")
    place.installation.until("workstation", applied=commit)
    assert (root / "CLAUDE.md").read_text() == "# How we work\n"
    assert "fairlead" in json.loads((root / ".mcp.json").read_text())["mcpServers"]
    place.installation.command("drift", "workstation", "--check")
    rows = [row for row in place.installation.drift("workstation") if row["kind"] == "environment"]
    assert [row["key"] for row in rows] == ["python"]
    shown = place.installation.command("drift", "workstation", "--kind", "environment").stdout
    assert ">=99" in shown
    environment = place.installation.ask("/api/health/environment")
    assert "python" in json.dumps(environment)
