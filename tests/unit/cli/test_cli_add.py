import json

import pytest

from fairlead.cli import servers
from unit.cli.fleet_service import FleetService, problem

PACKAGE = ("--package", "npm:new@1.2.3")


def test_a_server_is_added_waited_for_and_shown_with_what_makes_it_last(fairlead, fleet: FleetService):
    fleet.states = ["installing", "starting", "ready"]
    result = fairlead(
        *(
            "add",
            "new",
            *PACKAGE,
            "--arg",
            "--verbose",
            "--arg",
            "x y",
            "--env",
            "KEY=${KEY}",
            "--env",
            "A=b=c",
        ),
        *(
            "--sharing",
            "session",
            "--capability",
            "search",
            "--capability",
            "graphs",
            "--min",
            "0",
            "--max",
            "2",
        ),
    )
    assert (result.exit_code, result.stderr) == (0, "")
    entry = {
        "package": "npm:new@1.2.3",
        "args": ["--verbose", "x y"],
        "environment": {"KEY": "${KEY}", "A": "b=c"},
        "sharing": "session",
        "capabilities": ["search", "graphs"],
        "scaling": {"minInstances": 0, "maxInstances": 2},
    }
    [put] = fleet.requests("PUT")
    assert put.body == {"version": "1", "servers": {"git": {"command": "mcp-git"}, "new": entry}}
    assert (put.if_match, put.query) == ('"n0nce-37"', {"dryRun": ["false"], "origin": ["live"]})
    assert result.output == (
        "SERVER  STATE  TOOLS\n"
        "new     ready  2      2 tools\n"
        "\n"
        "This is a live edit on top of the fleet file, kept across restarts; `fairlead overrides` lists it.\n"
        "To make it last, put this into the fleet file:\n"
        "\n"
        "servers:\n"
        "  new:\n"
        "    package: npm:new@1.2.3\n"
        "    args:\n"
        '      - "--verbose"\n'
        "      - x y\n"
        "    environment:\n"
        '      KEY: "${KEY}"\n'
        "      A: b=c\n"
        "    sharing: session\n"
        "    capabilities:\n"
        "      - search\n"
        "      - graphs\n"
        "    scaling:\n"
        "      minInstances: 0\n"
        "      maxInstances: 2\n"
    )


@pytest.mark.parametrize(
    ("source", "entry"),
    [
        (("--command", "mcp-new"), {"command": "mcp-new"}),
        (
            ("--url", "https://mcp.example/mcp", "--header", "X-Team: a: b", "--header", "Accept:*/*"),
            {"url": "https://mcp.example/mcp", "headers": {"X-Team": "a: b", "Accept": "*/*"}},
        ),
    ],
)
def test_each_kind_of_server(
    fairlead, fleet: FleetService, source: tuple[str, ...], entry: dict[str, object]
):
    result = fairlead("add", "new", *source)
    assert (result.exit_code, result.stderr) == (0, "")
    assert fleet.spec["servers"]["new"] == entry


def test_under_gitops_it_says_so(fairlead, fleet: FleetService):
    fleet.owner = "gitops"
    output = fairlead("add", "new", *PACKAGE).output
    assert "on top of what Git says, to which it counts as drift" in output
    assert "put this into the fleet file in Git:" in output


def test_as_json(fairlead, fleet: FleetService):
    document = json.loads(fairlead("add", "new", *PACKAGE, "--json").output)
    assert document["change"]["started"] == ["new"]
    assert document["server"]["state"] == "ready"
    assert document["fleetFile"] == {"servers": {"new": {"package": "npm:new@1.2.3"}}}


def test_a_dry_run_shows_the_change_and_makes_none(fairlead, fleet: FleetService):
    result = fairlead("add", "new", *PACKAGE, "--dry-run")
    assert (result.exit_code, result.output) == (0, "new  would be started\n")
    assert fleet.requests("PUT")[0].query["dryRun"] == ["true"]
    assert list(fleet.spec["servers"]) == ["git"]
    document = json.loads(fairlead("add", "new", *PACKAGE, "--dry-run", "--json").output)
    assert document["change"]["dryRun"] is True
    assert document["server"] is None


@pytest.mark.parametrize(("outcome", "code"), [("idle", 0), ("blocked", 1), ("failed", 1)])
def test_the_exit_code_says_whether_it_answers(fairlead, fleet: FleetService, outcome: str, code: int):
    fleet.states = ["starting", outcome]
    result = fairlead("add", "new", *PACKAGE)
    assert result.exit_code == code
    assert f"new     {outcome}" in result.output


def test_it_does_not_wait_for_ever(fairlead, fleet: FleetService, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(servers, "PATIENCE", 0.0)
    fleet.states = ["starting"]
    assert fairlead("add", "new", *PACKAGE).exit_code == 1


def test_a_name_that_is_taken_says_how_to_replace_it(fairlead, fleet: FleetService):
    result = fairlead("add", "git", *PACKAGE)
    assert result.exit_code == 1
    assert "there is a server 'git' already" in result.stderr
    assert "`fairlead remove git` first" in result.stderr
    assert not fleet.requests("PUT")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("My Server", *PACKAGE), "servers.'My Server': 'My Server' cannot be a server's id"),
        (("../x", "--command", "c"), "cannot be a server's id"),
        (("new", "--package", "npm:new"), "npm:new has no version; write the exact version"),
        (("new", "--url", "ftp://x"), "servers.new.url: not an http or https URL"),
        (("new", "--command", "c", "--env", "1=x"), "servers.new.environment.1: has a character"),
        (("new", "--command", "c", "--env", "A=${"), "the placeholder at character 1 is malformed"),
        (("new", "--command", "c", "--min", "9"), "maxInstances (4) is less than minInstances (9)"),
    ],
)
def test_bad_input_is_refused_before_anything_is_asked(
    fairlead, fleet: FleetService, arguments: tuple[str, ...], told: str
):
    result = fairlead("add", *arguments)
    assert result.exit_code == 2
    assert told in result.stderr
    assert not fleet.received


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("new",), "give one of --package, --command, --url"),
        (("new", *PACKAGE, "--command", "c"), "give one of --package, --command, --url, not more"),
        (("new", *PACKAGE, "--env", "hunter2"), "write it as NAME=VALUE"),
        (("new", *PACKAGE, "--env", "=hunter2"), "write it as NAME=VALUE"),
        (("new", "--url", "http://x", "--header", "hunter2"), "write it as 'Name: value'"),
        (("new", *PACKAGE, "--sharing", "all"), "'all' is not one of"),
        (("new", *PACKAGE, "--max", "0"), "0 is not in the range"),
    ],
)
def test_wrong_usage(fairlead, fleet: FleetService, arguments: tuple[str, ...], told: str):
    result = fairlead("add", *arguments)
    assert result.exit_code == 2
    assert told in result.stderr
    assert "hunter2" not in result.stderr
    assert not fleet.received


def test_what_has_no_effect_is_told(fairlead, fleet: FleetService):
    result = fairlead("add", "new", *PACKAGE, "--header", "A: b")
    assert "warning: servers.new.headers: has no effect on a server that is a package" in result.stderr
    assert result.exit_code == 0


@pytest.mark.parametrize(
    ("option", "advice", "lasting"),
    [
        (("--arg", "--token=s3cr3tvalue"), "--arg '--token=${TOKEN}'", {"args": ["--token=${TOKEN}"]}),
        (("--arg", "sk-s3cr3tvalue"), "--arg '${ARGS}'", {"args": ["${ARGS}"]}),
        (
            ("--arg", "--api-key", "--arg", "s3cr3tvalue"),
            "--arg '${API_KEY}'",
            {"args": ["--api-key", "${API_KEY}"]},
        ),
        (
            ("--url", "https://x/mcp?a=b&api_key=s3cr3tvalue"),
            "--url 'https://x/mcp?a=b&api_key=${API_KEY}'",
            {"url": "https://x/mcp?a=b&api_key=${API_KEY}"},
        ),
        (
            ("--env", "API_KEY=s3cr3tvalue"),
            "--env 'API_KEY=${API_KEY}'",
            {"environment": {"API_KEY": "${API_KEY}"}},
        ),
        (
            ("--header", "X-Api-Key: s3cr3tvalue"),
            "--header 'X-Api-Key: ${X_API_KEY}'",
            {"headers": {"X-Api-Key": "${X_API_KEY}"}},
        ),
    ],
)
def test_a_literal_secret_is_warned_of_and_never_shown(
    fairlead, fleet: FleetService, option: tuple[str, ...], advice: str, lasting: dict[str, object]
):
    source = {"--url": (), "--header": ("--url", "https://x")}.get(option[0], ("--command", "c"))
    result = fairlead("add", "new", *source, *option, "--json")
    assert result.exit_code == 0
    assert "looks like a secret" in result.stderr
    assert advice in result.stderr
    assert "s3cr3tvalue" not in result.stderr + result.stdout
    document = json.loads(result.stdout)["fleetFile"]["servers"]["new"]
    assert document.items() >= lasting.items()
    assert "s3cr3tvalue" in str(fleet.spec["servers"]["new"])  # it was asked for, after all


@pytest.mark.parametrize("value", ["😀", "a\x7fb", "\x85"])
def test_any_character_may_stand_in_a_value(fairlead, fleet: FleetService, value: str):
    assert fairlead("add", "new", "--command", "c", "--env", f"E={value}").exit_code == 0
    assert fleet.spec["servers"]["new"]["environment"] == {"E": value}


def test_what_is_no_text_is_refused(fairlead, fleet: FleetService):
    result = fairlead("add", "new", "--command", "c", "--env", "E=\udce9")  # a byte that is not UTF-8
    assert result.exit_code == 2
    assert "servers.new.environment.E: half of a surrogate pair is no character" in result.stderr


def test_who_comes_too_late_takes_the_new_spec(fairlead, fleet: FleetService):
    other = {"command": "other"}
    fleet.intruders = [
        lambda fleet: fleet.put_spec({**fleet.spec, "servers": {**fleet.spec["servers"], "a": other}}),
        lambda fleet: fleet.put_spec({**fleet.spec, "servers": {**fleet.spec["servers"], "b": other}}),
    ]
    assert fairlead("add", "new", *PACKAGE).exit_code == 0
    assert list(fleet.spec["servers"]) == ["git", "a", "b", "new"]
    assert [put.if_match for put in fleet.requests("PUT")] == ['"n0nce-37"', '"n0nce-38"', '"n0nce-39"']


def test_somebody_else_adds_the_same_name_in_between(fairlead, fleet: FleetService):
    servers = {"git": {"command": "mcp-git"}, "new": {"command": "theirs"}}
    fleet.intruders = [lambda fleet: fleet.put_spec({"version": "1", "servers": servers})]
    result = fairlead("add", "new", *PACKAGE)
    assert result.exit_code == 1
    assert "there is a server 'new' already" in result.stderr
    assert fleet.spec["servers"] == servers


def test_after_some_attempts_it_gives_up(fairlead, fleet: FleetService):
    fleet.answers = {"PUT /api/fleet": problem(412, "changed-meanwhile", "The fleet was changed meanwhile")}
    result = fairlead("add", "new", *PACKAGE)
    assert result.exit_code == 1
    assert "the fleet is being changed by others all the time" in result.stderr
    assert len(fleet.requests("PUT")) == 5


@pytest.mark.parametrize(
    ("status", "code", "exit_code"), [(409, "change-refused", 1), (422, "fleet-invalid", 2), (428, "x", 1)]
)
def test_a_refusal_is_shown_and_not_repeated(
    fairlead, fleet: FleetService, status: int, code: str, exit_code: int
):
    fleet.answers = {"PUT /api/fleet": problem(status, code, "The change was refused", "new: exited with 1")}
    result = fairlead("add", "new", *PACKAGE)
    assert result.exit_code == exit_code
    assert result.stderr == "error: The change was refused\n  new: exited with 1\n"
    assert len(fleet.requests("PUT")) == 1


def test_without_a_running_system(fairlead):
    result = fairlead("add", "new", *PACKAGE)
    assert result.exit_code == 1
    assert "fairlead up" in result.stderr
