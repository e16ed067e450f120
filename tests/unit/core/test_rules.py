"""An application's rules: the most specific one that answers."""

import pytest

from fairlead.core.rules import Rules
from fairlead.model.errors import SpecError
from fairlead.model.gitops import Application, FilesTarget, FleetTarget, PathRule, Policy, Severity, Target


def rules(*each, default=Policy.REMOTE):
    return Rules.parse(each, default, fleet=True)


def test_the_most_specific_rule_wins_whatever_the_order():
    general = PathRule(path="servers.*", policy=Policy.LOCAL)
    special = PathRule(path="servers.a.args", policy=Policy.IGNORE)
    for order in ((general, special), (special, general)):
        found = rules(*order)
        assert found.policy("fleet", ("servers", "a", "args", "0")) is Policy.IGNORE
        assert found.policy("fleet", ("servers", "a", "env")) is Policy.LOCAL
        assert found.policy("fleet", ("toolsets",)) is Policy.REMOTE


def test_of_two_equally_specific_rules_the_later_one_counts():
    found = rules(
        PathRule(path="servers", policy=Policy.LOCAL), PathRule(path="servers", policy=Policy.MERGE)
    )
    assert found.policy("fleet", ("servers",)) is Policy.MERGE


def test_a_rule_without_an_answer_hides_no_other():
    found = rules(
        PathRule(path="servers", policy=Policy.LOCAL, wave=3, merge_key="name"),
        PathRule(path="servers.a", severity=Severity.LOW),
    )
    assert found.policy("fleet", ("servers", "a")) is Policy.LOCAL
    assert found.wave("fleet", ("servers", "a")) == 3
    assert found.merge_key("fleet", ("servers", "a")) == "name"
    assert found.answer("fleet", ("servers", "a"), lambda rule: rule.severity) is Severity.LOW


def test_wave_zero_of_a_special_rule_hides_a_general_one():
    found = rules(PathRule(path="servers", wave=3), PathRule(path="servers.a", wave=0))
    assert found.wave("fleet", ("servers", "a")) == 0


def test_an_applications_target_says_what_a_path_is_and_what_holds_without_rules():
    rule = PathRule(path="servers", policy=Policy.IGNORE)
    fleet = Application(name="a", target=Target(fleet=FleetTarget()), rules=(rule,))
    files = Application(name="b", target=Target(files=FilesTarget(root="/srv")), rules=(rule,))
    assert Rules.of(fleet).ignored("fleet", ("servers",))
    assert not Rules.of(files).ignored("x.json", ("servers",))
    assert Rules.of(files).ignored("servers", ("x",)), "an object"
    assert Rules.of(fleet).policy("fleet", ()) is Policy.REMOTE
    assert Rules.of(files).policy("x", ()) is Policy.MANUAL


def test_a_malformed_path_is_refused():
    with pytest.raises(SpecError):
        rules(PathRule(path="a..b"))
