"""Which events a reader gets: those that it asked for, of those that it may see."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import translate
from typing import Final

from fairlead.core.access import may_use
from fairlead.model.access import Caller, Role
from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.model.events import EventType, StoredEvent
from fairlead.web.permissions import NOT_ALL

Wanted = Callable[[StoredEvent], bool]
_LEAST_ROLE: Final = {
    EventType.ACCESS_CHANGED: Role.ADMIN,  # as the principals and the audit
    EventType.AUTHENTICATION_FAILED: Role.ADMIN,
}
_OF_THE_WHOLE: Final = frozenset(
    {
        EventType.CONFIG_CHANGED,
        EventType.DRIFT_DETECTED,
        EventType.SYNC_STARTED,
        EventType.SYNC_COMPLETED,
        EventType.DEPLOYMENT_STARTED,
        EventType.DEPLOYMENT_COMPLETED,
        *_LEAST_ROLE,
    }
)
"""Not for callers whose grants choose, as what these tell of is not over REST."""


@dataclass(frozen=True, slots=True)
class Filter:
    """All that are given must fit; None fits everything.

    In `subjects` `*` stands for any characters, `?` for one. They are made to one expression when somebody
    subscribes, not when events happen, and it never goes back over what a `*` has taken.
    """

    types: Sequence[EventType] | None = None
    subjects: Sequence[str] | None = None
    servers: Sequence[str] | None = None

    def wanted(self, caller: Caller) -> Wanted:
        """What `caller` gets. Raises ProblemError (403) when it asks for a type that it may not see."""
        for type_ in self.types or ():
            if (least := _LEAST_ROLE.get(type_, Role.VIEWER)) > caller.role:
                detail = f"Events of the type {type_.value} are for the role {least.word} and those above it."
                raise ProblemError(Problem("forbidden", "Not allowed", detail, 403, Fault.CLIENT))
            if caller.grants and type_ in _OF_THE_WHOLE:
                raise ProblemError(NOT_ALL)
        subjects = None if self.subjects is None else _expression(self.subjects)

        def wanted(stored: StoredEvent) -> bool:
            event = stored.event
            return (
                (self.types is None or event.type in self.types)
                and (self.servers is None or event.data.get("server") in self.servers)
                and (subjects is None or subjects.match(event.subject) is not None)
                and may_see(caller, stored)
            )

        return wanted


def _expression(subjects: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(translate(each.replace("[", "[[]")) for each in subjects) or r"(?!)")


def may_see(caller: Caller, stored: StoredEvent) -> bool:
    """Whether role and grants let a caller know of an event."""
    event = stored.event
    usual = Role.VIEWER if event.type in EventType else Role.ADMIN  # of a newer version: who knows what it is
    if caller.role < _LEAST_ROLE.get(event.type, usual):
        return False
    if caller.grants and event.type in _OF_THE_WHOLE:
        return False
    if event.type is EventType.CONTRACT_CHANGED and any(each.tools != ("*",) for each in caller.grants):
        return False  # it names tools
    server = event.data.get("server")
    return not caller.grants or not isinstance(server, str) or may_use(caller.grants, server)
