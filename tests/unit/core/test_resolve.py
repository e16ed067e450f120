"""What is done about each difference, policy by policy."""

import pytest

from fairlead.core.merge3 import compare
from fairlead.core.overrides import ABSENT, REMOVED, Edit
from fairlead.core.resolve import Action, decide, deferred, held_paths
from fairlead.model.errors import SpecError
from fairlead.model.gitops import Policy
from fairlead.model.reconciling import Case, Difference, DriftState, Hold

NOW = 1_000.0
DEPLOY, DRIFT, CONFLICT, ADOPT = Case.DEPLOY, Case.DRIFT, Case.CONFLICT, Case.ADOPT
VERSIONS = {DEPLOY: (1, 1, 2), DRIFT: (1, 3, 1), CONFLICT: (1, 3, 2), ADOPT: (ABSENT, 3, 2)}


def difference(case, key=("a",), *, object_id="x.json"):
    return Difference(object_id, key, case, *VERSIONS[case])


def decided(*differences, policy=Policy.REMOTE, holds=(), **how):
    return decide(
        differences, lambda _object, _key: policy, held_paths(holds, "app", fleet=False), NOW, **how
    )


WRITE, PROPOSE, WAIT, LEAVE = Action.WRITE, Action.PROPOSE, Action.WAIT, Action.LEAVE


@pytest.mark.parametrize(
    ("policy", "actions"),
    [
        (Policy.REMOTE, (WRITE, WRITE, WRITE, WRITE)),
        (Policy.LOCAL, (WRITE, PROPOSE, PROPOSE, PROPOSE)),
        (Policy.MERGE, (WRITE, PROPOSE, WAIT, WAIT)),
        (Policy.MANUAL, (WRITE, PROPOSE, WAIT, WAIT)),
        (Policy.IGNORE, (LEAVE, LEAVE, LEAVE, LEAVE)),
        (Policy.CREATE_ONLY, (LEAVE, LEAVE, LEAVE, LEAVE)),
    ],
)
def test_the_table(policy, actions):
    for case, action in zip((DEPLOY, DRIFT, CONFLICT, ADOPT), actions, strict=True):
        found = decided(difference(case), policy=policy)
        _, live, desired = VERSIONS[case]
        assert [each.action for each in found.decided] == [action]
        assert found.writes == ({"x.json": (Edit(("a",), desired),)} if action is WRITE else {})
        assert found.proposals == ({"x.json": (Edit(("a",), live),)} if action is PROPOSE else {})
        assert found.waiting == ((difference(case),) if action is WAIT else ())
        assert found.left == (() if action is WRITE else (difference(case),))
        assert found.kept_objects == ({"x.json"} if action is WRITE and case is not DEPLOY else set())


def test_without_proposals_what_would_be_proposed_waits():
    for policy in (Policy.LOCAL, Policy.MANUAL, Policy.MERGE):
        found = decided(difference(DRIFT), policy=policy, propose=False)
        assert found.proposals == {}
        assert found.waiting == (difference(DRIFT),)


def test_texts_that_do_not_touch_are_merged_for_both_sides():
    both = Difference("x.md", ("",), CONFLICT, "a\nb\nc\n", "A\nb\nc\n", "a\nb\nC\n")
    found = decided(both, policy=Policy.MERGE)
    merged = (Edit(("",), "A\nb\nC\n"),)
    assert (found.writes, found.proposals) == ({"x.md": merged}, {"x.md": merged})
    assert found.left == (), "Git's version is part of what is there now"
    assert found.kept_objects == {"x.md"}
    assert decided(both, policy=Policy.MERGE, propose=False).waiting == (both,)
    assert decided(both, policy=Policy.MANUAL).waiting == (both,)
    touching = Difference("x.md", ("",), CONFLICT, "a\nb\n", "A\nb\n", "a\nB\n")
    assert decided(touching, policy=Policy.MERGE).waiting == (touching,)


def test_create_only_writes_where_there_is_nothing_and_then_leaves_it_alone():
    new = Difference("x", ("a",), DEPLOY, ABSENT, ABSENT, 2)
    gone = Difference("x", ("a",), DRIFT, 2, ABSENT, 2)
    dropped = Difference("x", ("a",), DEPLOY, 2, 2, ABSENT)
    for written in (new, gone):
        assert decided(written, policy=Policy.CREATE_ONLY).writes == {"x": (Edit(("a",), 2),)}
    assert decided(dropped, policy=Policy.CREATE_ONLY).writes == {}


def test_a_removal_on_either_side_is_a_removal_on_the_other():
    git = Difference("x", ("a",), DEPLOY, 1, 1, ABSENT)
    live = Difference("y", ("b",), DRIFT, 1, ABSENT, 1)
    found = decided(git, live, policy=Policy.LOCAL)
    assert found.writes == {"x": (Edit(("a",), REMOVED),)}
    assert found.proposals == {"y": (Edit(("b",), REMOVED),)}
    assert found.removals == (git,)
    assert decided(live).kept_objects == set(), "there is no live version to keep"


def hold(path, *, until=NOW + 1, application="app"):
    return Hold(application, path, "ada", "incident", until)


@pytest.mark.parametrize(
    ("path", "held"),
    [
        ("**", True),
        ("x.json", True),
        ("x.json#servers", True),
        ("x.json#servers.a", True),
        ("x.json#servers.a.env.B", True),  # inside of what would be written
        ("x.json#servers.a.env.C", True),  # inside of what would be overwritten
        ("x.json#servers.b", False),
        ("y.json", False),
    ],
)
def test_a_hold_stops_whatever_touches_its_path(path, held):
    new = Difference("x.json", ("servers", "a"), CONFLICT, ABSENT, {"env": {"C": 1}}, {"env": {"B": 1}})
    found = decided(new, holds=[hold(path)])
    assert [each.action for each in found.decided] == [Action.HOLD if held else WRITE]
    assert bool(found.left) is held


def test_a_hold_ends_and_is_of_one_application():
    for other in (hold("**", until=NOW), hold("**", application="other")):
        assert decided(difference(DRIFT), holds=[other]).writes
    with pytest.raises(SpecError):
        held_paths([hold("a//b")], "app", fleet=False)


def test_what_a_row_of_drift_says():
    states = {
        Policy.REMOTE: (None, DriftState.OPEN, DriftState.OPEN),
        Policy.LOCAL: (None, DriftState.PROPOSED, DriftState.PROPOSED),
        Policy.MANUAL: (None, DriftState.PROPOSED, DriftState.CONFLICT),
        Policy.IGNORE: (None, None, None),
    }
    for policy, wanted in states.items():
        found = decided(*map(difference, (DEPLOY, DRIFT, CONFLICT)), policy=policy)
        assert tuple(each.state for each in found.decided) == wanted
    (held,) = decided(difference(DEPLOY), holds=[hold("**")]).decided
    assert held.state is DriftState.HELD


def test_deferred_removals_are_not_written_and_keep_their_base():
    gone = Difference("x", ("a",), DEPLOY, 1, 1, ABSENT)
    other = Difference("x", ("b",), DEPLOY, 1, 1, ABSENT)
    found = deferred(decided(gone, other), [gone])
    assert found.writes == {"x": (Edit(("b",), REMOVED),)}
    assert found.left == (gone,)
    assert found.removals == (other,)
    assert [each.state for each in found.decided] == [DriftState.OPEN, None]


def test_edits_of_an_object_keep_their_order_and_objects_stay_apart():
    found = decided(
        difference(DEPLOY, ("b",)), difference(DEPLOY, ("a",)), difference(DEPLOY, ("c",), object_id="y")
    )
    assert found.writes == {"x.json": (Edit(("b",), 2), Edit(("a",), 2)), "y": (Edit(("c",), 2),)}


def test_a_sync_with_everything_in_it():
    base = {"a": 1, "b": 1, "c": 1}
    found = decide(
        compare(base, {"a": 2, "b": 1, "c": 5}, {"a": 1, "b": 2, "c": 6}, owned_whole=True, object_id="x"),
        lambda _object, key: Policy.REMOTE if key == ("c",) else Policy.LOCAL,
        [],
        NOW,
    )
    assert found.writes == {"x": (Edit(("b",), 2), Edit(("c",), 6))}
    assert found.proposals == {"x": (Edit(("a",), 2),)}
