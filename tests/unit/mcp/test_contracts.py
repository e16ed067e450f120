"""Which tools are the same to a caller."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.mcp.contracts import annotations_of, contract_digest, tool_digest

TOOL = {
    "name": "search",
    "title": "Search",
    "description": "Finds things",
    "inputSchema": {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]},
    "outputSchema": {"type": "object"},
    "annotations": {"readOnlyHint": True},
    "icons": [{"src": "x"}],
    "_meta": {"a": 1},
}


def raw(**changes):
    return json.dumps({**TOOL, **changes}).encode()


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "find"},
        {"description": "Finds other things"},
        {"inputSchema": {"type": "object"}},
        {"inputSchema": {**TOOL["inputSchema"], "required": []}},
        {"outputSchema": {"type": "array"}},
        {"annotations": {"readOnlyHint": False}},
        {"annotations": None},
    ],
)
def test_what_a_caller_relies_on_is_part_of_it(changes):
    assert tool_digest(raw(**changes)) != tool_digest(raw())


@pytest.mark.parametrize("changes", [{"title": "Other"}, {"icons": []}, {"_meta": {}}, {"unknown": 1}])
def test_what_only_people_see_is_not(changes):
    assert tool_digest(raw(**changes)) == tool_digest(raw())


def test_a_part_that_is_missing_is_not_the_same_as_an_empty_one():
    without = json.dumps({name: value for name, value in TOOL.items() if name != "annotations"}).encode()
    assert tool_digest(without) != tool_digest(raw(annotations=None))


def test_the_order_of_keys_and_white_space_make_no_odds():
    turned = json.dumps(dict(reversed(TOOL.items())), indent=3).encode()
    assert tool_digest(turned) == tool_digest(raw())
    assert tool_digest(raw(inputSchema=dict(reversed(TOOL["inputSchema"].items())))) == tool_digest(raw())


def test_the_order_within_a_list_does():
    enum = {"enum": ["a", "b"]}
    assert tool_digest(raw(inputSchema=enum)) != tool_digest(raw(inputSchema={"enum": ["b", "a"]}))


@pytest.mark.parametrize(
    "tool",
    [b"", b"[]", b"7", b'{"name":', b"\xff", b'{"a":' * 5000 + b"1" + b"}" * 5000],
    ids=["empty", "list", "number", "cut", "no-utf-8", "deep"],
)
def test_what_cannot_be_read_raises_nothing(tool):
    assert isinstance(tool_digest(tool), str)
    assert tool_digest(tool) != tool_digest(raw())
    assert annotations_of(tool) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
TOOLS = st.lists(
    st.dictionaries(st.sampled_from(["name", "description", "inputSchema", "other"]), JSON), max_size=5
)


@given(TOOLS, st.randoms())
def test_the_order_of_tools_makes_no_odds_and_their_number_does(tools, rng):
    encoded = [json.dumps(tool).encode() for tool in tools]
    shuffled = rng.sample(encoded, len(encoded))
    assert contract_digest(shuffled) == contract_digest(encoded)
    assert contract_digest([*encoded, raw(name="one more")]) != contract_digest(encoded)


def test_servers_whose_tools_differ_in_one_have_different_contracts():
    assert contract_digest([raw(), raw(name="b")]) != contract_digest([raw(), raw(name="c")])
    assert contract_digest([raw(), raw()]) != contract_digest([raw()])


def test_annotations_come_as_data():
    assert annotations_of(raw()) == {"readOnlyHint": True}
    assert annotations_of(raw(annotations=7)) == 7
    assert annotations_of(b"{}") is None


ODD = {
    "no UTF-8": b'{"name":"a","description":"%b\xff"}',
    "too great": b'{"name":"a","description":"%b","inputSchema":{"maximum":1e999}}',
    "too long": b'{"name":"a","description":"%b","inputSchema":{"maximum":' + b"9" * 5000 + b"}}",
}


@pytest.mark.parametrize("tool", ODD.values(), ids=ODD)
def test_tools_that_cannot_be_read_are_not_equal_for_that(tool):
    """They reach the catalogue: only their names had to be read for that."""
    assert tool_digest(tool % b"x") == tool_digest(tool % b"x")
    assert tool_digest(tool % b"x") != tool_digest(tool % b"y")
    annotations_of(tool % b"x")
