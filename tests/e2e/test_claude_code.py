"""Claude Code, connected by the very line that `fairlead connect claude` prints."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from e2e import environments
from e2e.system import System


class ClaudeCode:
    """A Claude Code with nothing but a home of its own."""

    def __init__(self, home: Path) -> None:
        self.argv = environments.claude()
        self.home = home
        self.project = home / "project"
        self.project.mkdir()

    def __call__(self, *arguments: str) -> str:
        environment = {
            "PATH": f"{Path(self.argv[0]).parent}{os.pathsep}{os.defpath}",
            "HOME": str(self.home),
            "TERM": "dumb",
            "DISABLE_AUTOUPDATER": "1",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        }
        done = subprocess.run(
            [*self.argv, *arguments],
            cwd=self.project,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def claude(tmp_path: Path) -> ClaudeCode:
    return ClaudeCode(tmp_path)


def connected(claude: ClaudeCode) -> bool:
    (line,) = [line for line in claude("mcp", "list").splitlines() if line.startswith("fairlead:")]
    return "Connected" in line


def test_the_printed_line_connects_claude_code(claude: ClaudeCode, fleet: System):
    printed = fleet.command("connect", "claude")
    (line,) = [line for line in printed.splitlines() if line.strip().startswith("claude mcp add")]
    program, *arguments = shlex.split(line)
    assert program == "claude"
    claude(*arguments)
    assert connected(claude)


def test_a_wrong_token_does_not_connect(claude: ClaudeCode, fleet: System):
    header = "Authorization: Bearer " + "nonesuch" * 6
    claude("mcp", "add", "--transport", "http", "fairlead", fleet.endpoint, "--header", header)
    assert not connected(claude)
