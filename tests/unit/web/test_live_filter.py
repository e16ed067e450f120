"""Which events a reader may see: of all types, by role and grants."""

from __future__ import annotations

import time

import pytest
from pydantic import TypeAdapter, ValidationError

from fairlead.model.access import Caller, Effect, Grant, Role
from fairlead.model.errors import ProblemError
from fairlead.model.events import Event, EventType, StoredEvent
from fairlead.web import events
from fairlead.web import live_messages as messages
from fairlead.web.live_filter import Filter, may_see

CHOSEN = (Grant(servers=("two",)),)
MOST, LONGEST = 64, 128  # patterns of a subscription, characters of one
WHOLE = {EventType.CONFIG_CHANGED, EventType.ACCESS_CHANGED, EventType.AUTHENTICATION_FAILED} | {
    EventType.DRIFT_DETECTED, EventType.SYNC_STARTED, EventType.SYNC_COMPLETED,
    EventType.DEPLOYMENT_STARTED, EventType.DEPLOYMENT_COMPLETED,
}  # fmt: skip


def stored(type_: EventType, **data: object) -> StoredEvent:
    return StoredEvent(1, Event(type_, "urn:x", "subject", data))


@pytest.mark.parametrize("type_", list(EventType))
def test_what_is_about_the_whole_fleet_is_not_for_whom_grants_choose(type_: EventType) -> None:
    event = stored(type_, started=["one"])
    assert may_see(Caller("a", Role.ADMIN), event)
    assert may_see(Caller("a", Role.ADMIN, CHOSEN), event) == (type_ not in WHOLE)
    wanted = Filter(types=[type_])
    if type_ in WHOLE:
        with pytest.raises(ProblemError, match="grants choose"):
            wanted.wanted(Caller("a", Role.ADMIN, CHOSEN))
    else:
        assert wanted.wanted(Caller("a", Role.ADMIN, CHOSEN))(event)


def test_an_event_of_a_server_is_for_whom_it_was_granted() -> None:
    caller = Caller("v", Role.VIEWER, CHOSEN)
    seen = [may_see(caller, stored(EventType.INSTANCE_LOST, server=server)) for server in ("one", "two")]
    assert seen == [False, True]


def test_what_names_tools_is_not_for_whom_grants_choose_among_them() -> None:
    changed = stored(EventType.CONTRACT_CHANGED, server="two", tools=[{"tool": "hidden", "change": "new"}])
    assert may_see(Caller("v", Role.VIEWER, CHOSEN), changed)
    for chosen in (Grant(tools=("read_*",)), Grant(effect=Effect.DENY, tools=("hidden",))):
        assert not may_see(Caller("v", Role.VIEWER, (*CHOSEN, chosen)), changed)


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("subject", True), ("sub", False), ("*", True), ("s?b*t", True), ("?ubject", True),
        ("subject?", False), ("*b*e*", True), ("*e*b*", False), ("", False), ("Subject", False),
        ("[s]ubject", False), ("s[", False), ("(subject)", False), ("subject|x", False), ("sub.ect", False),
    ],
)  # fmt: skip
def test_patterns_of_subjects(pattern: str, fits: bool) -> None:
    event = stored(EventType.SERVER_SCALED, server="one")
    for subjects in ([pattern], ["x", pattern, "y["]):
        assert Filter(subjects=subjects).wanted(Caller("v", Role.VIEWER))(event) == fits
    assert not Filter(subjects=[]).wanted(Caller("v", Role.VIEWER))(event)


@pytest.mark.parametrize(
    "pattern", ["*a" * 63 + "*b", "*" * 127 + "b", "a*" * 63 + "?b", "*?" * 63 + "*b", "*a?" * 42]
)
def test_no_pattern_takes_long(pattern: str) -> None:
    event = StoredEvent(1, Event(EventType.SERVER_SCALED, "urn:x", "a" * 2000 + "c", {}))
    wanted = Filter(subjects=[pattern + "x"] * MOST).wanted(Caller("v", Role.VIEWER))
    before = time.process_time()
    assert not wanted(event)
    assert time.process_time() - before < 5.0


def test_patterns_are_bounded_over_both_ways_in() -> None:
    longest = "a" * LONGEST
    for subjects, good in (([longest] * MOST, True), ([longest + "a"], False), (["a"] * (MOST + 1), False)):
        for check in (TypeAdapter(messages.Subjects), TypeAdapter(events.Subjects)):
            if good:
                assert check.validate_python(subjects) == subjects
            else:
                with pytest.raises(ValidationError):
                    check.validate_python(subjects)


def test_a_type_above_ones_role_cannot_be_asked_for() -> None:
    with pytest.raises(ProblemError, match="role admin"):
        Filter(types=[EventType.ACCESS_CHANGED]).wanted(Caller("o", Role.OPERATOR))
