"""An application's rules, ready to be asked: what holds at a place is what the most specific rule says.

Each question has its own answer: a rule that speaks of severity does not hide a less specific one's policy.
Of two that are equally specific, the later one counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

from fairlead.core.overrides import Key
from fairlead.core.patterns import Pattern
from fairlead.model.gitops import Application, PathRule, Policy

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Rules:
    """Built by `Rules.of`, or by `Rules.parse` where there is no application."""

    default: Policy
    rules: tuple[tuple[Pattern, PathRule], ...]  # the most specific first

    @classmethod
    def of(cls, application: Application) -> Self:
        """Raises `SpecError` for a malformed path."""
        fleet = application.target.fleet is not None
        return cls.parse(application.rules, application.default_policy, fleet=fleet)

    @classmethod
    def parse(cls, rules: Sequence[PathRule], default: Policy, *, fleet: bool) -> Self:
        """Raises `SpecError` for a malformed path."""
        parsed = [(Pattern.parse(rule.path, fleet=fleet), rule) for rule in reversed(rules)]
        return cls(default, tuple(sorted(parsed, key=lambda rule: rule[0].specificity, reverse=True)))

    def answer(
        self, object_id: str, key: Key, question: Callable[[PathRule], Answer | None]
    ) -> Answer | None:
        """What the most specific rule that has an answer says."""
        for pattern, rule in self.rules:
            said = question(rule)
            if said is not None and pattern.matches(object_id, key):
                return said
        return None

    def policy(self, object_id: str, key: Key) -> Policy:
        return self.answer(object_id, key, lambda rule: rule.policy) or self.default

    def ignored(self, object_id: str, key: Key) -> bool:
        return self.policy(object_id, key) is Policy.IGNORE

    def wave(self, object_id: str, key: Key) -> int:
        """0 where no rule says another one."""
        return self.answer(object_id, key, lambda rule: rule.wave) or 0

    def merge_key(self, object_id: str, key: Key) -> str | None:
        """Of the list at `key`: the member that names its items; None where the list is one value."""
        return self.answer(object_id, key, lambda rule: rule.merge_key)
