"""How bad a drift is: what the rules say, the application's own first; else by what its key is about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fairlead.core.overrides import Key
from fairlead.core.pruning import COLLECTIONS
from fairlead.core.rules import Rules
from fairlead.model.gitops import DriftKind, PathRule, Policy, Severity

ORDER: Final = tuple(Severity)
"""The worst first."""

_BY_NAME: Final = {
    Severity.LOW: ("description", "title", "metadata", "labels", "annotations", "tags", "comment", "theme"),
    Severity.HIGH: (
        *("env", "environment", "command", "args", "url", "headers", "package", "hooks", "network"),
        *("allow", "enabled"),
    ),
    Severity.CRITICAL: ("security", "auth", "authorization", "secrets", "permissions", "sandbox", "deny"),
}


def _defaults() -> Rules:
    """Of rules that are equally specific the last one counts, so the worst are last."""
    rules = [
        PathRule(path=f"#**.{name}", severity=severity)
        for severity, names in _BY_NAME.items()
        for name in names
    ]
    return Rules.parse(rules, Policy.MANUAL, fleet=True)


_DEFAULTS: Final = _defaults()


def severity(object_id: str, key: Key, kind: DriftKind, rules: Sequence[Rules]) -> Severity:
    """`rules` are the application's own, and those for all applications."""
    for each in (*rules, _DEFAULTS):
        if said := each.answer(object_id, key, lambda rule: rule.severity):
            return said
    a_server_or_toolset = len(key) == 2 and key[0] in COLLECTIONS
    return Severity.HIGH if a_server_or_toolset or kind is DriftKind.SERVICE else Severity.MEDIUM


def at_least(one: Severity, other: Severity) -> bool:
    """Whether `one` is as bad as `other`, or worse."""
    return ORDER.index(one) <= ORDER.index(other)
