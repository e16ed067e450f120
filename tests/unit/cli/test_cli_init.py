from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from fairlead.cli import init as init_module
from fairlead.formats.yaml_document import read
from fairlead.gitops.rendering import Renderer
from fairlead.model.errors import Fault, Problem, ProblemError

APPLICATION = "name: a\ntarget: {fleet: {}}\n"


def test_a_new_repository_is_valid_and_committed_by_nobody(fairlead, tmp_path: Path):
    result = fairlead("init", "conf")
    assert result.exit_code == 0, result.output
    assert "fairlead validate conf" in result.stdout
    made = {
        str(path.relative_to(tmp_path / "conf")) for path in (tmp_path / "conf").rglob("*") if path.is_file()
    }
    assert {
        "README.md",
        ".gitlab-ci.yml",
        ".github/workflows/validate.yml",
        "applications/production.yml",
        "base/mcp-servers.yml",
        "environments/staging/mcp-servers.yml",
        "teams/README.md",
        "projects/README.md",
        "users/README.md",
    } <= made
    ran = subprocess.run(
        ["git", "status", "--short"], cwd=tmp_path / "conf", capture_output=True, text=True, check=True
    )
    assert "?? base/" in ran.stdout
    checked = fairlead("validate", "--strict", "conf")
    assert checked.exit_code == 0, checked.output
    assert checked.stdout == "conf: 3 applications, 0 errors, 0 warnings\n"


def test_ci_validates_and_is_yaml(fairlead, tmp_path: Path):
    fairlead("init", "conf")
    workflow = read((tmp_path / "conf/.github/workflows/validate.yml").read_bytes())
    assert workflow["jobs"]["validate"]["steps"][-1] == {"run": "fairlead validate ."}
    assert (
        read((tmp_path / "conf/.gitlab-ci.yml").read_bytes())["validate"]["script"][-1]
        == "fairlead validate ."
    )


def test_nothing_is_overwritten(fairlead, tmp_path: Path):
    mine = tmp_path / "conf/base/mcp-servers.yml"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    result = fairlead("init", "conf")
    assert result.exit_code == 2
    assert "base/mcp-servers.yml" in result.stderr
    assert mine.read_text() == "mine"
    assert [path for path in mine.parents[1].rglob("*") if path.is_file()] == [mine]


def test_a_readme_that_is_there_stays(fairlead, tmp_path: Path):
    (tmp_path / "README.md").write_text("mine")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    result = fairlead("init", ".", "--json")
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert said["git"] is True
    assert "README.md" not in said["files"]
    assert (tmp_path / "README.md").read_text() == "mine"


def test_without_git_it_is_a_folder(fairlead, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(init_module.shutil, "which", lambda _: None)
    result = fairlead("init", "conf")
    assert result.exit_code == 0
    assert "git init, commit and push" in result.stdout
    assert not (tmp_path / "conf/.git").exists()


def test_a_git_that_fails_is_told(fairlead, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "git").write_text("#!/bin/sh\necho 'disk full' >&2\nexit 1\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setattr(init_module.shutil, "which", lambda _: str(tmp_path / "git"))
    result = fairlead("init", "conf")
    assert result.exit_code == 0
    assert "git init failed: disk full" in result.stderr


# -- fairlead validate DIR ------------------------------------------------------------------------------


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "conf"
    for name, text in {
        "applications/a.yml": APPLICATION,
        "base/mcp-servers.yml": "version: '1'\nservers: {a: {command: x}}\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_every_layer_of_every_application_is_checked(fairlead, repository: Path):
    (repository / "environments/development").mkdir(parents=True)
    (repository / "environments/development/mcp-servers.yml").write_text("servers: {a: {argz: []}}\n")
    (repository / "applications/b.yml").write_text("name: b\ntarget: {fleet: {url: 'https://b'}}\n")
    (repository / "applications/c.yml").write_text("name: c\n")
    result = fairlead("validate", "conf")
    assert result.exit_code == 1
    first, second, summary = result.stdout.splitlines()
    assert first.startswith("conf/applications/c.yml:1:1: error: target: is missing")
    assert second.startswith(
        "conf/environments/development/mcp-servers.yml:1:15: error: servers.a.argz: unknown"
    )
    assert summary == "conf: 2 applications, 2 errors, 0 warnings"
    said = json.loads(fairlead("validate", "conf", "--json").stdout)
    assert (said["folder"], said["valid"]) == ("conf", False)
    assert [problem["file"] for problem in said["problems"]] == [
        "conf/applications/c.yml",
        "conf/environments/development/mcp-servers.yml",
    ]


def test_warnings_fail_only_when_they_shall(fairlead, repository: Path):
    (repository / "applications/a.yml").write_text(APPLICATION + "layers: {team: none}\n")
    assert fairlead("validate", "conf").exit_code == 0
    result = fairlead("validate", "--strict", "conf")
    assert result.exit_code == 1
    assert "conf/teams/none:1:1: warning: there is no such layer" in result.stdout


def test_a_link_in_place_of_a_layer_is_refused(fairlead, repository: Path):
    (repository / "base/files").symlink_to(repository)
    (repository / "applications/f.yml").write_text("name: f\ntarget: {files: {root: /x}}\nrender: files\n")
    result = fairlead("validate", "conf")
    assert result.exit_code == 1
    assert "conf/base/files:1:1: error: it is a symbolic link; put the file itself" in result.stdout


def test_an_application_that_cannot_be_rendered_at_all(
    fairlead, repository: Path, monkeypatch: pytest.MonkeyPatch
):
    async def check(*_):
        raise ProblemError(Problem("source-refused", "refused", "there is too much", 422, Fault.CLIENT))

    monkeypatch.setattr(Renderer, "check", check)
    result = fairlead("validate", "conf")
    assert result.exit_code == 1
    assert "conf/applications/a.yml:1:1: error: there is too much\n" in result.stdout


def test_the_controllers_file_is_checked_with_it(fairlead, repository: Path):
    (repository / "config").mkdir()
    (repository / "config/gitops.yml").write_text("sources: {a: {url: 'ftp://x/y'}}\n")
    result = fairlead("validate", "conf")
    assert result.exit_code == 1
    assert "conf/config/gitops.yml:1:20: error: sources.a.url: the URL is none of https://" in result.stdout


def test_a_folder_without_applications_is_no_repository(fairlead, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    result = fairlead("validate", "empty")
    assert result.exit_code == 1
    assert "there is no application here; `fairlead init DIR` makes a repository" in result.stdout


@pytest.mark.parametrize(
    ("text", "summary"),
    [
        (APPLICATION, "1 application, 0 errors, 0 warnings"),
        ("target: {}\n", "2 errors, 0 warnings"),
        ("sources: {a: {url: 'https://x/y'}, b: {url: /srv/x}}\n", "2 sources, 0 errors, 0 warnings"),
        ("sources: {a: {url: 'http://x/y'}}\n", "1 error, 0 warnings"),
        ("version: '1'\nservers: {}\n", "0 servers, 0 errors, 0 warnings"),
        ("[]", "1 error, 0 warnings"),
    ],
)
def test_a_file_is_what_its_keys_say(fairlead, tmp_path: Path, text: str, summary: str):
    (tmp_path / "f.yml").write_text(text)
    result = fairlead("validate", "f.yml")
    assert result.stdout.splitlines()[-1] == f"f.yml: {summary}", result.output
