"""Layers: mappings merge, everything else replaces, null keeps what is below."""

import pytest

from fairlead.core.layers import merge, merge_with_origins


@pytest.mark.parametrize(
    ("layers", "merged"),
    [
        pytest.param([], {}, id="none"),
        pytest.param([{"a": 1}], {"a": 1}, id="one"),
        pytest.param(
            [{"a": {"x": 1, "y": 2}}, {"a": {"y": 3}}], {"a": {"x": 1, "y": 3}}, id="mappings-merge"
        ),
        pytest.param([{"a": [1, 2]}, {"a": [3]}], {"a": [3]}, id="lists-replace"),
        pytest.param(
            [{"a": [{"x": 1}]}, {"a": [{"y": 2}]}], {"a": [{"y": 2}]}, id="lists-of-mappings-replace"
        ),
        pytest.param([{"a": 1}, {"a": None}], {"a": 1}, id="null-keeps-an-atom"),
        pytest.param([{"a": {"x": 1}}, {"a": None}], {"a": {"x": 1}}, id="null-keeps-a-mapping"),
        pytest.param([{"a": 1}, {"a": None}, {"a": 2}], {"a": 2}, id="after-null-the-next-layer-counts"),
        pytest.param([{}, {"a": None}], {}, id="null-without-a-parent-is-left-out"),
        pytest.param([{"a": {"x": None}}], {"a": {}}, id="null-inside-a-new-mapping-is-left-out"),
        pytest.param([{"a": 1}, {"a": {"x": None, "y": 1}}], {"a": {"y": 1}}, id="mapping-over-an-atom"),
        pytest.param([{"a": {"x": 1}}, {"a": 5}], {"a": 5}, id="atom-over-a-mapping"),
        pytest.param([{"a": {"x": 1}}, {"a": {}}], {"a": {"x": 1}}, id="empty-mapping-changes-nothing"),
        pytest.param([{"a": {"x": 1}}, {"a": []}], {"a": []}, id="empty-list-replaces"),
        pytest.param([{"a": 1}, {"a": False}], {"a": False}, id="false-is-a-value"),
        pytest.param([{"a": [None]}], {"a": [None]}, id="null-in-a-list-is-a-value"),
    ],
)
def test_the_later_layer_wins(layers, merged):
    assert merge(layers) == merged


def test_the_layers_themselves_stay_as_they_are():
    base = {"a": {"x": {"deep": 1}}}
    merge([base, {"a": {"x": {"deep": 2, "new": 3}}}])
    assert base == {"a": {"x": {"deep": 1}}}


def test_each_leaf_knows_its_layer():
    merged, origins = merge_with_origins(
        [
            ("base", {"a": {"x": 1, "y": 2, "gone": 1}, "empty": {}, "list": [1]}),
            ("team", {"a": {"y": 2}, "list": [{"k": 1}], "nothing": None}),
            ("user", {"a": {"x": None}}),
        ]
    )
    assert merged == {"a": {"x": 1, "y": 2, "gone": 1}, "empty": {}, "list": [{"k": 1}]}
    assert origins == {
        ("a", "x"): "base",
        ("a", "y"): "team",  # said the same once more
        ("a", "gone"): "base",
        ("empty",): "base",
        ("list",): "team",
    }


def test_what_a_layer_replaced_has_no_origin_any_more():
    merged, origins = merge_with_origins([("base", {"a": {"x": 1}}), ("user", {"a": 2})])
    assert merged == {"a": 2}
    assert origins == {("a",): "user"}


def test_nothing_has_no_origins():
    assert merge_with_origins([("base", {})]) == ({}, {})
