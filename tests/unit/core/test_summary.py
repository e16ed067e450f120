"""What the findings of a reconciliation come to."""

import pytest

from fairlead.core.summary import KINDS, Finding, Kind, conditions, observed
from fairlead.model.reconciling import Reason

NOW = 1_000.0


def told(*reasons, before=(), now=NOW):
    return conditions([Finding(reason, f"about {reason}") for reason in reasons], before, now)


def shown(found):
    return [(each.type, each.status, each.reason) for each in found]


def test_each_reason_has_its_kind():
    assert set(KINDS) == set(Reason)


def test_without_findings_all_is_well():
    assert shown(told()) == [
        ("Ready", True, "Synced"),
        ("Reconciling", False, "Synced"),
        ("Stalled", False, "Synced"),
    ]


@pytest.mark.parametrize("reason", list(Reason), ids=str)
def test_one_finding(reason):
    ready, reconciling, stalled = told(reason)
    assert ready.status is (KINDS[reason] is Kind.NOTE)
    assert reconciling.status is (KINDS[reason] is Kind.RECONCILING)
    assert stalled.status is (KINDS[reason] is Kind.STALLED)
    assert ready.reason == reason
    assert ready.message == f"about {reason}"


def test_the_worst_is_told_and_how_many_more_there_are():
    found = told(Reason.WINDOW_CLOSED, Reason.CONFLICT, Reason.TARGET_AWAY, Reason.SHALLOW_CLONE)
    assert shown(found) == [
        ("Ready", False, "TargetAway"),
        ("Reconciling", True, "TargetAway"),
        ("Stalled", True, "Conflict"),
    ]
    assert [each.message for each in found] == [
        "about TargetAway (3 more)",
        "about TargetAway",
        "about Conflict",
    ]


def test_a_note_is_shown_and_does_no_harm():
    assert shown(told(Reason.SYNCED, Reason.DETACHED_HEAD))[0] == ("Ready", True, "DetachedHead")


def test_since_stays_while_nothing_changes():
    first = told(Reason.TARGET_AWAY)
    again = told(Reason.TARGET_AWAY, before=first, now=NOW + 5)
    assert {each.since for each in again} == {NOW}
    after = told(Reason.SYNCED, before=again, now=NOW + 9)
    assert {each.since for each in after} == {NOW + 9}


def test_a_generation_is_observed_when_it_is_ready_or_stalled():
    assert observed(3, 2, told()) == 3
    assert observed(3, 2, told(Reason.CONFLICT)) == 3
    assert observed(3, 2, told(Reason.PROGRESSING)) == 2
    assert observed(3, 2, told(Reason.SOURCE_AWAY, Reason.CONFLICT)) == 3
