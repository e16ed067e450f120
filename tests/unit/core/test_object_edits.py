"""Edits of whole objects, of keys, and of items of lists."""

import pytest

from fairlead.core.object_edits import edit, merged, next_base, plain
from fairlead.core.overrides import ABSENT, REMOVED, Edit
from fairlead.model.reconciling import Case, Difference

HOOKS = {"x": 1, "hooks": [{"name": "a", "run": 1}, "other", {"name": "b", "run": 2}]}
A, B, NEW = "[name=a]", "[name=b]", "[name=new]"


@pytest.mark.parametrize(
    ("document", "key", "value", "result"),
    [
        pytest.param({"a": 1}, (), {"b": 2}, {"b": 2}, id="whole"),
        pytest.param({"a": 1}, (), REMOVED, ABSENT, id="whole-removed"),
        pytest.param(ABSENT, ("a", "b"), 1, {"a": {"b": 1}}, id="into-nothing"),
        pytest.param(ABSENT, ("a",), REMOVED, ABSENT, id="nothing-from-nothing"),
        pytest.param({"a": {"b": 1}}, ("a", "b"), REMOVED, {"a": {}}, id="removed"),
        pytest.param({"a": 1}, ("a", "b"), REMOVED, {"a": 1}, id="removed-below-an-atom"),
        pytest.param({}, ("a", "b"), REMOVED, {}, id="removed-below-nothing"),
        pytest.param({"a": 1}, ("a", "b"), 2, {"a": {"b": 2}}, id="below-an-atom"),
        pytest.param({"a": [1]}, ("a", "b"), 2, {"a": {"b": 2}}, id="a-plain-key-below-a-list"),
    ],
)
def test_edits_by_key(document, key, value, result):
    assert merged(document, [Edit(key, value)]) == result


@pytest.mark.parametrize(
    ("key", "value", "items"),
    [
        pytest.param(
            (A, "run"), 5, [{"name": "a", "run": 5}, "other", {"name": "b", "run": 2}], id="changed"
        ),
        pytest.param((A, "run"), REMOVED, [{"name": "a"}, "other", {"name": "b", "run": 2}], id="less"),
        pytest.param((A,), REMOVED, ["other", {"name": "b", "run": 2}], id="taken-out"),
        pytest.param((B,), {"name": "b"}, [{"name": "a", "run": 1}, "other", {"name": "b"}], id="replaced"),
        pytest.param((NEW,), {"name": "new"}, [*HOOKS["hooks"], {"name": "new"}], id="added"),
        pytest.param((NEW, "run"), 3, [*HOOKS["hooks"], {"name": "new", "run": 3}], id="added-by-member"),
        pytest.param((NEW, "run"), REMOVED, HOOKS["hooks"], id="removed-where-nothing-is"),
        pytest.param((NEW,), REMOVED, HOOKS["hooks"], id="no-item-to-take-out"),
    ],
)
def test_edits_of_items(key, value, items):
    change = Edit(("hooks", *key), value)
    assert merged(HOOKS, [change]) == {"x": 1, "hooks": items}
    assert plain(HOOKS, [change]) == [Edit(("hooks",), items)]


def test_many_edits_of_a_list_are_one_plain_one():
    changes = [Edit(("hooks", A, "run"), 7), Edit(("x",), 2), Edit(("hooks", B), REMOVED)]
    assert plain(HOOKS, changes) == [
        Edit(("hooks",), [{"name": "a", "run": 7}, "other"]),
        Edit(("x",), 2),
    ]
    assert plain({"hooks": [1]}, [Edit(("hooks",), REMOVED)]) == [Edit(("hooks",), REMOVED)]
    assert plain(ABSENT, [Edit((), {"a": 1})]) == [Edit((), {"a": 1})]


def test_nothing_is_changed_in_place():
    before = {"hooks": [{"name": "a", "run": 1}]}
    merged(before, [Edit(("hooks", A, "run"), 2), Edit(("y",), 1)])
    assert before == {"hooks": [{"name": "a", "run": 1}]}


def test_an_edit_to_nothing_is_a_removal():
    assert edit(("a",), ABSENT) == Edit(("a",), REMOVED)
    assert edit(("a",), None) == Edit(("a",), None)


def difference(key, case, base, live, desired):
    return Difference("x", key, case, base, live, desired)


def test_what_was_left_keeps_its_base():
    base, desired = {"a": 1, "b": 1, "gone": 1}, {"a": 2, "b": 2}
    left = [
        difference(("b",), Case.CONFLICT, 1, 3, 2),
        difference(("gone",), Case.DEPLOY, 1, 1, ABSENT),
        difference(("c",), Case.DRIFT, ABSENT, 5, ABSENT),
    ]
    assert next_base(base, desired, left) == {"a": 2, "b": 1, "gone": 1}
    assert next_base(base, desired, []) == desired
    assert next_base(base, ABSENT, []) is ABSENT


def test_what_could_not_be_adopted_is_not_in_the_base():
    left = [difference(("b",), Case.ADOPT, ABSENT, 3, 2)]
    assert next_base(None, {"a": 2, "b": 2}, left) == {"a": 2}


def test_a_whole_object_that_was_left_keeps_its_base():
    for base, case in ((None, Case.ADOPT), ({"a": 1}, Case.CONFLICT)):
        left = difference((), case, ABSENT if base is None else base, ABSENT, {"a": 2})
        assert next_base(base, {"a": 2}, [left]) is base
    assert next_base({"a": 1}, {"a": 1}, [difference((), Case.DRIFT, {"a": 1}, ABSENT, {"a": 1})]) == {"a": 1}
