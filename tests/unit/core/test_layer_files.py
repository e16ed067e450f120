from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.layer_files import LayerFile, layers_of, relative, spread
from fairlead.core.layers import merge
from fairlead.core.overrides import REMOVED, Edit, apply, same
from fairlead.model.errors import SpecError
from fairlead.model.gitops import Application


def application(**more: Any) -> Application:
    return Application.model_validate({"name": "a", "target": {"fleet": {}}, **more})


def test_the_layers_stand_in_the_missions_order() -> None:
    chosen = application(
        environment="staging", path="apps/mcp/", layers={"user": "ada", "team": "platform", "project": "shop"}
    )
    assert [(layer.name, layer.place) for layer in layers_of(chosen)] == [
        ("base", "apps/mcp/base/mcp-servers.yml"),
        ("environments/staging", "apps/mcp/environments/staging/mcp-servers.yml"),
        ("teams/platform", "apps/mcp/teams/platform/mcp-servers.yml"),
        ("projects/shop", "apps/mcp/projects/shop/mcp-servers.yml"),
        ("users/ada", "apps/mcp/users/ada/mcp-servers.yml"),
    ]


def test_without_a_choice_there_are_two_layers_at_the_root() -> None:
    places = [layer.place for layer in layers_of(application(render="files/"))]
    assert places == ["base/files", "environments/development/files"]


@pytest.mark.parametrize("path", ["/etc", "../x", "a/../../b", "a/.git/hooks", "a\\b", "a\0b"])
def test_a_path_does_not_leave_the_repository(path: str) -> None:
    with pytest.raises(SpecError, match="does not stay"):
        relative(path)
    with pytest.raises(SpecError, match="does not stay"):
        layers_of(application(path=path))
    with pytest.raises(SpecError, match="does not stay"):
        layers_of(application(render=path))


@pytest.mark.parametrize(("path", "simple"), [("", ""), (".", ""), ("./a//b/", "a/b"), ("a", "a")])
def test_a_path_has_one_form(path: str, simple: str) -> None:
    assert relative(path) == simple


def test_something_must_be_taken_of_the_layers() -> None:
    with pytest.raises(SpecError, match="nothing is taken"):
        layers_of(application(render="."))


def spread_over(layers: list[dict[str, Any]], wanted: dict[str, Any]) -> dict[str, list[Edit]]:
    return spread([LayerFile(str(number), layer) for number, layer in enumerate(layers)], wanted)


def test_a_value_goes_to_the_layer_that_it_is_from() -> None:
    layers: list[dict[str, Any]] = [{"a": {"x": 1, "y": 1}}, {"a": {"y": 2}}, {"b": 3}]
    assert spread_over(layers, {"a": {"x": 9, "y": 2}, "b": 3}) == {"0": [Edit(("a", "x"), 9)]}
    assert spread_over(layers, {"a": {"x": 1, "y": 9}, "b": 3}) == {"1": [Edit(("a", "y"), 9)]}


def test_a_new_one_goes_to_the_highest_that_has_something_around_it() -> None:
    layers: list[dict[str, Any]] = [{"a": {"x": {"p": 1}}}, {"a": {"y": 2}}, {"b": 3}]
    merged = merge(layers)
    wanted = apply(merged, [Edit(("a", "x", "q"), 1), Edit(("a", "z"), 1), Edit(("c",), 1)])
    assert spread_over(layers, wanted) == {
        "0": [Edit(("a", "x", "q"), 1)],
        "1": [Edit(("a", "z"), 1)],
        "2": [Edit(("c",), 1)],
    }


def test_what_is_taken_away_is_taken_out_of_every_layer() -> None:
    layers: list[dict[str, Any]] = [{"a": 1, "b": 1}, {"a": 2}, {"a": None}]
    removal = [Edit(("a",), REMOVED)]
    assert spread_over(layers, {"b": 1}) == {"0": removal, "1": removal, "2": removal}


def test_a_mapping_in_place_of_a_value_lets_nothing_of_below_through() -> None:
    layers: list[dict[str, Any]] = [{"a": {"old": 1}}, {"a": 5}]
    assert spread_over(layers, {"a": {"new": 1}}) == {
        "0": [Edit(("a",), REMOVED)],
        "1": [Edit(("a",), {"new": 1})],
    }


names = st.sampled_from("abc")
leaves = st.integers(0, 3) | st.just("t") | st.lists(st.integers(0, 1), max_size=2)


def documents(nulls: bool) -> st.SearchStrategy[dict[str, Any]]:
    leaf = leaves | st.none() if nulls else leaves
    inner = st.recursive(leaf, lambda below: st.dictionaries(names, below, max_size=3), max_leaves=8)
    return st.dictionaries(names, inner, max_size=3)


@given(st.lists(documents(nulls=True), min_size=1, max_size=4), documents(nulls=False))
def test_the_layers_then_make_just_what_is_wanted(
    layers: list[dict[str, Any]], wanted: dict[str, Any]
) -> None:
    edits = spread_over(layers, wanted)
    changed = [apply(layer, edits.get(str(number), [])) for number, layer in enumerate(layers)]
    assert same(merge(changed), wanted)


@given(st.lists(documents(nulls=True), min_size=1, max_size=4))
def test_nothing_is_done_where_nothing_differs(layers: list[dict[str, Any]]) -> None:
    assert spread_over(layers, merge(layers)) == {}
