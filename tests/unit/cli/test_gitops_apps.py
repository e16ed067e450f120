"""`fairlead gitops apps|show|hold|release|suspend|resume|unblock`."""

from __future__ import annotations

import json
import time

import pytest

from fairlead.stores.state import GITOPS, StateFolder
from fairlead.stores.tokens import TokenStore
from support.rest_service import RestService
from unit.cli.fleet_service import problem
from unit.cli.gitops_examples import NEW, OLD, application, conditions

BLOCKED = application(
    "files",
    mode="observe",
    applied=OLD,
    drift=3,
    conflicts=1,
    suspended=True,
    conditions=conditions("BlockedCommit", "9a0b1c2d3e4f is not applied: \x1b[2Jmagic exited with code 1"),
    holds=[{"path": "servers.magic.**", "by": "ada", "reason": "incident 42", "until": time.time() + 7230}],
    blocked=[{"commit": NEW, "at": time.time() - 7230, "reason": "magic exited with code 1"}],
)


def test_applications_are_listed(fairlead, controller: RestService):
    document = {"applications": [application(), BLOCKED]}
    controller.answers = {"GET /api/applications": (200, document)}
    note = "9a0b1c2d3e4f is not applied: magic exited with code 1 (suspended) (1 hold)"
    assert fairlead("gitops", "apps").output.splitlines() == [
        "APPLICATION  ENVIRONMENT  MODE     STATE          COMMIT                        DRIFT",
        "fleet        production   enforce  Synced         9a0b1c2d3e4f                  -",
        "files        production   observe  BlockedCommit  3f9c2a71d04b -> 9a0b1c2d3e4f  3 (1 conflict)  "
        + note,
    ]
    assert json.loads(fairlead("gitops", "apps", "--json").output) == document
    assert controller.received[0].token


def test_a_narrow_terminal(fairlead, controller: RestService, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "80")
    controller.answers = {"GET /api/applications": (200, {"applications": [BLOCKED]})}
    lines = fairlead("gitops", "apps").output.splitlines()
    assert lines[2:] == [
        "    9a0b1c2d3e4f is not applied: magic exited with code 1 (suspended) (1 hold)",
    ]


def test_there_are_no_applications(fairlead, controller: RestService):
    controller.answers = {"GET /api/applications": (200, {"applications": []})}
    assert "config/gitops.yml" in fairlead("gitops", "apps").output


def test_one_in_detail(fairlead, controller: RestService):
    controller.answers = {"GET /api/applications/files": (200, BLOCKED)}
    lines = fairlead("gitops", "show", "files").output.splitlines()
    assert lines[0] == "files"
    for line in (
        "  mode         observe, suspended",
        "  commit       3f9c2a71d04b -> 9a0b1c2d3e4f",
        "  drift        3 places, of them 1 conflict",
    ):
        assert line in lines
    told = [" ".join(line.split()) for line in lines]
    assert "Ready no BlockedCommit 9a0b1c2d3e4f is not applied: magic exited with code 1" in told
    assert "9a0b1c2d3e4f 2 h ago magic exited with code 1" in told
    assert any(line.startswith("servers.magic.** by ada for 2 h more, until ") for line in told)
    assert any(line.endswith("Z: incident 42") for line in told)
    assert json.loads(fairlead("gitops", "show", "files", "--json").output) == BLOCKED


def test_a_path_is_held_and_released(fairlead, controller: RestService):
    hold = {"path": "servers.x", "by": "ada", "reason": "incident", "until": time.time() + 7230}
    controller.answers = {
        "PUT /api/applications/fleet/holds": (200, hold),
        "DELETE /api/applications/fleet/holds?path=servers.x%26y": (204, b""),
    }
    given = ("gitops", "hold", "fleet", "servers.x", "--for", "2h", "--reason", "incident")
    assert fairlead(*given).output.startswith("fleet: servers.x is held for 2 h more, until 20")
    assert controller.received[0].body == {"path": "servers.x", "seconds": 7200.0, "reason": "incident"}
    assert json.loads(fairlead(*given, "--json").output) == hold
    released = ("gitops", "release", "fleet", "servers.x&y")
    assert fairlead(*released).output == "fleet: Git decides about servers.x&y again\n"
    assert json.loads(fairlead(*released, "--json").output) == {
        "application": "fleet",
        "released": "servers.x&y",
    }


@pytest.mark.parametrize("action", ["suspend", "resume"])
def test_an_application_is_steered(fairlead, controller: RestService, action: str):
    answer = application()
    controller.answers = {f"POST /api/applications/fleet/{action}": (200, answer)}
    assert fairlead("gitops", action, "fleet").output.startswith("fleet is ")
    assert json.loads(fairlead("gitops", action, "fleet", "--json").output) == answer


def test_a_commit_is_unblocked(fairlead, controller: RestService):
    controller.answers = {"DELETE /api/applications/fleet/blocked/9a0b": (204, b"")}
    assert fairlead("gitops", "unblock", "fleet", "9A0B").output == "fleet: 9a0b is blocked no more\n"
    answer = json.loads(fairlead("gitops", "unblock", "fleet", "9A0B", "--json").output)
    assert answer == {"application": "fleet", "unblocked": "9a0b"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("show", "a/b"),
        ("show",),
        ("hold", "fleet", "x", "--for", "2h"),
        ("hold", "fleet", "x", "--for", "soon", "--reason", "x"),
        ("unblock", "fleet", "../x"),
        ("unblock", "fleet", "no-commit"),
        ("nonesuch",),
    ],
)
def test_wrong_usage(fairlead, controller: RestService, arguments: tuple[str, ...]):
    assert fairlead("gitops", *arguments).exit_code == 2
    assert not controller.received


def test_an_unknown_application(fairlead, controller: RestService):
    controller.answers = {
        "GET /api/applications/flet": problem(
            404, "unknown-application", "No such application", "there is no application 'flet'; known: fleet"
        )
    }
    result = fairlead("gitops", "show", "flet")
    assert result.exit_code == 1
    assert result.stderr == "error: No such application\n  there is no application 'flet'; known: fleet\n"


def test_bad_input_that_the_service_finds(fairlead, controller: RestService):
    answer = problem(422, "bad-path", "The request is not valid", "the path has an empty part")
    controller.answers = {"PUT /api/applications/fleet/holds": answer}
    result = fairlead("gitops", "hold", "fleet", "a..b", "--for", "2h", "--reason", "x")
    assert result.exit_code == 2
    assert "empty part" in result.stderr


def test_a_token_that_is_not_valid_there(fairlead, controller: RestService):
    controller.answers = {"GET /api/applications": problem(401, "unauthorized", "Not let in")}
    assert "fairlead token list" in fairlead("gitops", "apps").stderr


@pytest.mark.parametrize("command", [("gitops", "apps"), ("gitops", "sync", "--wait"), ("drift",)])
def test_the_controller_does_not_run(fairlead, state: StateFolder, command: tuple[str, ...]):
    result = fairlead(*command)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: the GitOps controller does not run\n")
    assert "`fairlead up`" in result.stderr
    assert "`fairlead gitops`" in result.stderr


def test_it_is_just_starting(fairlead, state: StateFolder):
    state.prepare()
    with state.of(GITOPS).lock():
        result = fairlead("gitops", "apps")
    assert "just starting or stopping" in result.stderr
    assert "fairlead logs --gitops" in result.stderr


def test_it_does_not_answer(fairlead, state: StateFolder):
    state.prepare()
    TokenStore(state).ensure_local()
    with RestService() as gone:
        address = gone.address
    state.of(GITOPS).write_run({GITOPS: address}, "0")
    result = fairlead("gitops", "apps")
    assert result.exit_code == 1
    assert f"  {address}: " in result.stderr
    assert "`fairlead logs --gitops`" in result.stderr


def test_help_has_all_commands_and_needs_no_service(fairlead):
    told = fairlead("gitops", "--help").output
    for name in ("apps", "sync", "rollback", "promote", "hold", "enable", "health", "run"):
        assert f"\n  {name} " in told
        assert fairlead("gitops", name, "--help").exit_code == 0


@pytest.mark.parametrize(
    ("command", "query", "answer"),
    [
        ("events", "GET /api/events?limit=50", {"events": [], "next": 0}),
        ("audit", "GET /api/audit?limit=50", {"records": []}),
    ],
)
def test_events_and_audit_of_the_controller(
    fairlead, controller: RestService, command: str, query: str, answer: dict[str, object]
):
    controller.answers = {query: (200, answer)}
    assert fairlead(command).stderr.startswith("error: Fairlead does not run")
    assert json.loads(fairlead(command, "--gitops", "--json").output) == answer
