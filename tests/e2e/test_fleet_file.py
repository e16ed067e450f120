"""The fleet file is changed while the system runs."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from e2e.programs import FLAVOURS, Connection, Program
from e2e.system import SERVERS, System, wait_until


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    subprocess.run(["git", "init", "-q", "-b", "main", str(folder)], check=True)
    (folder / "new.txt").write_text("new\n")
    return folder


@pytest.fixture
def saved(frail_fleet: System) -> Iterator[System]:
    """The system; its fleet file is put back afterwards."""
    before = frail_fleet.config.read_bytes()
    yield frail_fleet
    frail_fleet.config.write_bytes(before)
    wait_until(lambda: frail_fleet.server("dev-tools")["state"] == "disabled", "dev-tools is off again")
    frail_fleet.wait_ready(*SERVERS)


def test_dev_tools_when_enabled_serves_its_tools_and_nothing_else_is_touched(
    saved: System, programs: dict[str, Program], repository: Path
):
    before = {name: saved.pids(name) for name in SERVERS}
    yaml = YAML()
    spec = yaml.load(saved.config)
    spec["servers"]["dev-tools"]["enabled"] = True
    spec["servers"]["dev-tools"]["args"] = ["--repository", str(repository)]
    yaml.dump(spec, saved.config)
    wait_until(
        lambda: saved.server("dev-tools")["state"] == "ready", lambda: saved.server("dev-tools"), guard=90
    )

    for flavour in FLAVOURS:
        client = Connection(
            programs[flavour.program], url=saved.endpoint, token=saved.local_token, mode=flavour.mode
        )
        names = {tool["name"] for tool in client("list", what="tools")}
        assert {"dev-tools__git_status", "filesystem__read_text_file"} <= names
        assert "new.txt" in client.text("dev-tools__git_status", repo_path=str(repository))
        client.close()
    assert all(before[name] <= saved.pids(name) for name in SERVERS)


def test_a_bad_file_never_replaces_the_good_one(saved: System):
    before = {name: saved.pids(name) for name in SERVERS}
    log = saved.state / "logs" / "orchestrator.log"
    refused = log.read_text().count("fleet file refused")
    saved.config.write_text(saved.config.read_text().replace("sharing: session", "sharing: sesion"))
    wait_until(lambda: log.read_text().count("fleet file refused") > refused, "the bad file was refused")
    assert all(before[name] <= saved.pids(name) for name in SERVERS)
    assert saved.server("sequential")["sharing"] == "session"
