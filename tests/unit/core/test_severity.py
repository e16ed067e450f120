"""How bad a drift is."""

import pytest

from fairlead.core.rules import Rules
from fairlead.core.severity import at_least, severity
from fairlead.model.gitops import DriftKind, PathRule, Policy, Severity

CONFIG = DriftKind.CONFIGURATION


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (("security", "cors"), Severity.CRITICAL),
        (("servers", "a", "sandbox"), Severity.CRITICAL),
        (("permissions", "deny"), Severity.CRITICAL),
        (("servers", "a", "env", "HOME"), Severity.HIGH),
        (("servers", "a", "args"), Severity.HIGH),
        (("servers", "a"), Severity.HIGH),
        (("mcpServers", "a"), Severity.HIGH),
        (("servers", "a", "description"), Severity.LOW),
        (("metadata", "labels", "team"), Severity.LOW),
        (("loadBalancing", "strategy"), Severity.MEDIUM),
        ((), Severity.MEDIUM),
    ],
    ids=str,
)
def test_without_rules_the_key_says(key, expected):
    assert severity("fleet", key, CONFIG, []) is expected


def test_a_service_that_is_not_as_it_should_be_is_bad():
    assert severity("fleet", (), DriftKind.SERVICE, []) is Severity.HIGH
    assert severity("CLAUDE.md", (), DriftKind.FILE, []) is Severity.MEDIUM


def test_the_applications_own_rules_come_before_those_of_all():
    own = Rules.parse([PathRule(path="a", severity=Severity.LOW)], Policy.REMOTE, fleet=True)
    common = Rules.parse(
        [PathRule(path="a.b", severity=Severity.CRITICAL), PathRule(path="c", severity=Severity.CRITICAL)],
        Policy.REMOTE,
        fleet=True,
    )
    assert severity("fleet", ("a", "b"), CONFIG, [own, common]) is Severity.LOW
    assert severity("fleet", ("c",), CONFIG, [own, common]) is Severity.CRITICAL
    assert severity("fleet", ("d", "env"), CONFIG, [own, common]) is Severity.HIGH


def test_severities_are_in_order():
    assert at_least(Severity.CRITICAL, Severity.HIGH)
    assert at_least(Severity.LOW, Severity.LOW)
    assert not at_least(Severity.MEDIUM, Severity.HIGH)
