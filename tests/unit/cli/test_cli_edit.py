import json

import pytest

from fairlead.cli.edit import change_lines, without_server
from support.rest_service import server_status
from unit.cli.fleet_service import FleetService, balance, change


def test_a_server_is_removed_with_its_weight_after_a_question(fairlead, fleet: FleetService):
    rest = {
        "servers": {"a": {"command": "a"}},
        "loadBalancing": {"strategy": "weighted", "weights": {"a": 2.0}},
    }
    weights = {"strategy": "weighted", "weights": {"a": 2.0, "git": 0.5}}
    fleet.spec = {"servers": {**rest["servers"], "git": {"command": "mcp-git"}}, "loadBalancing": weights}
    result = fairlead("remove", "git", stdin="y\n")
    assert result.exit_code == 0
    assert "Remove git from the running fleet? [y/N]" in result.stderr
    assert fleet.spec == rest
    assert fleet.requests("PUT")[0].if_match == '"n0nce-37"'
    assert result.stdout.splitlines() == [
        "git  stopped, after its calls",
        "This is a live edit on top of the fleet file, kept across restarts; `fairlead overrides` lists it.",
        "To make it last, take `servers.git` out of the fleet file, and its weight if it has one.",
    ]


@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
def test_nothing_is_removed_without_a_yes(fairlead, fleet: FleetService, answer: str):
    assert fairlead("remove", "git", stdin=answer).exit_code == 1
    assert not fleet.requests("PUT")


def test_yes_as_an_option(fairlead, fleet: FleetService):
    result = fairlead("remove", "git", "--yes", "--json")
    assert result.stderr == ""
    assert json.loads(result.stdout)["stopped"] == ["git"]
    assert fleet.spec["servers"] == {}


def test_the_removal_of_a_live_edit_leaves_nothing_to_do(fairlead, fleet: FleetService):
    fleet.overrides = [
        {"key": "servers.git", "value": {}, "removed": False, "was": None, "by": "a", "at": 0.0}
    ]
    output = fairlead("remove", "git", "--yes").output
    assert "git stood in no file: it was a live edit itself" in output
    assert "To make it last" not in output


@pytest.mark.parametrize(
    ("name", "hint"),
    [("gitt", "did you mean 'git'?"), ("nonesuch", "there are: git")],
)
def test_an_unknown_server_is_told_before_any_question(fairlead, fleet: FleetService, name: str, hint: str):
    result = fairlead("remove", name)
    assert result.exit_code == 1
    assert f"there is no server '{name}'" in result.stderr
    assert hint in result.stderr
    assert not fleet.requests("PUT")


def test_who_else_changes_the_fleet_is_not_undone(fairlead, fleet: FleetService):
    servers = {"git": {"command": "mcp-git"}, "theirs": {"command": "t"}}
    fleet.intruders = [lambda fleet: fleet.put_spec({"version": "2", "servers": servers})]
    assert fairlead("remove", "git", "--yes").exit_code == 0
    assert fleet.spec == {"version": "2", "servers": {"theirs": {"command": "t"}}}


def test_a_spec_is_not_changed_in_place():
    spec = {"servers": {"a": {}, "b": {}}, "loadBalancing": {"weights": {"a": 1.0}}}
    before = json.dumps(spec)
    assert without_server(spec, "a") == {"servers": {"b": {}}, "loadBalancing": {"weights": {}}}
    assert without_server(spec, "b") == {"servers": {"a": {}}, "loadBalancing": {"weights": {"a": 1.0}}}
    assert json.dumps(spec) == before


@pytest.mark.parametrize(
    "command",
    [
        ("add", "new", "--command", "c"),
        ("remove", "git", "--yes"),
        ("overrides", "--drop-all", "--json"),
        ("scale", "git", "2"),
        ("strategy", "weighted"),
    ],
)
def test_a_change_that_a_restart_forgets_says_so_loudly(
    fairlead, fleet: FleetService, command: tuple[str, ...]
):
    fleet.answers = {
        "POST /api/servers/git/scale": (200, server_status("git")),
        "POST /api/load-balancer/strategy": (200, balance()),
    }
    assert "RESTART FORGETS" not in fairlead(*command).stderr
    fleet.spec, fleet.saves = {"version": "1", "servers": {"git": {"command": "mcp-git"}}}, False
    result = fairlead(*command)
    assert result.exit_code == 0
    assert "warning: the change is in force, but could not be written" in result.stderr
    assert "THE NEXT RESTART FORGETS IT" in result.stderr


def test_a_change_in_words():
    made = change(
        started=["a"], replaced=["bb"], adjusted=["c"], stopped=["d"], kept=["e"],
        sessions_moved=[{"server": "f", "sessions": ["x"]}, {"server": "g", "sessions": ["x", "y"]}],
        dropped_overrides=["servers.h.strategy"],
    )  # fmt: skip
    assert [" ".join(line.split()) for line in change_lines(made)] == [
        "a started",
        "bb replaced by a new version",
        "c adjusted, without a new process",
        "d stopped, after its calls",
        "f 1 session got a new instance",
        "g 2 sessions got a new instance",
        "servers.h.strategy this live edit was dropped",
    ]
    assert change_lines(made | {"dryRun": True})[4].endswith("1 session would get a new instance")
    assert change_lines(change(kept=["e"])) == ["nothing had to change"]
    assert change_lines(change(dry_run=True)) == ["nothing would change"]
