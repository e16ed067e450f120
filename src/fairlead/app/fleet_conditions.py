"""The fleet as a whole, in conditions: Ready, Reconciling, Stalled, Kept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from fairlead.model.status import Condition, ServerState, ServerStatus

_WELL: Final = frozenset({ServerState.READY, ServerState.IDLE})
_COMING: Final = frozenset({ServerState.INSTALLING, ServerState.STARTING})
_STUCK: Final = frozenset({ServerState.BLOCKED, ServerState.FAILED})


@dataclass(frozen=True, slots=True)
class Fact:
    """A condition without its time."""

    type: str
    status: bool
    reason: str
    message: str


def settled(servers: Iterable[ServerStatus]) -> bool:
    """Whether no server is on its way up: the fleet is as its spec wants it, or stuck."""
    return not any(server.state in _COMING for server in servers)


@dataclass(frozen=True, slots=True)
class Troubles:
    """What else a person should know of, in words; empty where all is well."""

    refused_file: str = ""  # what is wrong with the fleet file on the disk, which is not in force
    lost: str = ""  # what the state folder had, and has no more
    unsaved: str = ""  # why what is in force does not stand in the state folder


def facts(servers: Sequence[ServerStatus], troubles: Troubles, *, changing: bool) -> list[Fact]:
    coming = _named(servers, _COMING)
    stuck = _named(servers, _STUCK)
    well = sum(server.state in _WELL for server in servers)
    wrong = [*coming, *stuck]
    if changing:
        reconciling = Fact("Reconciling", True, "Changing", "a change is being put in force")
    elif coming:
        reconciling = Fact("Reconciling", True, "ServersStarting", "; ".join(coming))
    else:
        reconciling = Fact("Reconciling", False, "Settled", "no server is on its way up")
    return [
        Fact(
            "Ready",
            not wrong,
            "ServersNotReady" if wrong else "ServersReady",
            "; ".join(wrong) or f"servers that are ready or idle: {well}",
        ),
        reconciling,
        _stalled(stuck, troubles),
        Fact(
            "Kept",
            not troubles.unsaved,
            "NotKept" if troubles.unsaved else "Kept",
            troubles.unsaved or "a restart gives the same spec",
        ),
    ]


def _stalled(stuck: list[str], troubles: Troubles) -> Fact:
    """What waits for a person: all of it, by the name of the worst."""
    causes: list[tuple[str, str]] = []
    if troubles.lost:
        mend = "mend it and start again, or change the fleet to go on without"
        lost = f"live edits, or the spec from GitOps, are lost: {troubles.lost}; {mend}"
        causes.append(("StateLost", lost))
    if stuck:
        causes.append(("ServersStalled", "; ".join(stuck)))
    if troubles.refused_file:
        causes.append(("FileRefused", f"the fleet file is not in force: {troubles.refused_file}"))
    if not causes:
        return Fact("Stalled", False, "NothingStalled", "no server waits for a person")
    return Fact("Stalled", True, causes[0][0], "; ".join(message for _, message in causes))


def since(found: Iterable[Fact], before: Iterable[Condition], now: float) -> list[Condition]:
    """Conditions, each with the time (Unix, s) from which it has had its status and reason."""
    old = {condition.type: condition for condition in before}
    conditions = []
    for fact in found:
        was = old.get(fact.type)
        stays = was is not None and (was.status, was.reason) == (fact.status, fact.reason)
        conditions.append(
            Condition(
                type=fact.type,
                status=fact.status,
                reason=fact.reason,
                message=fact.message,
                since=was.since if was is not None and stays else now,
            )
        )
    return conditions


def _named(servers: Iterable[ServerStatus], states: frozenset[ServerState]) -> list[str]:
    return [
        f"{server.id} is {server.state.value}: {server.message}"
        for server in servers
        if server.state in states
    ]
