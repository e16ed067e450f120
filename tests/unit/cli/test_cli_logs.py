import json

import pytest

from fairlead.stores.state import GITOPS, StateFolder


@pytest.fixture
def git_log(state: StateFolder):
    state.prepare()
    path = state.server_log("git")
    path.with_name("git.log.1").write_text("old\n")
    path.write_text("one\ntwo\nthree\nunfin")
    return path


def test_the_last_lines_reach_into_the_rotated_file(fairlead, git_log):
    assert fairlead("logs", "git").output == "old\none\ntwo\nthree\nunfin\n"
    assert fairlead("logs", "git", "-n", "2").output == "three\nunfin\n"
    assert fairlead("logs", "git", "-n", "0").output == ""


def test_as_json(fairlead, git_log):
    lines = fairlead("logs", "git", "-n", "1", "--json").output.splitlines()
    assert [json.loads(line) for line in lines] == [{"server": "git", "line": "unfin"}]


def test_without_a_server_the_orchestrators_own(fairlead, state: StateFolder):
    result = fairlead("logs")
    assert result.exit_code == 1
    assert "there is no log of the orchestrator" in result.stderr
    state.prepare()
    state.log.write_text("up\n")
    assert fairlead("logs").output == "up\n"


def test_an_unknown_server_names_the_known_ones(fairlead, git_log):
    result = fairlead("logs", "gti")
    assert result.exit_code == 1
    assert "there is no log of gti" in result.stderr
    assert "there are logs of git" in result.stderr


@pytest.mark.parametrize("name", ["../tokens", "/etc/passwd", "..", ".hidden", "a b", "a\n"])
def test_a_name_never_leaves_the_folder(fairlead, git_log, name: str):
    result = fairlead("logs", name)
    assert result.exit_code == 2
    assert "cannot be a server's id" in result.stderr


def test_the_gitops_controllers_own(fairlead, state: StateFolder):
    result = fairlead("logs", "--gitops")
    assert result.exit_code == 1
    assert "there is no log of the GitOps controller" in result.stderr
    state.prepare()
    state.log.write_text("orchestrator\n")
    state.of(GITOPS).log.write_text("gitops\n")
    assert fairlead("logs", "--gitops").output == "gitops\n"
    assert fairlead("logs").output == "orchestrator\n"


def test_a_server_has_no_log_in_the_gitops_controller(fairlead, git_log):
    result = fairlead("logs", "git", "--gitops")
    assert result.exit_code == 2
    assert "leave the server out" in result.stderr
