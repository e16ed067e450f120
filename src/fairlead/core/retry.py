"""Whether a call whose instance died may be sent again, to another one.

Only what does no harm when it happens twice, each call a few times at most, and all calls together within a
budget: when everything fails, replays must not multiply the load.
"""

from __future__ import annotations

from typing import Final

MAX_REPLAYS: Final = 3  # of one call
REFILL: Final = 10.0  # replays a second that a quiet server gets, too

SAFE_METHODS: Final = frozenset(
    {
        *("tools/list", "prompts/list", "resources/list", "resources/templates/list"),
        *("resources/read", "prompts/get", "completion/complete", "ping"),
    }
)
"""Methods that only read."""


class RetryBudget:
    """Replays in proportion to calls: each new call adds `ratio`, each replay takes 1.

    It starts with `reserve`, which is also the most that it holds, and gains 10 a second. So over any span of
    s seconds and n calls there are at most reserve + ratio * n + 10 * s replays.
    """

    __slots__ = ("_balance", "_calls", "_ratio", "_refilled_at", "_reserve")

    def __init__(self, ratio: float = 0.25, reserve: float = 256.0) -> None:
        self._ratio = ratio
        self._reserve = reserve
        self._balance = reserve
        self._calls = 0
        self._refilled_at = float("-inf")

    def __repr__(self) -> str:
        return f"RetryBudget(balance={self._balance:g}, reserve={self._reserve:g})"

    def withdraw(self, now: float, calls: int) -> bool:
        """Take one replay, if there is one. `now` in s and `calls`, the calls so far, only grow."""
        earned = self._ratio * (calls - self._calls) + REFILL * (now - self._refilled_at)
        balance = min(self._reserve, self._balance + earned)
        self._calls = calls
        self._refilled_at = now
        granted = balance >= 1.0
        self._balance = balance - granted
        return granted


def refusal(safe: bool, replays: int, budget: RetryBudget, now: float, calls: int) -> str | None:
    """None when the call is to be replayed, which is then paid for; else why not, for a person.

    `replays` are those that this call has had; `now` (s) and `calls` are as for `RetryBudget.withdraw`.
    """
    if not safe:
        return "its tool is not annotated readOnlyHint or idempotentHint"
    if replays >= MAX_REPLAYS:
        return f"it was replayed {MAX_REPLAYS} times already"
    if not budget.withdraw(now, calls):
        return "too many replays lately"
    return None


def is_safe_tool(annotations: object) -> bool:
    """Whether a tool's `annotations`, as it sent them, say that a second call does no harm.

    A truthy value that is not `true` says nothing: a server that cannot write its hints is not believed.
    """
    if not isinstance(annotations, dict):
        return False
    return annotations.get("readOnlyHint") is True or annotations.get("idempotentHint") is True
