"""The fleet as a whole, in conditions: Ready, Reconciling, Stalled."""

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


def facts(servers: Sequence[ServerStatus], *, changing: bool, refused_file: str) -> list[Fact]:
    """`refused_file` says what is wrong with the fleet file on the disk; empty if it is in force."""
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
    if stuck:
        stalled = Fact("Stalled", True, "ServersStalled", "; ".join(stuck))
    elif refused_file:
        stalled = Fact("Stalled", True, "FileRefused", f"the fleet file is not in force: {refused_file}")
    else:
        stalled = Fact("Stalled", False, "NothingStalled", "no server waits for a person")
    return [
        Fact(
            "Ready",
            not wrong,
            "ServersNotReady" if wrong else "ServersReady",
            "; ".join(wrong) or f"servers that are ready or idle: {well}",
        ),
        reconciling,
        stalled,
    ]


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
