"""The life of a deployment."""

import itertools
from pathlib import Path

import pytest

from fairlead.core.lifecycle import IllegalTransitionError
from fairlead.core.rollout import (
    ENDED,
    STEPS,
    TRANSITIONS,
    approval_refusal,
    approvals_lacking,
    diagram,
    move,
    next_commit,
    promotes,
    step,
)
from fairlead.model.gitops import Application, Environment, FleetTarget, Target
from fairlead.model.reconciling import DeploymentState, StepName

ADA = "Ada Lovelace <ada@example.org>"


def test_every_state_is_in_the_table_and_only_the_ended_ones_are_final():
    assert set(TRANSITIONS) == set(DeploymentState)
    assert {
        DeploymentState.SUCCEEDED,
        DeploymentState.FAILED,
        DeploymentState.ROLLED_BACK,
        DeploymentState.SUPERSEDED,
        DeploymentState.CANCELLED,
    } == ENDED
    for current, target in itertools.product(DeploymentState, repeat=2):
        if target in TRANSITIONS[current]:
            assert move(current, target) is target
        else:
            with pytest.raises(IllegalTransitionError, match=f"from {current} to {target}"):
                move(current, target)


def test_each_state_can_be_reached_and_can_end():
    reached = {DeploymentState.PENDING}
    for _ in DeploymentState:
        reached |= {target for state in reached for target in TRANSITIONS[state]}
    assert reached == set(DeploymentState)


def test_nothing_is_rolled_back_that_does_not_run():
    for state in DeploymentState:
        assert (DeploymentState.ROLLED_BACK in TRANSITIONS[state]) is (state is DeploymentState.RUNNING)


def test_the_steps_follow_their_table():
    assert set(STEPS) == {None, *StepName}
    order = [None, *list(StepName)[:7]]
    for current, following in itertools.pairwise(order):
        assert step(current, following) is following
    assert step(StepName.HEALTH, StepName.APPLY), "the next wave"
    assert step(StepName.HEALTH, StepName.ROLL_BACK)
    for current, following in [
        (None, StepName.APPLY),
        (StepName.PLAN, StepName.APPLY),
        (StepName.FINISH, StepName.ROLL_BACK),
    ]:
        with pytest.raises(IllegalTransitionError):
            step(current, following)


def test_the_diagram_has_each_move():
    lines = diagram().splitlines()
    assert lines[:2] == ["stateDiagram-v2", "    [*] --> pending"]
    assert len(lines) == 2 + sum(map(len, TRANSITIONS.values())) + len(ENDED)
    assert "    running --> rolled-back" in lines
    assert "    rolled-back --> [*]" in lines


def application(name, environment, source=None):
    target = Target(fleet=FleetTarget())
    return Application(name=name, environment=environment, target=target, promoted_from=source)


def test_a_commit_is_promoted_along_the_order_of_environments():
    dev = application("dev", Environment.DEVELOPMENT)
    staging = application("staging", Environment.STAGING, "dev")
    production = application("production", Environment.PRODUCTION, "staging")
    assert promotes(dev, staging) == promotes(staging, production) == ""
    assert "promotedFrom" in promotes(dev, production)
    assert "development -> staging" in promotes(
        production, application("x", Environment.STAGING, "production")
    )
    assert promotes(staging, application("x", Environment.STAGING, "staging"))


@pytest.mark.parametrize(
    ("actor", "refused"),
    [
        ("grace", False),
        ("", True),
        (ADA, True),
        ("Ada Lovelace", True),
        ("ADA@example.org", True),
        ("ada", True),
        ("Ada L. <ada@example.org>", True),
        ("ada@elsewhere.org", False),
        ("Grace", False),
        ("linus", True),
    ],
)
def test_nobody_approves_their_own_commit_or_twice(actor, refused):
    assert bool(approval_refusal(actor, ADA, ["Linus"])) is refused


def test_approvals_are_counted_by_person():
    assert approvals_lacking(2, ADA, []) == 2
    assert approvals_lacking(2, ADA, ["grace", "Grace ", "ada", ""]) == 1
    assert approvals_lacking(2, ADA, ["grace", "linus", "margaret"]) == 0
    assert approvals_lacking(1, "", ["grace"]) == 0, "an unknown author is nobody"


@pytest.mark.parametrize(
    ("applied", "blocked", "following"),
    [
        ("c1", "", "c3"),
        ("c1", "c3", "c2"),
        ("c2", "c3", None),
        ("c3", "", None),
        (None, "c3", "c2"),
        (None, "c1 c2 c3", None),
        ("gone", "c3", "c2"),
    ],
)
def test_the_newest_commit_that_is_not_blocked_is_next(applied, blocked, following):
    assert next_commit(["c3", "c2", "c1"], applied, blocked.split().__contains__) == following
    assert next_commit([], applied, lambda _: False) is None


def test_the_docs_show_the_table():
    assert diagram() in (Path(__file__).parents[3] / "docs" / "gitops.md").read_text()
