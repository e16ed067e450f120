"""`fairlead gitops sync`: asked for, and stayed with."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fairlead.cli import gitops_follow
from support.rest_service import RestService
from unit.cli.fleet_service import problem
from unit.cli.gitops_examples import EARLIER, ID, OLD, application, conditions, deployment, source, step

LATEST = "GET /api/deployments?application=fleet&limit=1"


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gitops_follow, "POLL", 0.0)


def triggered(*enforced: str, observed: tuple[str, ...] = ()) -> tuple[int, Any]:
    return 202, {"applications": list(enforced), "observed": list(observed)}


def listed(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"deployments": list(rows)}


@pytest.fixture
def answers(controller: RestService) -> dict[str, tuple[int, Any]]:
    """An application whose latest deployment is over, and its repository, which was just fetched."""
    controller.answers = {
        "GET /api/applications/fleet": (200, application()),
        "POST /api/sync/trigger": triggered("fleet"),
        "GET /api/git/status": (200, {"sources": [source(age=0.0)], "reason": "", "message": ""}),
        "POST /api/drift/check": (200, {}),
        LATEST: (200, listed(deployment(id=EARLIER))),
    }
    return controller.answers


def test_all_are_synchronised(fairlead, controller: RestService):
    answer = triggered("files", "fleet", observed=("checkout",))
    controller.answers = {"POST /api/sync/trigger": answer}
    assert fairlead("gitops", "sync").output.splitlines() == [
        "brought to what Git says: files, fleet",
        "only observed, so only looked at: checkout; `fairlead gitops enable` puts Git in charge",
    ]
    assert controller.received[0].body == {}
    assert json.loads(fairlead("gitops", "sync", "--json").output) == answer[1]


def test_there_is_nothing_to_synchronise(fairlead, controller: RestService):
    controller.answers = {"POST /api/sync/trigger": triggered()}
    assert "fairlead gitops sources" in fairlead("gitops", "sync").output


def test_a_commit_and_removals(fairlead, controller: RestService):
    controller.answers = {"POST /api/sync/trigger": triggered("fleet")}
    assert fairlead("gitops", "sync", "fleet", "--commit", "9A0B", "--confirm").exit_code == 0
    assert controller.received[0].body == {"application": "fleet", "commit": "9a0b", "confirm": True}


def test_a_commit_of_nothing(fairlead, controller: RestService):
    result = fairlead("gitops", "sync", "--commit", "9a0b")
    assert result.exit_code == 2
    assert "name it" in result.stderr
    assert not controller.received


def test_it_is_stayed_with(fairlead, answers: dict[str, tuple[int, Any]]):
    answers[LATEST] = (200, [listed(deployment(id=EARLIER)), *[listed(deployment())] * 3])
    answers[f"GET /api/deployments/{ID}"] = (200, deployment(steps=[step("apply", message="wave 1 of 1")]))
    result = fairlead("gitops", "sync", "fleet", "--wait")
    assert result.output.splitlines() == [
        "brought to what Git says: fleet",
        f"deployment {ID} of fleet: 9a0b1c2d3e4f",
        "  apply       0.1 s  wave 1 of 1",
        "succeeded after 12 s",
    ]
    assert result.exit_code == 0


def test_one_that_is_on_its_way_already_is_stayed_with(fairlead, answers: dict[str, tuple[int, Any]]):
    answers[LATEST] = (200, listed(deployment("running", ended=None, seconds=None)))
    answers[f"GET /api/deployments/{ID}"] = (200, deployment("failed", message="nothing was changed"))
    result = fairlead("gitops", "sync", "fleet", "--wait")
    assert result.output.splitlines()[-1] == "failed after 12 s: nothing was changed"
    assert result.exit_code == 1


def test_a_newer_one_takes_its_place(fairlead, answers: dict[str, tuple[int, Any]]):
    newer = "01a1f4a3d000-bbbbbbbb"
    rows = [deployment(id=EARLIER), deployment("superseded"), deployment(id=newer), deployment(id=newer)]
    answers[LATEST] = (200, [listed(row) for row in rows])
    answers[f"GET /api/deployments/{ID}"] = (200, deployment("superseded"))
    answers[f"GET /api/deployments/{newer}"] = (200, deployment(id=newer))
    result = fairlead("gitops", "sync", "fleet", "--wait", "--json")
    document = json.loads(result.output)
    assert [row["id"] for row in document["deployments"]] == [newer]
    assert document["applications"] == ["fleet"]
    assert result.exit_code == 0


def test_nothing_was_to_be_done(fairlead, answers: dict[str, tuple[int, Any]]):
    result = fairlead("gitops", "sync", "fleet", "--wait")
    assert result.output.splitlines()[-1] == "fleet: as Git says already (9a0b1c2d3e4f)"
    assert result.exit_code == 0


def test_nothing_could_be_done(fairlead, answers: dict[str, tuple[int, Any]]):
    stuck = application(applied=OLD, conditions=conditions("Suspended", "`fairlead gitops resume fleet`"))
    answers["GET /api/applications/fleet"] = (200, stuck)
    result = fairlead("gitops", "sync", "fleet", "--wait")
    assert result.output.splitlines()[-1] == "fleet: Suspended  `fairlead gitops resume fleet`"
    assert result.exit_code == 1


def test_all_are_stayed_with(fairlead, answers: dict[str, tuple[int, Any]]):
    files = application("files", source="checkout")
    answers["GET /api/applications"] = (200, {"applications": [application(), files]})
    answers["GET /api/applications/files"] = (200, files)
    answers["GET /api/deployments?application=files&limit=1"] = (200, listed())
    answers["POST /api/sync/trigger"] = triggered("fleet", observed=("files",))
    answers["GET /api/git/status"] = (
        200,
        {"sources": [source(age=0.0), source(name="checkout", age=77.0)], "reason": "", "message": ""},
    )
    result = fairlead("gitops", "sync", "--wait")
    assert "files: as Git says already" in result.output
    assert result.exit_code == 0


def test_a_repository_that_does_not_answer(
    fairlead, answers: dict[str, tuple[int, Any]], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(gitops_follow, "FETCH", 0.0)
    away = source(age=900.0, reason="SourceAway", message="git.example.org does not resolve")
    answers["GET /api/git/status"] = (200, {"sources": [away], "reason": "", "message": ""})
    result = fairlead("gitops", "sync", "fleet", "--wait")
    told = "config: SourceAway: git.example.org does not resolve; its last verified commit 9a0b1c2d3e4f"
    assert f"warning: {told} stays in force\n" in result.stderr
    assert result.exit_code == 0


def test_it_is_only_observed(fairlead, answers: dict[str, tuple[int, Any]]):
    answers["POST /api/sync/trigger"] = problem(
        409, "only-observed", "Not now", "fleet is only observed: `fairlead gitops enable`"
    )
    result = fairlead("gitops", "sync", "fleet", "--wait")
    assert result.exit_code == 1
    assert "`fairlead gitops enable`" in result.stderr
