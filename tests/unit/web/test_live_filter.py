"""Which events a reader may see: of all types, by role and grants."""

from __future__ import annotations

import pytest

from fairlead.model.access import Caller, Grant, Role
from fairlead.model.errors import ProblemError
from fairlead.model.events import Event, EventType, StoredEvent
from fairlead.web.live_filter import Filter, may_see

CHOSEN = (Grant(servers=("two",)),)
WHOLE = {EventType.CONFIG_CHANGED, EventType.ACCESS_CHANGED, EventType.AUTHENTICATION_FAILED}


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


def test_a_type_above_ones_role_cannot_be_asked_for() -> None:
    with pytest.raises(ProblemError, match="role admin"):
        Filter(types=[EventType.ACCESS_CHANGED]).wanted(Caller("o", Role.OPERATOR))
