"""`fairlead gitops history|deployment|rollback|promote|approve|cancel`."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from fairlead.cli import gitops_deploy, gitops_follow
from support.rest_service import RestService
from unit.cli.fleet_service import problem
from unit.cli.gitops_examples import EARLIER, ID, NEW, OLD, application, conditions, deployment, step

PENDING = {"state": "pending", "ended": None, "seconds": None}


def undoable(app: str = "fleet") -> str:
    return f"GET /api/deployments?application={app}&state=succeeded&limit=500"


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gitops_follow, "POLL", 0.0)


def listed(*rows: dict[str, Any]) -> tuple[int, Any]:
    return 200, {"deployments": list(rows)}


def test_the_history_of_all(fairlead, controller: RestService):
    rows = [
        deployment("waiting", ended=None, seconds=None, message="waits for \x1b[2Japproval"),
        deployment(id=EARLIER, actor="김하늘"),
    ]
    controller.answers = {"GET /api/deployments?limit=20": listed(*rows)}
    assert fairlead("gitops", "history").output.splitlines() == [
        "ID                     APPLICATION  STATE      COMMIT        WHY     BY      BEGUN    TOOK",
        "01a1f4a3c800-5b2e9c1d  fleet        waiting    9a0b1c2d3e4f  commit  ada     3 h ago  -     "
        "waits for approval",
        "01a1f4a3b000-aaaaaaaa  fleet        succeeded  9a0b1c2d3e4f  commit  김하늘  3 h ago  12 s",
    ]
    assert json.loads(fairlead("gitops", "history", "--json").output) == {"deployments": rows}


def test_the_history_of_one_in_a_narrow_terminal(
    fairlead, controller: RestService, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", "80")
    row = deployment("failed", message="magic is failed: exited with code 1; nothing was changed")
    query = "application=fleet&state=failed&state=rolled-back&limit=3"
    controller.answers = {
        "GET /api/applications/fleet": (200, application()),
        f"GET /api/deployments?{query}": listed(row),
    }
    states = ("--state", "failed", "--state", "rolled-back")
    lines = fairlead("gitops", "history", "fleet", *states, "-n", "3").output.splitlines()
    assert lines[1].startswith("01a1f4a3c800-5b2e9c1d  failed  9a0b1c2d3e4f  commit  ada")
    assert lines[2] == "    magic is failed: exited with code 1; nothing was changed"


@pytest.mark.parametrize(("more", "says"), [((), "no deployments yet"), (("--state", "failed"), "no deploy")])
def test_an_empty_history(fairlead, controller: RestService, more: tuple[str, ...], says: str):
    query = "state=failed&limit=20" if more else "limit=20"
    controller.answers = {f"GET /api/deployments?{query}": listed()}
    assert fairlead("gitops", "history", *more).output.startswith(says)


def test_the_history_of_an_unknown_application(fairlead, controller: RestService):
    answer = problem(404, "unknown-application", "No such application", "known: fleet")
    controller.answers = {"GET /api/applications/flet": answer}
    assert fairlead("gitops", "history", "flet").stderr == "error: No such application\n  known: fleet\n"


def test_one_deployment(fairlead, controller: RestService):
    row = deployment(
        "rolled-back",
        message="magic is failed; 3f9c2a71d04b is in force again",
        steps=[
            step("fetch", message="of config"),
            step("health", 75.0, error="magic is failed"),
            step("roll-back", None),
        ],
        difference="--- live/fleet\n+++ git/fleet\n-  1\n+  2",
        approvedBy=["ada", "bob"],
    )
    controller.answers = {f"GET /api/deployments/{ID}": (200, row)}
    lines = fairlead("gitops", "deployment", ID).output.splitlines()
    assert lines[0] == f"deployment {ID}"
    for line in (
        "  application  fleet (production)",
        "  state        rolled-back",
        "               magic is failed; 3f9c2a71d04b is in force again",
        f"  commit       {NEW}",
        "  author       Bob <bob@example.org>",
        f"  before       {OLD}",
        "  why          commit, by ada",
        "  approved by  ada, bob",
        "  fetch       0.1 s  of config",
        "  health      1 min  magic is failed",
        "  roll-back     ...",
    ):
        assert line in lines
    assert any(line.endswith("(3 h ago), took 12 s") for line in lines)
    assert lines[-4:] == ["--- live/fleet", "+++ git/fleet", "-  1", "+  2"]
    assert json.loads(fairlead("gitops", "deployment", ID, "--json").output) == row


def test_a_rollback_of_a_deployment(fairlead, controller: RestService):
    answer = deployment(**PENDING, id=EARLIER, commit=OLD, reason="rollback")
    controller.answers = {f"POST /api/deployments/{ID}/rollback": (202, answer)}
    assert fairlead("gitops", "rollback", ID).output.splitlines() == [
        f"deployment {EARLIER} of fleet (3f9c2a71d04b): pending",
        f"`fairlead gitops deployment {EARLIER}` shows how it goes",
    ]
    assert controller.received[0].body == {}
    assert json.loads(fairlead("gitops", "rollback", ID, "--to", "3f9c", "--json").output) == answer
    assert controller.received[1].body == {"to": "3f9c"}


def test_a_rollback_of_an_application_takes_back_its_last_change(fairlead, controller: RestService):
    """What healed drift, or went back itself, changed no commit."""
    controller.answers = {
        "GET /api/applications/fleet": (200, application()),
        undoable(): listed(
            deployment(id="000000000004-00000000", reason="heal", previous=NEW),
            deployment(id="000000000003-00000000", reason="rollback", previous=OLD),
            deployment(id="000000000002-00000000", commit=OLD),
            deployment(id="000000000001-00000000"),
            deployment(id="000000000000-00000000", previous=None),
        ),
        "POST /api/deployments/000000000001-00000000/rollback": (202, deployment(**PENDING)),
    }
    assert fairlead("gitops", "rollback", "fleet").exit_code == 0


def test_a_rollback_of_an_application_to_a_place(fairlead, controller: RestService):
    ended = "&".join(
        f"state={each}" for each in ("cancelled", "failed", "rolled-back", "succeeded", "superseded")
    )
    controller.answers = {
        "GET /api/applications/fleet": (200, application()),
        f"GET /api/deployments?application=fleet&{ended}&limit=500": listed(deployment("failed")),
        f"POST /api/deployments/{ID}/rollback": (202, deployment(**PENDING)),
    }
    assert fairlead("gitops", "rollback", "fleet", "--to", EARLIER).exit_code == 0
    assert controller.received[-1].body == {"to": EARLIER}


def test_there_is_nothing_to_go_back_to(fairlead, controller: RestService):
    controller.answers = {
        "GET /api/applications/fleet": (200, application()),
        undoable(): listed(deployment(previous=None)),
    }
    result = fairlead("gitops", "rollback", "fleet")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: there is nothing to go back to\n")
    assert "--to" in result.stderr


def test_waiting_shows_the_steps_as_they_go(fairlead, controller: RestService):
    fetched = step("fetch", message="of config")
    running = {"state": "running", "ended": None, "seconds": None}
    controller.answers = {
        "GET /api/applications/fleet": (200, application()),
        "POST /api/applications/fleet/promote": (202, deployment(**PENDING)),
        "POST /api/drift/check": (200, {}),
        f"GET /api/deployments/{ID}": (
            200,
            [
                deployment(**PENDING),
                deployment(**running, steps=[step("fetch", None)]),
                deployment(**running, steps=[fetched, step("apply", None)]),
                deployment(steps=[fetched, step("apply", 0.7, message="wave 1 of 1: fleet")], message="well"),
            ],
        ),
    }
    assert fairlead("gitops", "promote", "fleet", "--wait").output.splitlines() == [
        f"deployment {ID} of fleet: 9a0b1c2d3e4f",
        "  fetch       0.1 s  of config",
        "  apply       0.7 s  wave 1 of 1: fleet",
        "succeeded after 12 s: well",
    ]


def test_an_approval_is_followed_beyond_the_wait(fairlead, controller: RestService):
    """The deployment still waits when the answer comes: the next look goes on with it."""
    waiting = deployment("waiting", ended=None, seconds=None, approvedBy=["ada"])
    controller.answers = {
        f"POST /api/deployments/{ID}/approve": (200, waiting),
        "POST /api/drift/check": (200, {}),
        f"GET /api/deployments/{ID}": (200, deployment("rolled-back", message="magic is failed")),
    }
    result = fairlead("gitops", "approve", ID, "--wait", "--revision", "3")
    assert result.exit_code == 1
    assert result.output.splitlines()[-1] == "rolled-back after 12 s: magic is failed"
    assert "waiting" in fairlead("gitops", "approve", ID).output


@pytest.mark.parametrize(("answer", "agreed"), [("y", True), ("n", False)])
def test_what_was_shown_is_what_is_approved(
    fairlead, controller: RestService, monkeypatch: pytest.MonkeyPatch, answer: str, agreed: bool
):
    monkeypatch.setattr(gitops_deploy, "is_terminal", lambda: True)
    waiting = deployment("waiting", ended=None, seconds=None, difference="+  shown", revision=7)
    controller.answers = {
        f"GET /api/deployments/{ID}": (200, waiting),
        f"POST /api/deployments/{ID}/approve": (200, waiting),
    }
    result = fairlead("gitops", "approve", ID, stdin=answer)
    assert "+  shown" in result.stdout
    assert (result.exit_code == 0) is agreed
    tags = [each.if_match for each in controller.received if each.method == "POST"]
    assert tags == (['"7"'] if agreed else [])
    assert "?" not in fairlead("gitops", "approve", ID, "--yes").stderr


def test_an_approval_of_what_was_looked_at_before(fairlead, controller: RestService):
    controller.answers = {
        f"POST /api/deployments/{ID}/approve": problem(412, "changed-meanwhile", "It was changed meanwhile")
    }
    result = fairlead("gitops", "approve", ID, "--revision", "3", "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("error: It was changed meanwhile\n")
    assert [(each.method, each.if_match) for each in controller.received] == [("POST", '"3"')]


def test_what_waits_for_more_is_told(fairlead, controller: RestService):
    waiting = deployment("waiting", ended=None, seconds=None, message="waits for 1 more approval")
    controller.answers = {
        f"POST /api/deployments/{ID}/approve": (200, waiting),
        "POST /api/drift/check": (200, {}),
        f"GET /api/deployments/{ID}": (200, waiting),
        "GET /api/applications/fleet": (200, application(conditions=conditions("AwaitingApproval"))),
    }
    result = fairlead("gitops", "approve", ID, "--wait", "--json")
    assert result.exit_code == 1
    assert json.loads(result.output) == waiting


@pytest.mark.parametrize(
    ("reason", "message", "stalled"),
    [
        ("Suspended", "`fairlead gitops resume fleet` goes on", False),
        ("WindowClosed", "opens at 22:00", False),
        ("TargetRefused", "secret:TOKEN has no value", True),
    ],
)
def test_an_order_that_is_put_off_is_not_waited_for(
    fairlead, controller: RestService, reason: str, message: str, stalled: bool
):
    pending = deployment(**PENDING)
    controller.answers = {
        "POST /api/applications/fleet/promote": (202, pending),
        "POST /api/drift/check": (200, {}),
        f"GET /api/deployments/{ID}": (200, pending),
        "GET /api/applications/fleet": (
            200,
            application(conditions=conditions(reason, message, stalled=stalled)),
        ),
    }
    result = fairlead("gitops", "promote", "fleet", "--wait")
    assert result.exit_code == 1
    assert result.stderr == f"warning: fleet: {reason}: {message}\n"
    assert result.stdout.splitlines()[-1] == "pending"
    as_json = fairlead("gitops", "promote", "fleet", "--wait", "--json")
    assert (as_json.exit_code, json.loads(as_json.stdout)) == (1, pending)


def test_a_target_that_is_away_is_waited_for_and_told_once(
    fairlead, controller: RestService, monkeypatch: pytest.MonkeyPatch
):
    away = application(conditions=conditions("TargetAway", "http://127.0.0.1:3002 does not answer"))
    controller.answers = {
        "POST /api/applications/fleet/promote": (202, deployment(**PENDING)),
        "POST /api/drift/check": (200, {}),
        f"GET /api/deployments/{ID}": (200, deployment(**PENDING)),
        "GET /api/applications/fleet": (200, away),
    }

    def sleep(_: float) -> None:
        """It comes back after it was found away three times."""
        if sum(each.path == "/api/applications/fleet" for each in controller.received) == 3:
            controller.answers[f"GET /api/deployments/{ID}"] = (200, deployment())

    monkeypatch.setattr(gitops_follow.time, "sleep", sleep)
    result = fairlead("gitops", "promote", "fleet", "--wait")
    assert result.exit_code == 0
    told = "fleet: TargetAway: http://127.0.0.1:3002 does not answer; it is tried again"
    assert result.stderr == f"warning: {told}\n"
    assert result.stdout.splitlines()[-1] == "succeeded after 12 s"


def test_a_look_that_is_answered_before_it_is_over_is_asked_for_again(
    fairlead, controller: RestService, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(gitops_follow, "CUT_OFF", 0.0)
    monkeypatch.setattr(gitops_follow, "LOOKS", 3)
    controller.answers = {
        f"POST /api/deployments/{ID}/approve": (200, deployment("waiting")),
        "POST /api/drift/check": (200, {}),
        f"GET /api/deployments/{ID}": (200, deployment("waiting")),
        "GET /api/applications/fleet": (200, application()),
    }
    assert fairlead("gitops", "approve", ID, "--wait").exit_code == 1
    assert sum(each.path == "/api/drift/check" for each in controller.received) == 3


def test_a_look_that_fails_is_told(fairlead, controller: RestService):
    controller.answers = {
        f"POST /api/deployments/{ID}/approve": (200, deployment("waiting")),
        "POST /api/drift/check": problem(503, "store-unavailable", "The store is away"),
        f"GET /api/deployments/{ID}": (200, deployment("waiting")),
    }
    result = fairlead("gitops", "approve", ID, "--wait")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: The store is away")


def test_a_deployment_is_cancelled(fairlead, controller: RestService):
    answer = deployment("cancelled", message="cancelled by ada")
    controller.answers = {f"POST /api/deployments/{ID}/cancel": (200, answer)}
    text = f"deployment {ID} of fleet (9a0b1c2d3e4f): cancelled, cancelled by ada\n"
    assert fairlead("gitops", "cancel", ID).output == text
    assert json.loads(fairlead("gitops", "cancel", ID, "--json").output) == answer


@pytest.mark.parametrize(
    ("command", "key", "code"),
    [
        (("approve", ID, "--revision", "0"), f"POST /api/deployments/{ID}/approve", 403),
        (("cancel", ID), f"POST /api/deployments/{ID}/cancel", 409),
        (("promote", "fleet"), "POST /api/applications/fleet/promote", 409),
        (("rollback", ID), f"POST /api/deployments/{ID}/rollback", 404),
        (("deployment", ID), f"GET /api/deployments/{ID}", 404),
    ],
)
def test_refusals(fairlead, controller: RestService, command: tuple[str, ...], key: str, code: int):
    controller.answers = {key: problem(code, "refused", "Not now", "it is over: `fairlead gitops history`")}
    result = fairlead("gitops", *command)
    assert result.exit_code == 1
    assert result.stderr == "error: Not now\n  it is over: `fairlead gitops history`\n"


@pytest.mark.parametrize(
    "command", [("deployment", "fleet"), ("approve",), ("history", "-n", "0"), ("rollback", "a/b")]
)
def test_wrong_usage(fairlead, controller: RestService, command: tuple[str, ...]):
    assert fairlead("gitops", *command).exit_code == 2
    assert not controller.received


def test_times_that_are_long_past_are_dates(fairlead, controller: RestService):
    row = deployment(created=1_700_000_000.0, ended=1_700_000_001.0)
    assert time.time() > row["created"]
    controller.answers = {"GET /api/deployments?limit=20": listed(row)}
    assert "2023-11-14 22:13:20Z" in fairlead("gitops", "history").output
