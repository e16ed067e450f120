"""Whatever tools there are: equal ones have no difference, others always have one, and nothing raises."""

from __future__ import annotations

import json
import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.contracts import ToolChange, compare, contract_differences
from fairlead.core.schemas import Direction, Impact, compare_schemas, same
from fairlead.mcp.contracts import PARTS, contract_of, digest_of, tool_digest

KEYWORDS = [
    *("type", "properties", "required", "enum", "const", "items", "additionalProperties", "anyOf", "allOf"),
    *(
        "minimum",
        "maxLength",
        "pattern",
        "description",
        "default",
        "$ref",
        "$defs",
        "$schema",
        "not",
        "x-other",
    ),
]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([0.0, 1.0, 1.5])
    | st.sampled_from(["", "a", "object", "string", "number", "integer"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*KEYWORDS, "a", "b"]), inner, max_size=4)
    ),
    max_leaves=12,
)
SCHEMAS = st.dictionaries(st.sampled_from(KEYWORDS), JSON, max_size=5)
CONTRACTS = st.dictionaries(st.sampled_from(PARTS), JSON | SCHEMAS, max_size=5)


def turned(value: Any, rng: random.Random) -> Any:
    """The same JSON with its keys in another order."""
    if isinstance(value, list):
        return [turned(item, rng) for item in value]
    if isinstance(value, dict):
        keys = rng.sample(list(value), len(value))
        return {key: turned(value[key], rng) for key in keys}
    return value


@given(CONTRACTS, st.randoms(use_true_random=False))
def test_the_order_of_keys_makes_no_odds(contract: dict[str, Any], rng: random.Random) -> None:
    assert contract_differences(contract, turned(contract, rng)) == ()


@given(CONTRACTS, CONTRACTS)
def test_there_is_a_difference_exactly_where_the_digests_differ(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    found = contract_differences(one, other)
    assert bool(found) == (digest_of(one) != digest_of(other))
    for difference in found:
        assert difference.impact in Impact
        assert difference.part.partition(".")[0] in PARTS
        assert difference.what


@given(SCHEMAS, SCHEMAS, st.sampled_from(Direction))
def test_no_schema_changes_unnoticed(one: Any, other: Any, direction: Direction) -> None:
    assert bool(compare_schemas(one, other, "s", direction)) == (not same(one, other))


@given(SCHEMAS, st.sampled_from(["description", "title", "default"]), st.text(min_size=1))
def test_a_text_that_changes_is_never_just_safe(schema: dict[str, Any], keyword: str, text: str) -> None:
    before, after = schema | {keyword: "as it was"}, schema | {keyword: f"as it was{text}"}
    found = compare_schemas({"items": before}, {"items": after}, "s", Direction.ARGUMENTS)
    assert [each.impact for each in found] == [Impact.REVIEW]


@given(st.dictionaries(st.sampled_from("abc"), CONTRACTS), st.dictionaries(st.sampled_from("abc"), CONTRACTS))
def test_every_tool_is_as_locked_or_named_once(locked: dict[str, Any], live: dict[str, Any]) -> None:
    found = {each.tool: each for each in compare(locked, live)}
    assert list(found) == sorted(found)
    for tool in locked.keys() | live.keys():
        if tool not in live:
            assert found[tool].change is ToolChange.MISSING
        elif tool not in locked:
            assert found[tool].change is ToolChange.NEW
        else:
            assert (tool in found) == (not same(locked[tool], live[tool]))


@given(st.binary(max_size=100) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_contract_or_none(tool: bytes) -> None:
    contract = contract_of(tool)
    if contract is not None:
        assert digest_of(contract) == tool_digest(tool)
        assert set(contract) <= set(PARTS)
