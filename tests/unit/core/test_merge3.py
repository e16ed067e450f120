"""Three versions compared: what Git and what others changed, by owned key."""

import pytest

from fairlead.core.merge3 import compare, items_by
from fairlead.core.overrides import ABSENT
from fairlead.model.reconciling import Case, Difference

DEPLOY, DRIFT, CONFLICT, ADOPT = Case.DEPLOY, Case.DRIFT, Case.CONFLICT, Case.ADOPT


def found(base, live, desired, *, owned_whole=True, **how):
    return {each.key: each.case for each in compare(base, live, desired, owned_whole=owned_whole, **how)}


@pytest.mark.parametrize(
    ("base", "live", "desired", "cases"),
    [
        pytest.param({"a": 1}, {"a": 1}, {"a": 1}, {}, id="synced"),
        pytest.param({"a": 1}, {"a": 2}, {"a": 2}, {}, id="both-changed-alike"),
        pytest.param({"a": 1}, {}, {}, {}, id="both-removed"),
        pytest.param({}, {"a": {"x": 1}}, {"a": {"x": 1}}, {}, id="both-added-alike"),
        pytest.param({"a": 1}, {"a": 1}, {"a": 2}, {("a",): DEPLOY}, id="git-changed"),
        pytest.param({"a": 1}, {"a": 1}, {}, {("a",): DEPLOY}, id="git-removed"),
        pytest.param({}, {}, {"a": {"x": 1}}, {("a",): DEPLOY}, id="git-added"),
        pytest.param({"a": 1}, {"a": 2}, {"a": 1}, {("a",): DRIFT}, id="live-changed"),
        pytest.param({"a": 1}, {}, {"a": 1}, {("a",): DRIFT}, id="live-removed"),
        pytest.param({}, {"a": 1}, {}, {("a",): DRIFT}, id="live-added"),
        pytest.param({"a": 1}, {"a": 2}, {"a": 3}, {("a",): CONFLICT}, id="both-changed"),
        pytest.param({}, {"a": 2}, {"a": 3}, {("a",): CONFLICT}, id="both-added"),
        pytest.param(
            {"a": {"x": 1, "y": 1}},
            {"a": {"x": 2, "y": 1}},
            {"a": {"x": 1, "y": 2}},
            {("a", "x"): DRIFT, ("a", "y"): DEPLOY},
            id="different-paths",
        ),
        pytest.param({"a": {"x": 1}}, {}, {"a": {"x": 2}}, {("a",): CONFLICT}, id="delete-against-change"),
        pytest.param({"a": {"x": 1}}, {"a": {"x": 2}}, {}, {("a",): CONFLICT}, id="change-against-delete"),
        pytest.param({"a": {"x": 1}}, {"a": 5}, {"a": {"x": 2}}, {("a",): CONFLICT}, id="type-change"),
        pytest.param({"a": {"x": 1}}, {"a": [1]}, {"a": {"x": 1}}, {("a",): DRIFT}, id="live-type-change"),
        pytest.param({"a": [1]}, {"a": [1, 2]}, {"a": [0, 1]}, {("a",): CONFLICT}, id="lists-are-atoms"),
        pytest.param({"a": 1}, {"a": True}, {"a": 1}, {("a",): DRIFT}, id="true-is-not-1"),
        pytest.param({"a": None}, {}, {"a": None}, {("a",): DRIFT}, id="null-is-not-nothing"),
        pytest.param(
            {"a": 1}, {"a": {"x": 1}}, {"a": {"x": 2}}, {("a", "x"): CONFLICT}, id="both-made-a-mapping"
        ),
    ],
)
def test_the_table_of_cases(base, live, desired, cases):
    assert found(base, live, desired) == cases


def test_whole_objects_come_and_go():
    said = {"a": 1}
    assert found(None, ABSENT, said) == {(): DEPLOY}
    assert found(said, ABSENT, said) == {(): DRIFT}
    assert found(said, ABSENT, {"a": 2}) == {(): CONFLICT}
    assert found(said, said, ABSENT) == {(): DEPLOY}
    assert found(said, {"a": 2}, ABSENT) == {(): CONFLICT}
    assert found(said, ABSENT, ABSENT) == {}


def test_what_was_never_applied_is_adopted_key_by_key():
    live, desired = {"a": 1, "b": {"x": 1}, "own": 1}, {"a": 1, "b": {"x": 2, "y": 3}}
    assert found(None, live, desired) == {("b", "x"): ADOPT, ("b", "y"): DEPLOY, ("own",): ADOPT}
    assert found(None, live, desired, owned_whole=False) == {("b", "x"): ADOPT, ("b", "y"): DEPLOY}
    assert found(None, live, ABSENT) == {}, "neither Git's nor ever was"


def test_a_difference_tells_all_three_versions():
    (difference,) = compare({"a": 1}, {"a": 2}, {}, owned_whole=True, object_id="x.json")
    assert difference == Difference("x.json", ("a",), CONFLICT, 1, 2, ABSENT)


def test_foreign_keys_do_not_count():
    base, live = {"m": {"a": 1}}, {"m": {"a": 1, "foreign": 2}, "state": {"x": 1}}
    assert found(base, live, {"m": {"a": 1}}, owned_whole=False) == {}
    assert found(base, live, {"m": {"a": 2}}, owned_whole=False) == {("m", "a"): DEPLOY}
    assert found(base, live, {"m": {"a": 1, "foreign": 3}}, owned_whole=False) == {("m", "foreign"): CONFLICT}


def test_where_git_drops_a_mapping_only_its_own_keys_go():
    base, live = {"m": {"a": 1, "b": {"c": 1}}}, {"m": {"a": 1, "b": {"c": 1, "foreign": 2}}}
    gone = {("m", "a"): DEPLOY, ("m", "b", "c"): DEPLOY}
    assert found(base, live, {}, owned_whole=False) == gone
    assert found(base, live, ABSENT, owned_whole=False) == gone
    assert found(base, base, {}, owned_whole=False) == {("m",): DEPLOY}, "nothing foreign is in it"
    assert found(base, base, ABSENT, owned_whole=False) == {(): DEPLOY}


def test_an_atom_of_git_over_somebody_elses_keys_is_a_conflict():
    assert found({"m": {"a": 1}}, {"m": {"a": 1, "foreign": 2}}, {"m": 5}, owned_whole=False) == {
        ("m",): CONFLICT
    }


def by_name(key):
    return "name" if key == ("hooks",) else None


def hooks(*items):
    return {"hooks": [{"name": name, "run": run} for name, run in items]}


def test_items_of_a_list_with_a_merge_key_are_compared_by_it():
    base = hooks(("a", 1), ("b", 1))
    live = hooks(("b", 2), ("a", 1), ("own", 1))
    desired = hooks(("a", 1), ("b", 1), ("new", 1))
    cases = found(base, live, desired, list_keys=by_name)
    assert cases == {
        ("hooks", "[name=b]", "run"): DRIFT,
        ("hooks", "[name=own]"): DRIFT,
        ("hooks", "[name=new]"): DEPLOY,
    }
    assert ("hooks", "[name=own]") not in found(base, live, desired, list_keys=by_name, owned_whole=False)


def test_git_drops_a_keyed_list_and_leaves_the_items_of_others():
    base, live = hooks(("a", 1)), hooks(("a", 1), ("own", 1))
    assert found(base, live, {}, owned_whole=False, list_keys=by_name) == {("hooks", "[name=a]"): DEPLOY}
    assert found(base, base, {}, owned_whole=False, list_keys=by_name) == {("hooks",): DEPLOY}


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param([{"name": "a"}, {"name": "a"}], id="twice"),
        pytest.param([{"run": 1}], id="nameless"),
        pytest.param([{"name": 1}], id="no-text"),
        pytest.param(["a"], id="no-mapping"),
        pytest.param({"name": "a"}, id="no-list"),
    ],
)
def test_a_list_without_a_name_for_each_item_is_one_value(odd):
    assert items_by("name", odd) is None
    base = hooks(("a", 1))
    for versions in (
        (base, {"hooks": odd}, base),
        (base, base, {"hooks": odd}),
        ({"hooks": odd}, base, hooks()),
    ):
        assert set(found(*versions, list_keys=by_name)) == {("hooks",)}


def secret(key):
    return key[-1:] == ("ignored",)


def test_what_is_ignored_is_in_no_difference():
    base = {"s": {"a": 1, "ignored": 1}}
    live = {"s": {"a": 1, "ignored": 2}, "ignored": 1}
    assert found(base, live, {"s": {"a": 1, "ignored": 3}}, ignored=secret) == {}
    (difference,) = compare(None, ABSENT, {"s": {"a": 1, "ignored": 3}}, owned_whole=True, ignored=secret)
    assert difference.desired == {"s": {"a": 1}}
    (difference,) = compare(base, {"s": 5}, base, owned_whole=True, ignored=secret)
    assert (difference.live, difference.desired) == (5, {"a": 1})
    assert found(base, live, {}, ignored=lambda key: not key) == {}, "the whole object"


def test_an_ignored_key_of_a_shared_object_is_not_taken_away_with_its_mapping():
    both = {"s": {"a": 1, "ignored": 1}}
    assert found(both, both, {}, owned_whole=False, ignored=secret) == {("s", "a"): DEPLOY}


def test_ignored_members_of_items_are_left_out_of_a_new_list():
    desired = {"hooks": [{"name": "a", "ignored": 1}]}
    (difference,) = compare({}, {}, desired, owned_whole=True, list_keys=by_name, ignored=secret)
    assert difference.desired == [{"name": "a"}]
