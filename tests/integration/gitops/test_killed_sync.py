"""A controller that is killed at any step of a sync leaves no half-written file, and goes on afterwards."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fairlead.gitops.deployments import FAULT_POINTS
from fairlead.targets import file_writing

PROGRAM = Path(__file__).parents[2] / "support" / "killed_sync.py"
TESTS = Path(__file__).parents[2]

OWN = '{\n  // the person\'s own\n  "own": [1, 2],\n  "mcpServers": {"mine": {"command": "x"}}\n}\n'
FIRST = {
    "base/files/.mcp.json": '{"mcpServers": {"team": {"command": "first"}}}\n',
    "base/files/second.txt": "first\n",
    "base/files/gone.md": "to be removed\n",
}
SECOND = {
    "base/files/.mcp.json": '{"mcpServers": {"team": {"command": "second"}}}\n',
    "base/files/second.txt": "second\n",
    "base/files/new.sh": "#!/bin/sh\n",
}


def run(folder: Path, point: str, *more: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": str(TESTS)}
    return subprocess.run(
        [sys.executable, str(PROGRAM), str(folder), point, *more],
        env=environ, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip


def finished(folder: Path, *more: str) -> dict[str, Any]:
    ran = run(folder, "", *more)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])  # a slow start is logged before it


def contents(folder: Path) -> dict[str, str]:
    home = folder / "home"
    return {str(file.relative_to(home)): file.read_text() for file in home.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first commit is applied to a home with things of its own."""
    folder = tmp_path_factory.mktemp("applied")
    (folder / "home").mkdir()
    (folder / "home" / ".mcp.json").write_text(OWN)
    (folder / "commits.json").write_text(json.dumps([FIRST]))
    assert finished(folder)["findings"] == []
    return folder


@pytest.fixture
def folder(applied: Path, tmp_path: Path) -> Path:
    """Of its own; the second commit is there."""
    shutil.copytree(applied, tmp_path, dirs_exist_ok=True)
    (tmp_path / "commits.json").write_text(json.dumps([FIRST, SECOND]))
    return tmp_path


BEFORE = {
    ".mcp.json": OWN.replace('"x"}', '"x"}, "team": {"command": "first"}'),
    "second.txt": "first\n",
    "gone.md": "to be removed\n",
}
AFTER = {
    ".mcp.json": OWN.replace('"x"}', '"x"}, "team": {"command": "second"}'),
    "second.txt": "second\n",
    "new.sh": "#!/bin/sh\n",
}
TAKING_BACK = ("taking-back", "taken-back")


@pytest.mark.parametrize("point", [*file_writing.FAULT_POINTS, *FAULT_POINTS])
def test_killed_at_this_point_and_gone_on(folder: Path, point: str):
    sick = ["sick"] if point in TAKING_BACK else []
    ran = run(folder, point, *sick)
    assert ran.returncode == -signal.SIGKILL, f"{point} was not reached: {ran.stdout}{ran.stderr}"
    there = {name: text for name, text in contents(folder).items() if not name.endswith(".tmp")}
    for name, text in there.items():
        assert text in (BEFORE.get(name), AFTER.get(name)), f"{name} is half-written"
    told = finished(folder, *sick)
    assert contents(folder) == (BEFORE if sick else AFTER)
    assert told["journal"] == 0
    assert told["drift"] == []
    ended = {"rolled-back"} if sick else {"succeeded"}
    assert set(told["states"]) <= ended | {"succeeded"}
    assert ended <= set(told["states"])
