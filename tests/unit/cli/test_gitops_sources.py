"""`fairlead gitops sources|commits|enable|disable|health`."""

from __future__ import annotations

import json

import pytest

from support.rest_service import RestService
from unit.cli.fleet_service import problem
from unit.cli.gitops_examples import OLD, application, commit, conditions, health, source, tool


def test_the_repositories(fairlead, controller: RestService):
    away = {"reason": "SourceAway", "message": "no \x1b[2Jroute"}
    rows = [
        source(),
        source(name="other", branch="", head=None, age=None, subject="") | away,
        source(name="third", age=0.2, subject=""),
    ]
    document = {"sources": rows, "reason": "", "message": ""}
    controller.answers = {"GET /api/git/status": (200, document)}
    assert fairlead("gitops", "sources").output.splitlines() == [
        "SOURCE  BRANCH  COMMIT        SEEN       STATE",
        "config  main    9a0b1c2d3e4f  4.2 s ago  fresh       "
        "A second folder (https://git.example.org/config.git)",
        "other   -       -             never      SourceAway  no route (https://git.example.org/config.git)",
        "third   main    9a0b1c2d3e4f  just now   fresh       https://git.example.org/config.git",
    ]
    assert json.loads(fairlead("gitops", "sources", "--json").output) == document


def test_there_are_none_and_the_file_is_wrong(fairlead, controller: RestService):
    document = {"sources": [], "reason": "InvalidConfig", "message": "gitops.yml:3:5: no such key"}
    controller.answers = {"GET /api/git/status": (200, document)}
    result = fairlead("gitops", "sources")
    assert "fairlead init" in result.output
    assert "gitops.yml:3:5: no such key; what was in force before stays" in result.stderr


def test_the_commits(fairlead, controller: RestService):
    rows = [
        commit(appliedTo=[], blockedFor=["fleet"]),
        commit(id=OLD, appliedTo=["files", "fleet"], subject="first"),
    ]
    document = {"source": "config", "commits": rows}
    controller.answers = {
        "GET /api/git/commits?limit=20": (200, document),
        "GET /api/git/commits?source=config&limit=5": (200, {"source": "config", "commits": []}),
    }
    assert fairlead("gitops", "commits").output.splitlines() == [
        "COMMIT        WHEN     AUTHOR  IN FORCE AT",
        "9a0b1c2d3e4f  3 h ago  Bob     blocked for fleet  A second folder",
        "3f9c2a71d04b  3 h ago  Bob     files, fleet       first",
    ]
    assert json.loads(fairlead("gitops", "commits", "--json").output) == document
    assert fairlead("gitops", "commits", "config", "-n", "5").output.startswith("config has no commit yet")


def test_an_unknown_repository(fairlead, controller: RestService):
    answer = problem(404, "unknown-source", "Not found", "there is no source 'confg'; known: config")
    controller.answers = {"GET /api/git/commits?source=confg&limit=20": answer}
    result = fairlead("gitops", "commits", "confg")
    assert result.exit_code == 1
    assert "known: config" in result.stderr


@pytest.mark.parametrize(
    ("action", "enabled", "says"),
    [("enable", True, "Git is in charge"), ("disable", False, "the fleet file is in charge")],
)
def test_who_is_in_charge(fairlead, controller: RestService, action: str, enabled: bool, says: str):
    controller.answers = {f"POST /api/gitops/{action}": (200, {"enabled": enabled})}
    assert fairlead("gitops", action).output.startswith(says)
    assert json.loads(fairlead("gitops", action, "--json").output) == {"enabled": enabled}


def test_git_cannot_be_in_charge(fairlead, controller: RestService):
    answer = problem(409, "no-checkout", "Not now", "this folder is in no Git checkout")
    controller.answers = {"POST /api/gitops/enable": answer}
    result = fairlead("gitops", "enable")
    assert result.exit_code == 1
    assert result.stderr == "error: Not now\n  this folder is in no Git checkout\n"


def test_all_is_well(fairlead, controller: RestService):
    document = health(tools=[tool()], applications=[application()])
    controller.answers = {"GET /api/health/environment": (200, document)}
    result = fairlead("gitops", "health")
    assert result.output.splitlines() == [
        "production: healthy",
        "",
        "TOOL  DECLARED  INSTALLED  APPLICATION",
        "node  >=20      22.1.0     fleet",
    ]
    assert result.exit_code == 0
    assert json.loads(fairlead("gitops", "health", "--json").output) == document


def test_something_is_not_as_declared(fairlead, controller: RestService):
    lacking = tool(tool="claude", wanted=">=2", installed=None, fits=False, message="claude is not installed")
    unwell = application(conditions=conditions("Conflict", "1 conflict waits for a person"))
    document = health(healthy=False, tools=[lacking], applications=[unwell])
    controller.answers = {"GET /api/health/environment": (200, document)}
    result = fairlead("gitops", "health")
    lines = result.output.splitlines()
    assert lines[0] == "production: not as declared"
    assert "claude  >=2       -          fleet        claude is not installed" in lines
    assert lines[-1].endswith("1 conflict waits for a person")
    assert result.exit_code == 1
    assert fairlead("gitops", "health", "--json").exit_code == 1


def test_nothing_is_looked_after(fairlead, controller: RestService):
    controller.answers = {"GET /api/health/environment": (200, health(environments={}))}
    result = fairlead("gitops", "health")
    assert result.exit_code == 0
    assert "no applications yet" in result.output
