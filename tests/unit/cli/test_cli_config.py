import json
from pathlib import Path

import pytest

from fairlead.app.settings import KEYS
from fairlead.cli.config import settings_page

DOCS = Path(__file__).parents[3] / "docs" / "settings.md"
ORIGINAL = """\
version: "2.0"
servers:
  # history
  dev-tools:
    id: dev-tools-main
    deploymentType: process
    command: mcp-server-git
    healthCheck:
      interval: 30000
"""


def test_the_page_on_settings_is_made_from_the_model(fairlead):
    assert DOCS.read_text(encoding="utf-8") == settings_page(), "run: fairlead config docs > docs/settings.md"
    assert fairlead("config", "docs").stdout == settings_page()
    for key in KEYS:
        assert f"| `{key.path}` | `{key.variable}` |" in settings_page()


def test_show_tells_values_and_origins(fairlead, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "fairlead.toml").write_text("[edge]\nbody_timeout = 12\n")
    monkeypatch.setenv("FAIRLEAD_TOKEN", "0123456789abcdef")
    result = fairlead("config", "show", "--port", "0")
    rows = {line.split()[0]: line.split() for line in result.stdout.splitlines() if line}
    assert rows["edge.body_timeout"][1:] == ["12", "s", str(tmp_path / "fairlead.toml")]
    assert rows["port"][1:] == ["0", "--port"]
    assert rows["token"][1:] == ["********", "FAIRLEAD_TOKEN"]
    assert rows["host"][1:] == ["127.0.0.1", "default"]
    assert "0123456789abcdef" not in result.output
    document = json.loads(fairlead("config", "show", "--json").stdout)
    assert [row["key"] for row in document["settings"]] == [key.path for key in KEYS]


def test_bad_settings_are_bad_input(fairlead, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FAIRLEAD_PORT", "many")
    result = fairlead("config", "show")
    assert result.exit_code == 2
    assert "FAIRLEAD_PORT: should be a valid integer" in result.stderr


def test_an_unknown_variable_is_told_and_the_command_goes_on(fairlead, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FAIRLEAD_PROT", "1")
    result = fairlead("config", "show", "--json")
    assert result.exit_code == 0
    assert result.stderr.startswith("warning: FAIRLEAD_PROT: ")
    assert "did you mean FAIRLEAD_PORT?" in result.stderr
    json.loads(result.stdout)


def test_the_schema_is_json(fairlead):
    schema = json.loads(fairlead("config", "schema").stdout)
    assert "servers" in schema["properties"]


def test_upgrade_prints_and_leaves_the_file(fairlead, tmp_path: Path):
    file = tmp_path / "old.yml"
    file.write_text(ORIGINAL)
    result = fairlead("config", "upgrade", str(file))
    assert result.exit_code == 0, result.output
    assert "# history" in result.stdout
    assert "30000" not in result.stdout
    assert file.read_text() == ORIGINAL


def test_upgrade_writes_and_keeps_the_old_one(fairlead, tmp_path: Path):
    file = tmp_path / "old.yml"
    file.write_text(ORIGINAL)
    file.chmod(0o640)
    document = json.loads(fairlead("config", "upgrade", str(file), "--write", "--json").stdout)
    assert document["changed"] is document["written"] is True
    assert file.read_text() == document["text"] != ORIGINAL
    assert file.stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "old.yml.orig").read_text() == ORIGINAL
    assert {path.name for path in tmp_path.iterdir()} == {"old.yml", "old.yml.orig"}
    again = fairlead("config", "upgrade", str(file), "--write")
    assert "in today's form already" in again.stdout
    assert (tmp_path / "old.yml.orig").read_text() == ORIGINAL


def test_a_file_that_does_not_load_is_an_error(fairlead, tmp_path: Path):
    file = tmp_path / "old.yml"
    file.write_text("servers: [")
    result = fairlead("config", "upgrade", str(file), "--write")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert file.read_text() == "servers: ["
