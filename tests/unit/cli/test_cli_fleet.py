import json
from pathlib import Path

import pytest

GOOD = "version: '1'\nservers:\n  git:\n    package: pypi:mcp-server-git==2026.10.1\n"


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    path = tmp_path / "fleet.yml"
    path.write_text(GOOD)
    return path


def test_a_good_file(fairlead, fleet: Path):
    result = fairlead("validate", str(fleet))
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == f"{fleet}: 1 server, 0 errors, 0 warnings"
    assert json.loads(fairlead("validate", str(fleet), "--json").stdout) == {
        "file": str(fleet),
        "valid": True,
        "problems": [],
    }


def test_all_that_is_wrong_is_shown_as_a_compiler_would(fairlead, fleet: Path):
    fleet.write_text(GOOD + "    capabilites: [x]\n    sharing: everyone\n")
    result = fairlead("validate", str(fleet))
    assert result.exit_code == 1
    first, second, summary = result.stdout.splitlines()
    assert first.startswith(f"{fleet}:5:5: error: servers.git.capabilites: ")
    assert "did you mean capabilities" in first or "capabilities" in first
    assert second.startswith(f"{fleet}:6:")
    assert summary == f"{fleet}: 2 errors, 0 warnings"
    problems = json.loads(fairlead("validate", str(fleet), "--json").stdout)["problems"]
    assert [(row["severity"], row["line"], row["key"]) for row in problems] == [
        ("error", 5, "servers.git.capabilites"),
        ("error", 6, "servers.git.sharing"),
    ]


def test_warnings_fail_only_when_they_shall(fairlead, fleet: Path):
    fleet.write_text(GOOD + "monitoring:\n  metricsPort: 9090\n")
    result = fairlead("validate", str(fleet))
    assert result.exit_code == 0, result.output
    assert "warning:" in result.stdout
    assert "not in force" in result.stdout
    assert fairlead("validate", "--strict", str(fleet)).exit_code == 1


def test_a_missing_file_is_wrong_usage(fairlead):
    result = fairlead("validate", "nowhere.yml")
    assert result.exit_code == 2
    assert "nowhere.yml" in result.stderr


def test_bytes_that_are_no_text(fairlead, fleet: Path):
    fleet.write_bytes(b"\xff\xfe\x00")
    result = fairlead("validate", str(fleet))
    assert result.exit_code == 1
    assert f"{fleet}:1:1: error: " in result.stdout
