"""What people have ordered and decided is carried out, whatever happens meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from fairlead.gitops.passes import Order
from fairlead.model.gitops import Policy
from fairlead.model.reconciling import (
    Deployment,
    DeploymentReason,
    DeploymentState,
    Hold,
    Reason,
    Resolution,
)
from fairlead.ports.gitops import Health
from support.gitops_rig import NOW, Rig, fleet, folder

pytestmark = pytest.mark.looptime

ONE = {"servers": {"a": {"args": ["1"]}}}
TWO = {"servers": {"a": {"args": ["2"]}}}
THREE = {"servers": {"a": {"args": ["3"]}}}
_R, _S = DeploymentReason, DeploymentState


async def deployed(rig: Rig, document: Any = ONE) -> str:
    commit = rig.commit(fleet=document)
    assert await rig.reasons() == []
    return commit


async def ordered(rig: Rig, commit: str, reason: DeploymentReason = _R.MANUAL) -> Order:
    """As `Orders` does it: the row is kept first."""
    rig.clock += 1.0
    row = Deployment(
        id=f"{int(rig.clock)}-{commit}", application="app", environment=rig.application.environment,
        commit=commit, previous=None, reason=reason, actor="bob", state=_S.PENDING, created=rig.clock,
    )  # fmt: skip
    await rig.deployments.add(row)
    return Order("bob", reason, commit, deployment=row.id)


async def test_of_two_orders_the_later_one_counts():
    rig = fleet(ONE)
    commits = [await deployed(rig, each) for each in (ONE, TWO, THREE)]
    orders = [await ordered(rig, each, _R.ROLLBACK) for each in commits[:2]]
    for order in orders:
        await rig.look(order)
    assert rig.target.document("fleet") == TWO
    states = [rig.deployments.rows[order.deployment or ""].state for order in orders]
    assert states == [_S.SUPERSEDED, _S.SUCCEEDED]


async def test_a_sync_does_not_end_a_promotion_that_waits():
    rig = fleet(ONE)
    await deployed(rig)
    rig.application = rig.application.model_copy(
        update={
            "promoted_from": "staging",
            "sync": rig.application.sync.model_copy(update={"approval": True}),
        }
    )
    promotion = await ordered(rig, rig.commit(fleet=TWO), _R.PROMOTION)
    assert await rig.reasons(promotion) == [Reason.AWAITING_APPROVAL]
    assert await rig.reasons(Order("eve")) == [Reason.AWAITING_APPROVAL]
    assert rig.latest.state is _S.WAITING
    await rig.deployer.approve(rig.latest.id, "zoe")
    assert await rig.reasons() == []
    assert rig.target.document("fleet") == TWO


async def test_a_decision_about_what_is_held_waits_for_the_holds_end():
    rig = folder({"a.json": {"x": 1}, "b.json": {"y": 1}})
    rig.commit(a_json={"x": 1}, b_json={"y": 1})
    await rig.look()
    rig.target.put("a.json", {"x": 2})
    rig.commit(a_json={"x": 3}, b_json={"y": 1})
    assert await rig.reasons() == [Reason.CONFLICT]
    rig.store.held.append(Hold("app", "a.json#x", "eve", "debugging", NOW + 60))
    assert await rig.reasons(Order("bob", resolutions=(Resolution("a.json", ("x",), Policy.REMOTE),))) == [
        Reason.HELD
    ]
    rig.commit(a_json={"x": 3}, b_json={"y": 2})
    assert await rig.reasons() == [Reason.HELD]
    assert (rig.target.document("a.json"), rig.target.document("b.json")) == ({"x": 2}, {"y": 2})
    assert await rig.reasons(now=NOW + 61) == []
    assert rig.target.document("a.json") == {"x": 3}
    assert rig.store.kept["app"].resolutions == ()


async def test_what_overtakes_a_running_deployment_is_approved_by_its_own_difference():
    rig = fleet(ONE, sync={"approval": True})
    await deployed(rig)
    rig.commit(fleet=TWO)
    await rig.look()
    await rig.deployer.approve(rig.latest.id, "bob")

    def sick(contents: Any) -> Health | None:
        if b'"2"' not in contents["fleet"]:
            return None
        if len(rig.source.commits) == 2:
            rig.commit(fleet=THREE)
        return Health(healthy=False, done=False, message="still starting")

    rig.target.sick = sick
    assert await rig.reasons() == [Reason.PROGRESSING]
    assert await rig.reasons() == [Reason.AWAITING_APPROVAL]
    assert '+        "3"' in rig.latest.difference
    steps = len(rig.latest.steps)
    assert await rig.reasons() == [Reason.AWAITING_APPROVAL]
    assert len(rig.latest.steps) == steps, "nothing has happened"
    await rig.deployer.approve(rig.latest.id, "eve")
    assert await rig.reasons() == []
    assert rig.target.document("fleet") == THREE


@pytest.mark.parametrize("reason", [_R.COMMIT, _R.MANUAL, _R.PROMOTION])
async def test_who_has_cancelled_need_not_do_it_again_after_a_restart(reason: DeploymentReason):
    rig = fleet(ONE)
    await deployed(rig)
    rig.target.sick = lambda contents: (
        Health(healthy=False, done=False, message="slow") if b'"2"' in contents["fleet"] else None
    )

    class Crash(BaseException):
        pass

    def at(point: str) -> None:
        if point == "before-health":
            raise Crash

    rig.at = at
    commit = rig.commit(fleet=TWO)
    order = None if reason is _R.COMMIT else await ordered(rig, commit, reason)
    if reason is _R.PROMOTION:
        rig.application = rig.application.model_copy(update={"promoted_from": "staging"})
    with pytest.raises(Crash):
        await rig.look(order)
    assert rig.latest.state is _S.RUNNING
    await rig.deployer.cancel(rig.latest.id, "eve")
    rig.restart()
    rig.at = lambda point: None
    rig.target.sick = lambda contents: None
    for _ in range(3):
        await rig.look()
    assert rig.target.document("fleet") == ONE
    assert all(row.state is not _S.RUNNING for row in rig.deployments.rows.values())
    assert rig.store.journal == {}


async def test_one_that_is_cancelled_at_its_very_end_is_taken_back():
    rig = fleet(ONE)
    good = await deployed(rig)
    bad = rig.commit(fleet=TWO)

    def healthy(contents: Any) -> Health | None:
        if b'"2"' in contents["fleet"]:
            rig.deployer._cancelled[rig.latest.id] = "eve"
        return None

    rig.target.sick = healthy
    await rig.look()
    assert rig.latest.state is _S.CANCELLED
    assert rig.target.document("fleet") == ONE
    assert rig.store.kept["app"].applied == good
    assert [each.commit for each in rig.deployments.blocks] == [bad]


async def test_who_agrees_to_removals_agrees_to_those_that_were_shown():
    def some(*names: str) -> dict[str, Any]:
        return {"servers": {name: {} for name in names}}

    rig = fleet(some("a", "b", "c"), environment="production")
    rig.commit(fleet=some("a", "b", "c"))
    await rig.look()
    rig.commit(fleet=some("a", "b"))
    assert await rig.reasons() == [Reason.AWAITING_PRUNE]
    agreed = Order("bob", confirmed=True, agreed=frozenset({("fleet", ("servers", "c"))}))
    rig.commit(fleet=some("a"))
    assert await rig.reasons(agreed) == [Reason.AWAITING_PRUNE]
    assert rig.target.document("fleet") == some("a", "b", "c"), "nobody has agreed to b's removal"
    rig.commit(fleet=some("a", "b"))
    assert await rig.reasons(agreed) == []
    assert rig.target.document("fleet") == some("a", "b")
