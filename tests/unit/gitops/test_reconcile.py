"""One look at an application, from whatever state things are in."""

from __future__ import annotations

from typing import Any

import pytest

from fairlead.gitops.passes import Order
from fairlead.gitops.reconcile import AWAY
from fairlead.model.errors import Fault, Problem
from fairlead.model.gitops import Mode
from fairlead.model.reconciling import (
    ApplicationState,
    Blocked,
    DeploymentReason,
    DriftState,
    Hold,
    Reason,
)
from support.gitops_rig import NOW, fleet, folder

ONE = {"servers": {"a": {"args": ["1"]}}}
TWO = {"servers": {"a": {"args": ["2"]}}}


async def test_a_commit_is_deployed_once():
    rig = fleet(ONE)
    rig.commit(fleet=ONE)
    assert await rig.reasons() == []
    commit = rig.commit(fleet=TWO)
    assert await rig.reasons() == []
    assert rig.target.document("fleet") == TWO
    assert rig.done == [(commit, DeploymentReason.COMMIT, "Ada <ada@x>")]
    assert rig.store.kept["app"].applied == commit
    assert await rig.reasons() == []
    assert len(rig.done) == 1
    assert rig.noted.kinds == ["deployment-started", "sync-started", "deployment-completed", "sync-completed"]


async def test_a_live_edit_of_a_fleet_is_drift_and_is_healed():
    rig = fleet(ONE)
    rig.commit(fleet=ONE)
    await rig.look()
    rig.target.put("fleet", TWO)
    assert await rig.reasons() == []
    assert rig.target.document("fleet") == ONE
    assert rig.done[-1][1:] == (DeploymentReason.HEAL, "fairlead")
    (kind, subject, told), *_ = rig.noted.events
    assert (kind, subject, told["key"], told["severity"]) == (
        "drift-detected",
        "app",
        "servers.a.args",
        "high",
    )
    [row] = rig.store.rows["app"]
    assert (row.base, row.live, row.desired) == ('["1"]', '["2"]', '["1"]')
    await rig.look()
    assert rig.store.rows["app"] == []
    assert rig.noted.kinds.count("drift-detected") == 1


async def test_without_self_healing_a_person_starts_the_sync():
    rig = fleet(ONE, sync={"self_heal": False})
    rig.commit(fleet=ONE)
    await rig.look()
    rig.target.put("fleet", TWO)
    assert await rig.reasons() == [Reason.DRIFTED]
    assert rig.target.document("fleet") == TWO
    assert await rig.reasons(Order("ada")) == []
    assert rig.target.document("fleet") == ONE
    assert rig.done[-1][1:] == (DeploymentReason.MANUAL, "ada")
    rig.commit(fleet=TWO)
    assert await rig.reasons() == []
    assert rig.target.document("fleet") == TWO


async def test_a_live_edit_of_a_file_is_proposed_and_stays():
    rig = folder({"a.json": {"x": 1, "own": True}})
    rig.commit(a_json={"x": 1})
    await rig.look()
    rig.target.put("a.json", {"x": 2, "own": False})
    await rig.look()
    assert rig.target.document("a.json") == {"x": 2, "own": False}
    [row] = rig.store.rows["app"]
    assert (row.state, row.key) == (DriftState.PROPOSED, "x")
    [proposal] = rig.source.proposals
    assert proposal.branch.startswith("fairlead/drift/app/")
    assert b'"x": 2' in (proposal.files["a.json"] or b"")
    assert b"own" not in (proposal.files["a.json"] or b"")
    await rig.look()
    assert rig.source.proposals[1].branch == proposal.branch
    rig.target.put("a.json", {"x": 1, "own": False})
    assert await rig.reasons() == []
    assert rig.source.withdrawn == [proposal.branch]
    rig.target.put("a.json", {"x": 2, "own": False})
    rig.source.refused = Problem("no-forge", "No", "nobody listens", 503, Fault.UPSTREAM)
    assert await rig.reasons() == [Reason.DRIFTED]


async def test_what_both_sides_changed_waits_with_three_versions():
    rig = folder({"a.json": {"x": 1, "y": 1}})
    rig.commit(a_json={"x": 1, "y": 1})
    await rig.look()
    rig.target.put("a.json", {"x": 2, "y": 1})
    rig.commit(a_json={"x": 3, "y": 3})
    assert await rig.reasons() == [Reason.CONFLICT]
    assert rig.target.document("a.json") == {"x": 2, "y": 3}
    [row] = rig.store.rows["app"]
    assert (row.state, row.base, row.live, row.desired) == (DriftState.CONFLICT, "1", "2", "3")
    rig.target.put("a.json", {"x": 3, "y": 3})  # a person has decided
    assert await rig.reasons() == []
    assert rig.store.rows["app"] == []


async def test_a_first_look_adopts_and_never_overwrites_a_file():
    rig = folder({"a.json": {"x": 9}})
    rig.commit(a_json={"x": 1, "y": 1}, b_json={"z": 1})
    assert await rig.reasons() == [Reason.CONFLICT]
    assert rig.target.document("a.json") == {"x": 9, "y": 1}
    assert rig.target.document("b.json") == {"z": 1}


@pytest.mark.parametrize("mode", ["observe", "suspended", "window"])
async def test_what_may_not_be_changed_now_is_only_told(mode: str):
    sync: dict[str, Any] = {"mode": "observe"} if mode == "observe" else {}
    if mode == "window":
        sync = {"windows": [{"schedule": "0 0 1 1 *", "duration": 60.0}]}
    rig = fleet(ONE, sync=sync)
    if mode == "suspended":
        rig.store.kept["app"] = ApplicationState("app", suspended_by="ada", suspended_at=1.0)
    rig.commit(fleet=TWO)
    outcome = await rig.look()
    expected = {"observe": Reason.OBSERVED, "suspended": Reason.SUSPENDED, "window": Reason.WINDOW_CLOSED}
    assert [finding.reason for finding in outcome.findings] == [expected[mode]]
    assert rig.target.document("fleet") == ONE
    assert rig.done == []
    assert (outcome.again is not None) == (mode == "window")


async def test_what_is_held_stays_until_its_end():
    rig = fleet(ONE)
    rig.commit(fleet=ONE)
    await rig.look()
    rig.store.held.append(Hold("app", "servers.a", "ada", "debugging", NOW + 60))
    rig.target.put("fleet", TWO)
    assert await rig.reasons() == [Reason.HELD]
    assert rig.target.document("fleet") == TWO
    assert rig.store.rows["app"][0].state is DriftState.HELD
    assert await rig.reasons(now=NOW + 61) == []
    assert rig.target.document("fleet") == ONE


async def test_where_nothing_was_applied_yet_a_blocked_commit_brings_no_older_one():
    rig = fleet(ONE)
    rig.commit(fleet=ONE)
    first = rig.target.document("fleet")
    bad = rig.commit(fleet=TWO)
    rig.deployments.blocks.append(Blocked("app", bad, 1.0, "a did not start"))
    outcome = await rig.look()
    assert [finding.reason for finding in outcome.findings] == [Reason.BLOCKED_COMMIT]
    assert outcome.look.commit is None
    assert rig.target.document("fleet") == first
    rig.commit(fleet={"servers": {"a": {"args": ["3"]}}})
    assert await rig.reasons() == []


async def test_a_blocked_commit_is_passed_over_and_the_next_one_taken():
    rig = fleet(ONE)
    good = rig.commit(fleet=ONE)
    await rig.look()
    bad = rig.commit(fleet=TWO)
    rig.deployments.blocks.append(Blocked("app", bad, 1.0, "a did not start"))
    outcome = await rig.look()
    assert [finding.reason for finding in outcome.findings] == [Reason.BLOCKED_COMMIT]
    assert "a did not start" in outcome.findings[0].message
    assert outcome.look.commit == good
    rig.target.put("fleet", TWO)
    await rig.look()
    assert rig.target.document("fleet") == ONE, "the good one is enforced meanwhile"
    three = {"servers": {"a": {"args": ["3"]}}}
    rig.commit(fleet=three)
    assert await rig.reasons() == []
    assert rig.target.document("fleet") == three


async def test_too_many_removals_wait_for_a_person():
    servers = {f"s{number}": {} for number in range(20)}
    rig = fleet({"servers": servers})
    rig.commit(fleet={"servers": servers})
    await rig.look()
    rig.commit(fleet={"servers": {"s0": {}}})
    assert await rig.reasons() == [Reason.AWAITING_PRUNE]
    assert len(rig.target.document("fleet")["servers"]) == 20
    assert await rig.reasons(Order("ada", confirmed=True)) == []
    assert rig.target.document("fleet") == {"servers": {"s0": {}}}


async def test_a_removal_waits_for_its_grace_from_when_it_was_first_wanted():
    rig = fleet({"servers": {"a": {}, "b": {}}}, sync={"prune": {"grace": 3600.0}})
    rig.commit(fleet={"servers": {"a": {}, "b": {}}})
    await rig.look()
    rig.commit(fleet={"servers": {"a": {}}})
    for seconds in (0.0, 1800.0, 3599.0):
        await rig.look(now=NOW + seconds)
        assert rig.target.document("fleet") == {"servers": {"a": {}, "b": {}}}
    await rig.look(now=NOW + 3601.0)
    assert rig.target.document("fleet") == {"servers": {"a": {}}}


async def test_an_empty_source_removes_nothing_even_if_somebody_agrees():
    rig = folder({"a.json": {"x": 1}})
    rig.commit(a_json={"x": 1})
    await rig.look()
    rig.commit()
    await rig.look(Order("ada", confirmed=True))
    assert rig.target.document("a.json") == {"x": 1}


async def test_what_is_away_is_asked_again_and_what_is_wrong_is_not():
    rig = fleet(ONE)
    assert await rig.reasons() == [Reason.PROGRESSING]
    rig.commit(fleet=TWO)
    rig.target.away = True
    outcome = await rig.look()
    assert ([finding.reason for finding in outcome.findings], outcome.again) == ([Reason.TARGET_AWAY], AWAY)
    rig.target.away, rig.store.away = False, True
    outcome = await rig.look()
    assert ([finding.reason for finding in outcome.findings], outcome.again) == ([Reason.STORE_AWAY], AWAY)
    rig.store.away = False
    for code, reason, again in (
        ("config-invalid", Reason.INVALID_CONFIG, None),
        ("source-refused", Reason.SOURCE_REFUSED, None),
        ("source-unreadable", Reason.SOURCE_AWAY, 1.0),
    ):
        rig.commit(**{code: {}})
        outcome = await rig.look()
        assert ([finding.reason for finding in outcome.findings], outcome.again) == ([reason], again)
    assert rig.target.document("fleet") == ONE


async def test_while_the_source_is_away_the_last_commit_is_enforced():
    rig = fleet(ONE)
    rig.commit(fleet=ONE)
    await rig.look()
    rig.source.problem = (Reason.SOURCE_AWAY, "no answer from the host")
    rig.target.put("fleet", TWO)
    assert await rig.reasons() == [Reason.SOURCE_AWAY]
    assert rig.target.document("fleet") == ONE


async def test_one_object_that_cannot_be_read_hinders_no_other():
    rig = folder({"a.json": {"x": 1}, "b.json": {"x": 1}})
    rig.commit(a_json={"x": 1}, b_json={"x": 1})
    await rig.look()
    rig.target.refusing["a.json"] = "a link leads out of the folder"
    rig.commit(a_json={"x": 2}, b_json={"x": 2})
    assert await rig.reasons() == [Reason.OBJECT_REFUSED]
    assert rig.target.document("a.json") == {"x": 1}
    assert rig.target.document("b.json") == {"x": 2}


async def test_promotions_take_the_commit_that_is_ordered_and_no_newer_one():
    rig = fleet(ONE, environment="staging", promoted_from="dev")
    good = rig.commit(fleet=TWO)
    assert await rig.reasons() == [Reason.PROGRESSING]
    assert await rig.reasons(Order("ada", DeploymentReason.PROMOTION, commit=good)) == []
    assert rig.target.document("fleet") == TWO
    rig.commit(fleet=ONE)
    assert await rig.reasons() == []
    assert rig.target.document("fleet") == TWO
    unknown = Order("ada", DeploymentReason.PROMOTION, commit="nope")
    assert await rig.reasons(unknown) == [Reason.INVALID_CONFIG]


async def test_a_malformed_window_or_rule_is_said():
    for more in (
        {"sync": {"windows": [{"schedule": "every day", "duration": 60.0}]}},
        {"rules": [{"path": "#"}]},
    ):
        rig = fleet(ONE, **more)
        rig.commit(fleet=TWO)
        assert await rig.reasons() == [Reason.INVALID_CONFIG]


async def test_a_fleet_that_is_as_git_says_becomes_gits_all_the_same():
    rig = fleet(ONE)
    rig.target.is_owned = False
    rig.commit(fleet=ONE)
    assert await rig.reasons() == []
    assert rig.target.written == ["fleet"]
    rig.target.is_owned = True
    assert await rig.reasons() == []
    assert rig.target.written == ["fleet"]
    observed = fleet(ONE, sync={"mode": "observe"})
    observed.target.is_owned = False
    observed.commit(fleet=ONE)
    assert await observed.reasons() == []
    assert observed.target.written == []


async def test_gits_change_is_shown_as_drift_where_it_is_only_observed():
    rig = fleet(ONE, sync={"mode": "observe"})
    rig.commit(fleet=ONE)
    assert await rig.reasons() == []
    rig.commit(fleet={"servers": {"a": {"args": ["2"]}, "b": {}}})
    assert await rig.reasons() == [Reason.OBSERVED]
    rows = {row.key: (row.state, row.live, row.desired) for row in rig.store.rows["app"]}
    assert rows == {
        "servers.a.args": (DriftState.OPEN, '["1"]', '["2"]'),
        "servers.b": (DriftState.OPEN, None, "{}"),
    }
    assert rig.target.document("fleet") == ONE
    rig.application = rig.application.model_copy(
        update={"sync": rig.application.sync.model_copy(update={"mode": Mode.ENFORCE})}
    )
    assert await rig.reasons() == []
    assert rig.store.rows["app"] == [], "where it is carried out, it is none"


async def test_a_removal_that_has_to_wait_is_told_and_looked_at_when_its_time_comes():
    both = {"servers": {"a": {"args": ["1"]}, "b": {}}}
    rig = fleet(both, sync={"prune": {"grace": "10m", "maxPercent": 100}})
    rig.commit(fleet=both)
    await rig.look()
    rig.commit(fleet=ONE)
    outcome = await rig.look(now=NOW + 100.0)
    assert [each.reason for each in outcome.findings] == [Reason.PROGRESSING]
    assert "1 removal waits" in outcome.findings[0].message
    assert outcome.again == 600.0
    outcome = await rig.look(now=NOW + 500.0)
    assert outcome.again == 200.0
    assert rig.target.document("fleet") == both
    assert await rig.reasons(now=NOW + 700.0) == []
    assert rig.target.document("fleet") == ONE
