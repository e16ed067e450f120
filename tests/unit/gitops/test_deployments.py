"""What becomes of a deployment: health, taking back, approval, interruptions, what is overtaken."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fairlead.formats import documents
from fairlead.gitops.deployments import FAULT_POINTS
from fairlead.gitops.passes import Order
from fairlead.gitops.reconcile import HEAL_AGAIN
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.model.gitops import Policy
from fairlead.model.reconciling import (
    Deployment,
    DeploymentReason,
    DeploymentState,
    DriftState,
    Format,
    Reason,
    Resolution,
    StepName,
)
from fairlead.ports.gitops import Health
from support.gitops_rig import Rig, fleet, folder

pytestmark = pytest.mark.looptime

ONE = {"servers": {"a": {"args": ["1"]}}}
TWO = {"servers": {"a": {"args": ["2"]}}}
THREE = {"servers": {"a": {"args": ["3"]}}}
_S = DeploymentState
SICK = Health(healthy=False, done=True, message="a does not start")


class Crash(BaseException):
    """The process is killed."""


def sick_with(text: bytes) -> Any:
    return lambda contents: SICK if text in b"".join(contents.values()) else None


async def deployed(rig: Rig, document: Any = ONE) -> str:
    commit = rig.commit(fleet=document)
    assert await rig.reasons() == []
    return commit


async def test_each_step_is_recorded_with_its_times():
    rig = fleet(ONE)
    good = await deployed(rig)
    bad = await deployed(rig, TWO)
    row = rig.latest
    assert [step.name for step in row.steps] == [
        StepName.FETCH, StepName.VERIFY, StepName.PLAN, StepName.GATE, StepName.APPLY, StepName.HEALTH,
        StepName.FINISH,
    ]  # fmt: skip
    assert all(step.ended is not None and step.ended >= step.started for step in row.steps)
    assert (row.commit, row.previous, row.state, row.author) == (bad, good, _S.SUCCEEDED, "Ada <ada@x>")
    assert '-        "1"' in row.difference
    assert '+        "2"' in row.difference
    assert rig.store.journal == {}
    assert rig.store.leases["fleet of this machine"][1] is None, "the lease is let go of"


@pytest.mark.parametrize("refused", [True, False])
async def test_a_bad_commit_is_taken_back_blocked_and_its_revert_proposed(refused: bool):
    rig = fleet(ONE)
    good = await deployed(rig)
    if refused:
        rig.target.refused = Problem("no", "Refused", "a does not start", 422, Fault.CLIENT)
        rig.target.bad = lambda document: document == TWO
    else:
        rig.target.sick = sick_with(b'"2"')
    bad = rig.commit(fleet=TWO)
    assert await rig.reasons() == [Reason.BLOCKED_COMMIT]
    row = rig.latest
    assert (row.state, row.steps[-1].name) == (_S.ROLLED_BACK, StepName.ROLL_BACK)
    assert "a does not start" in row.message
    assert rig.target.document("fleet") == ONE
    assert [each.commit for each in rig.deployments.blocks] == [bad]
    assert rig.store.kept["app"].applied == good
    [proposal] = rig.source.proposals
    assert proposal.branch == f"fairlead/revert/app/{bad}"
    assert b"1" in (proposal.files["fleet"] or b"")
    assert await rig.reasons() == [Reason.BLOCKED_COMMIT], "and it is not tried again"
    assert len(rig.done) == 1
    rig.commit(fleet=THREE)
    assert await rig.reasons() == []
    assert rig.target.document("fleet") == THREE


async def test_what_the_dry_run_refuses_touches_nothing():
    rig = fleet(ONE)
    await deployed(rig)

    async def check(writes: Any) -> str:
        raise ProblemError(Problem("no", "Refused", "servers.a: no such package", 422, Fault.CLIENT))

    rig.target.check = check  # type: ignore[method-assign]
    rig.commit(fleet=TWO)
    assert await rig.reasons() == [Reason.BLOCKED_COMMIT]
    assert rig.latest.state is _S.FAILED
    assert "no such package" in rig.latest.steps[-1].error
    assert rig.target.written == []


async def test_healing_that_fails_blocks_nothing_and_is_tried_again_later():
    rig = fleet(ONE)
    good = await deployed(rig)
    rig.target.put("fleet", TWO)
    rig.target.sick = sick_with(b'"1"')
    outcome = await rig.look()
    assert [finding.reason for finding in outcome.findings] == [Reason.UNHEALTHY]
    assert outcome.again == HEAL_AGAIN
    assert rig.deployments.blocks == []
    assert rig.target.document("fleet") == TWO, "what was there before is back"
    assert rig.store.kept["app"].applied == good


async def test_approval_needs_others_than_the_author_and_for_this_very_change():
    rig = fleet(ONE, sync={"approval": True, "approvals": 2})
    rig.commit(fleet=TWO)
    assert await rig.reasons() == [Reason.AWAITING_APPROVAL]
    row = rig.latest
    assert row.state is _S.WAITING
    with pytest.raises(ProblemError, match="own"):
        await rig.deployer.approve(row.id, "ada@x")
    await rig.deployer.approve(row.id, "bob")
    with pytest.raises(ProblemError, match="already"):
        await rig.deployer.approve(row.id, "Bob")
    assert await rig.reasons() == [Reason.AWAITING_APPROVAL]
    rig.target.put("fleet", THREE)
    assert await rig.reasons() == [Reason.AWAITING_APPROVAL]
    assert rig.latest.approved_by == (), "the change is another one by now"
    for name in ("bob", "eve"):
        await rig.deployer.approve(row.id, name)
    assert await rig.reasons() == []
    assert rig.latest.id == row.id
    assert rig.latest.approved_by == ("bob", "eve")
    assert rig.target.document("fleet") == TWO
    with pytest.raises(ProblemError, match="waits for nobody"):
        await rig.deployer.approve(row.id, "zoe")
    with pytest.raises(ProblemError, match="no deployment"):
        await rig.deployer.approve("nope", "zoe")


@pytest.mark.parametrize("decide", ["approve", "cancel"])
async def test_a_decision_is_about_what_was_looked_at_even_if_it_changes_at_that_moment(decide: str):
    rig = fleet(ONE, sync={"approval": True})
    rig.commit(fleet=TWO)
    await rig.look()
    seen, update, told = rig.latest, rig.deployments.update, []

    async def planned_anew(row: Deployment) -> Deployment:
        rig.deployments.update = update  # type: ignore[method-assign]
        await update(replace(seen, difference="another change"))
        return await update(row)

    def check(revision: int) -> None:
        told.append(revision)
        if revision != seen.revision:
            raise ProblemError(Problem("changed-meanwhile", "Changed", "look again", 412, Fault.CLIENT))

    rig.deployments.update = planned_anew  # type: ignore[method-assign]
    with pytest.raises(ProblemError, match="look again"):
        await getattr(rig.deployer, decide)(seen.id, "bob", check)
    assert told == [seen.revision, seen.revision + 1]
    assert (rig.latest.state, rig.latest.approved_by) == (_S.WAITING, ())


async def test_a_newer_commit_overtakes_one_that_waits():
    rig = fleet(ONE, sync={"approval": True})
    rig.commit(fleet=TWO)
    await rig.look()
    first = rig.latest.id
    rig.commit(fleet=THREE)
    assert await rig.reasons() == [Reason.AWAITING_APPROVAL]
    assert rig.deployments.rows[first].state is _S.SUPERSEDED
    assert rig.latest.id != first
    await rig.deployer.approve(rig.latest.id, "bob")
    assert await rig.reasons() == []
    assert rig.target.document("fleet") == THREE


async def test_a_newer_commit_does_not_wait_for_a_stuck_one():
    rig = fleet(ONE)
    good = await deployed(rig)

    def sick(contents: Any) -> Health | None:
        if b'"2"' not in contents["fleet"]:
            return None
        if len(rig.source.commits) == 2:
            rig.commit(fleet=THREE)
        return Health(healthy=False, done=False, message="still starting")

    rig.target.sick = sick
    rig.commit(fleet=TWO)
    assert await rig.reasons() == [Reason.PROGRESSING]
    assert await rig.reasons() == []
    assert [row.state for row in rig.deployments.rows.values()] == [_S.SUPERSEDED, _S.SUCCEEDED]
    assert rig.target.document("fleet") == THREE
    assert rig.latest.previous == good


async def test_what_overtakes_and_fails_brings_back_what_was_before_both():
    rig = folder({"a.json": {"x": 1, "own": 1}, "b.json": {"y": 1}})
    rig.commit(a_json={"x": 1}, b_json={"y": 1})
    assert await rig.reasons() == []

    def sick(contents: Any) -> Health | None:
        if b'"x": 2' in contents["a.json"] and len(rig.source.commits) == 2:
            rig.commit(a_json={"x": 2}, b_json={"y": 3})
            return Health(healthy=False, done=False, message="slow")
        return SICK if b'"y": 3' in contents["b.json"] else None

    rig.target.sick = sick
    rig.commit(a_json={"x": 2}, b_json={"y": 1})
    assert await rig.reasons() == [Reason.PROGRESSING]
    assert await rig.reasons() == [Reason.BLOCKED_COMMIT]
    assert rig.target.document("b.json") == {"y": 1}
    assert rig.target.document("a.json") == {"x": 1, "own": 1}


async def test_cancelled_while_it_waits_and_while_it_runs():
    rig = fleet(ONE, sync={"approval": True})
    rig.commit(fleet=TWO)
    await rig.look()
    await rig.deployer.cancel(rig.latest.id, "bob")
    assert (rig.latest.state, rig.latest.message) == (_S.CANCELLED, "cancelled by bob")
    assert await rig.reasons() == [Reason.BLOCKED_COMMIT], "its commit is not tried again by itself"
    with pytest.raises(ProblemError, match="over"):
        await rig.deployer.cancel(rig.latest.id, "bob")

    rig = fleet(ONE)
    await deployed(rig)
    slow = Health(healthy=False, done=False, message="slow")
    rig.target.sick = lambda contents: slow if b'"2"' in contents["fleet"] else None

    def at(point: str) -> None:
        if point == "before-health":
            rig.deployer._cancelled[rig.latest.id] = "eve"

    rig.at = at
    rig.commit(fleet=TWO)
    assert await rig.reasons() == [Reason.BLOCKED_COMMIT]
    assert rig.latest.state is _S.CANCELLED
    assert rig.target.document("fleet") == ONE


async def test_a_person_goes_back_and_automation_stays_there_until_a_new_commit():
    rig = fleet(ONE)
    commits = [await deployed(rig, each) for each in (ONE, TWO, THREE)]
    order = Order("bob", DeploymentReason.ROLLBACK, commits[0])
    assert await rig.reasons(order) == [Reason.BLOCKED_COMMIT] or True
    assert rig.target.document("fleet") == ONE
    assert rig.latest.reason is DeploymentReason.ROLLBACK
    assert {each.commit for each in rig.deployments.blocks} == set(commits[1:])
    await rig.look()
    assert rig.target.document("fleet") == ONE, "it is not taken forward again"
    [proposal] = rig.source.proposals
    assert proposal.branch == f"fairlead/revert/app/{commits[2]}"
    rig.target.put("fleet", TWO)
    await rig.look()
    assert rig.target.document("fleet") == ONE, "drift is still healed"
    four = {"servers": {"a": {"args": ["4"]}}}
    rig.commit(fleet=four)
    assert await rig.reasons() == []
    assert rig.target.document("fleet") == four


async def test_an_ordered_deployment_with_nothing_to_do_ends_well():
    rig = fleet(ONE)
    commit = await deployed(rig)
    row = replace(rig.deployer._new((await rig.look()).look, DeploymentReason.MANUAL, "bob"), commit=commit)
    await rig.deployments.add(row)
    assert await rig.reasons(Order("bob", deployment=row.id)) == []
    assert rig.latest.state is _S.SUCCEEDED
    assert rig.latest.message == "nothing was to be changed"


@pytest.mark.parametrize("take", [Policy.REMOTE, Policy.LOCAL])
async def test_a_person_decides_a_conflict(take: Policy):
    rig = folder({"a.json": {"x": 1}})
    rig.commit(a_json={"x": 1})
    await rig.look()
    rig.target.put("a.json", {"x": 2})
    rig.commit(a_json={"x": 3})
    assert await rig.reasons() == [Reason.CONFLICT]
    order = Order("bob", resolutions=(Resolution("a.json", ("x",), take),))
    await rig.reasons(order)
    await rig.look()
    live = rig.target.document("a.json")
    if take is Policy.REMOTE:
        assert live == {"x": 3}
        [row] = rig.deployments.rows.values()
        assert [b'"x": 2' in each.content for each in await rig.store.kept_live(row.id)] == [True]
        assert rig.store.rows["app"] == []
    else:
        assert live == {"x": 2}
        [kept] = rig.store.rows["app"]
        assert kept.state is DriftState.PROPOSED
        assert b'"x": 2' in (rig.source.proposals[-1].files["a.json"] or b"")


async def test_what_looks_like_a_secret_is_not_kept_with_what_is_overwritten():
    secret = "ghp_" + "a1B2" * 9
    rules = ({"path": "**", "policy": "remote"},)
    rig = folder({"a.json": {"x": 1, "own": {"apiKey": secret}}, "b.txt": {"": "one\n"}}, rules=rules)
    rig.commit(a_json={"x": 1}, b_txt={"": "one\n"})
    await rig.look()
    rig.target.put("a.json", {"x": 2, "own": {"apiKey": secret}})
    rig.target.put("b.txt", {"": f"two\ntoken = {secret}\n"})
    await rig.look()
    assert rig.target.document("a.json") == {"x": 1, "own": {"apiKey": secret}}
    kept = {each.object: each for each in await rig.store.kept_live(rig.latest.id)}
    assert kept["a.json"].document == {"x": 2, "own": {"apiKey": "(concealed)"}}
    assert kept["b.txt"].content == b"two\n(concealed)\n"
    assert secret not in repr([(each.content, each.document) for each in kept.values()])


async def test_a_fleet_with_placeholders_is_kept_when_it_is_healed():
    server = {"command": "x", "environment": {"KEY": "${secret:KEY}"}}
    rig = fleet({"servers": {"a": server}})
    rig.commit(fleet={"servers": {"a": server}})
    await rig.look()
    rig.target.put("fleet", {"servers": {"a": {**server, "command": "y"}}})
    await rig.look()
    assert rig.target.document("fleet") == {"servers": {"a": server}}
    [kept] = await rig.store.kept_live(rig.latest.id)
    assert documents.read(Format.YAML, kept.content)["servers"]["a"]["command"] == "y"


async def test_what_looks_like_a_secret_is_proposed_to_nobody():
    rig = folder({"a.json": {"env": {"API_TOKEN": "x"}}})
    rig.commit(a_json={"env": {"API_TOKEN": "${API_TOKEN}"}})
    await rig.look()
    rig = folder({"a.json": {"env": {"API_TOKEN": "${API_TOKEN}"}}})
    rig.commit(a_json={"env": {"API_TOKEN": "${API_TOKEN}"}})
    assert await rig.reasons() == []
    rig.target.put("a.json", {"env": {"API_TOKEN": "ghp_" + "a1B2" * 9}})
    outcome = await rig.look()
    assert "looks like a secret" in outcome.findings[0].message.lower()
    assert rig.source.proposals == []
    [row] = rig.store.rows["app"]
    assert "ghp_" not in (row.live or "")


CASES = {
    "fleet": (ONE, TWO),
    "removal": ({"servers": {"a": {}, "b": {}}}, {"servers": {"a": {"args": ["2"]}}}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("healthy", [True, False])
@pytest.mark.parametrize("point", FAULT_POINTS)
@pytest.mark.parametrize("newer", [False, True])
async def test_a_crash_at_any_point_is_gone_on_from(case: str, healthy: bool, point: str, newer: bool):
    before, after = CASES[case]
    rig = fleet(before)
    good = await deployed(rig, before)
    if not healthy:
        rig.target.sick = sick_with(b'"2"')
    crashed: list[str] = []

    def at(reached: str) -> None:
        if reached == point and not crashed:
            crashed.append(reached)
            raise Crash

    rig.at = at
    bad = rig.commit(fleet=after)
    for number in range(6):
        if newer and number == 1:
            rig.commit(fleet=THREE)
        try:
            await rig.look()
        except Crash:
            rig.restart()
    assert all(row.state not in (_S.RUNNING, _S.PENDING) for row in rig.deployments.rows.values())
    assert rig.store.journal == {}
    blocked = [each.commit for each in rig.deployments.blocks]
    if newer:
        assert rig.target.document("fleet") == THREE
        assert blocked in ([], [bad])
    elif healthy:
        assert (rig.target.document("fleet"), rig.store.kept["app"].applied, blocked) == (after, bad, [])
    else:
        assert (rig.target.document("fleet"), rig.store.kept["app"].applied, blocked) == (before, good, [bad])


async def test_two_controllers_do_not_change_one_target_at_a_time():
    rig = fleet(ONE)
    await deployed(rig)
    token = await rig.store.acquire("fleet of this machine", "elsewhere", 60.0)
    rig.commit(fleet=TWO)
    assert await rig.reasons() == [Reason.TARGET_AWAY]
    assert rig.target.document("fleet") == ONE
    await rig.store.release("fleet of this machine", "elsewhere", token or 0)
    assert await rig.reasons() == []
    assert rig.target.document("fleet") == TWO
    assert len(rig.done) == 1, "it is the same deployment that went on"


@pytest.mark.parametrize("healthy", [True, False])
@pytest.mark.parametrize("point", FAULT_POINTS)
async def test_what_was_written_to_files_before_a_crash_is_nobodys_edit(point: str, healthy: bool):
    rig = folder({"a.json": {"x": 1, "own": 1}})
    rig.commit(a_json={"x": 1}, b_json={"y": 1})
    await rig.look()
    reached: list[str] = []

    def at(name: str) -> None:
        if name == point and not reached and len(rig.source.commits) > 1:
            reached.append(name)
            raise Crash

    rig.at = at
    if not healthy:
        rig.target.sick = lambda contents: SICK if b'"x": 2' in contents["a.json"] else None
    rig.commit(a_json={"x": 2}, b_json={"y": 2}, c_json={"z": 1})
    for number in range(6):
        if number == 1:
            rig.commit(a_json={"x": 3}, b_json={"y": 3}, c_json={"z": 3})
        try:
            outcome = await rig.look()
        except Crash:
            rig.restart()
    assert outcome.findings == ()
    assert rig.target.document("a.json") == {"x": 3, "own": 1}
    assert (rig.target.document("b.json"), rig.target.document("c.json")) == ({"y": 3}, {"z": 3})
    assert rig.store.rows["app"] == []
    assert rig.store.journal == {}


async def test_what_a_person_has_decided_waits_for_its_approval():
    rig = folder({"a.json": {"x": 1}}, sync={"approval": True})
    rig.commit(a_json={"x": 1})
    await rig.look()
    rig.target.put("a.json", {"x": 2})
    rig.commit(a_json={"x": 3})
    assert await rig.reasons() == [Reason.CONFLICT]
    await rig.look(Order("bob", resolutions=(Resolution("a.json", ("x",), Policy.REMOTE),)))
    assert rig.target.document("a.json") == {"x": 2}
    rig.restart()
    await rig.deployer.approve(rig.latest.id, "eve")
    await rig.look()
    assert rig.target.document("a.json") == {"x": 3}
    assert rig.store.kept["app"].resolutions == ()
