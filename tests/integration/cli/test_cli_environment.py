"""Drift of the environment: declared versions of tools against those that are installed."""

from __future__ import annotations

import json

from integration.cli.conftest import Commands
from integration.cli.test_cli_gitops import APP, Team, data, good, until

TOOLS = {
    "node": ">=22",
    "python": ">=3.11",
    "claude": ">=2.1",
    "superclaude": "~=4.3",
    "packages": {"npm:@our/linter": ">=1.2", "pypi:Our_Tool": "==2.0"},
}
INSTALLED = {
    "node": "v20.19.0",
    "python3": "Python 3.13.1",
    "claude": "2.1.4 (Claude Code)",
    "superclaude": "SuperClaude 4.2.0",
    "npm": json.dumps({"dependencies": {"@our/linter": {"version": "1.1.0"}}}),
    "uv": "our-tool v2.0",
}
MENDED = {
    "node": "22.1.0",
    "superclaude": "4.3.2",
    "npm": '{"dependencies": {"@our/linter": {"version": "1.2.0"}}}',
}


def install(commands: Commands, programs: dict[str, str]) -> None:
    """Programs that print their versions, before all others on the path."""
    folder = commands.folder / "bin"
    folder.mkdir(exist_ok=True)
    for name, prints in programs.items():
        (folder / f"{name}.new").write_text(f"#!/bin/sh\ncat <<'END'\n{prints}\nEND\n")
        (folder / f"{name}.new").chmod(0o755)
        (folder / f"{name}.new").replace(folder / name)
    commands.environment["PATH"] = f"{folder}:/usr/bin:/bin"


def test_tools_that_are_not_as_declared_are_told_until_they_are(commands: Commands):
    install(commands, INSTALLED)
    team = Team(commands)
    document = json.loads((team.repository.path / APP).read_text())
    rules = [{"path": "environment#node", "severity": "critical"}]
    team.repository.commit({APP: json.dumps(document | {"tools": TOOLS, "rules": rules})})

    until(commands, "environment", "drift")
    status = data(commands, "drift", "files", "--check", "--kind", "environment")
    assert {row["key"]: row["message"] for row in status["drift"]} == {
        "node": "node: 20.19.0 is installed, >=22 is wanted",
        "superclaude": "superclaude: 4.2.0 is installed, ~=4.3 is wanted",
        '"npm:@our/linter"': "npm:@our/linter: 1.1.0 is installed, >=1.2 is wanted",
    }
    assert status["bySeverity"]["critical"] == 1, "a rule says so"
    assert status["byKind"] == {"environment": 3}
    told = commands.run("drift", "--exit-code")
    assert told.process.returncode == 1
    assert '    live    "20.19.0"\n    Git     ">=22"\n' in told.stdout
    health = commands.run("gitops", "health", "--json")
    assert health.process.returncode == 1
    tools = {each["tool"]: (each["installed"], each["fits"]) for each in json.loads(health.stdout)["tools"]}
    assert tools["python"] == ("3.13.1", True)
    assert tools["pypi:Our_Tool"] == ("2.0", True)
    assert tools["node"] == ("20.19.0", False)

    install(commands, MENDED)
    assert "as Git says" in good(commands, "drift", "--check", "--exit-code")
    assert "not as declared" not in good(commands, "gitops", "health")
