"""What is sent again after an instance died, and the words for what is not."""

from __future__ import annotations

import pytest

from fairlead.core.retry import MAX_REPLAYS, SAFE_METHODS, RetryBudget, is_safe_tool, refusal


def taken(budget: RetryBudget, now: float, calls: int) -> int:
    """How many replays there are at a moment."""
    count = 0
    while budget.withdraw(now, calls):
        count += 1
    return count


def test_the_budget_starts_full():
    assert taken(RetryBudget(), 1000.0, 0) == 256


def test_the_first_withdrawal_finds_what_the_reserve_holds_however_many_calls_there_were():
    assert taken(RetryBudget(reserve=5.0), 1000.0, 1_000_000) == 5


def test_new_calls_earn_replays_by_the_ratio():
    budget = RetryBudget(ratio=0.25, reserve=100.0)
    taken(budget, 10.0, 1000)
    assert taken(budget, 10.0, 1003) == 0
    assert taken(budget, 10.0, 1004) == 1  # what three calls earned was kept
    assert taken(budget, 10.0, 1044) == 10


def test_a_quiet_server_earns_ten_a_second():
    budget = RetryBudget()
    taken(budget, 10.0, 0)
    assert taken(budget, 10.0625, 0) == 0
    assert taken(budget, 10.125, 0) == 1
    assert taken(budget, 12.125, 0) == 20


def test_no_more_than_the_reserve_is_kept():
    budget = RetryBudget(reserve=8.0)
    taken(budget, 0.0, 0)
    assert taken(budget, 3600.0, 10**6) == 8


def test_the_repr_shows_the_balance():
    budget = RetryBudget()
    budget.withdraw(0.0, 0)
    assert repr(budget) == "RetryBudget(balance=255, reserve=256)"


def test_a_safe_call_is_replayed_and_paid_for():
    budget = RetryBudget(reserve=1.0)
    assert refusal(True, 0, budget, 0.0, 0) is None
    assert refusal(True, 0, budget, 0.0, 0) == "too many replays lately"
    assert refusal(True, MAX_REPLAYS - 1, budget, 1.0, 0) is None


@pytest.mark.parametrize(
    ("safe", "replays", "why"),
    [
        (False, 0, "its tool is not annotated readOnlyHint or idempotentHint"),
        (False, 3, "its tool is not annotated readOnlyHint or idempotentHint"),
        (True, 3, "it was replayed 3 times already"),
        (True, 4, "it was replayed 3 times already"),
    ],
)
def test_what_must_not_be_replayed_is_refused_with_the_reason_and_costs_nothing(safe, replays, why):
    budget = RetryBudget(reserve=1.0)
    assert refusal(safe, replays, budget, 0.0, 0) == why
    assert taken(budget, 0.0, 0) == 1


@pytest.mark.parametrize(
    ("annotations", "safe"),
    [
        ({"readOnlyHint": True}, True),
        ({"idempotentHint": True}, True),
        ({"readOnlyHint": False, "idempotentHint": True}, True),
        ({"readOnlyHint": True, "destructiveHint": True}, True),
        ({"idempotentHint": True, "destructiveHint": True, "openWorldHint": True}, True),
        ({"readOnlyHint": False, "idempotentHint": False, "destructiveHint": False}, False),
        ({"readOnlyHint": 1}, False),
        ({"readOnlyHint": "true"}, False),
        ({"idempotentHint": [True]}, False),
        ({"readonlyhint": True}, False),
        ({"destructiveHint": False}, False),
        ({}, False),
        (None, False),
        ("readOnlyHint", False),
        (["readOnlyHint"], False),
        (True, False),
    ],
)
def test_only_a_tool_that_says_so_plainly_is_safe(annotations, safe):
    assert is_safe_tool(annotations) is safe


def test_safe_methods_read_and_nothing_else():
    assert {
        *("tools/list", "prompts/list", "resources/list", "resources/templates/list"),
        *("resources/read", "prompts/get", "completion/complete", "ping"),
    } == SAFE_METHODS
    assert "tools/call" not in SAFE_METHODS
