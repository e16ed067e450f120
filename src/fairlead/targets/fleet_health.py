"""How well a fleet runs, read off what its orchestrator reports. Pure.

A change is judged by the servers that it touched: one that failed before, and that it left alone, is no
reason to take it back. Nor is one that only lacks a secret: that is for a person to give, and no other
version of the spec would have it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

from fairlead.core.overrides import key_text
from fairlead.model.gitops import Severity
from fairlead.model.reconciling import Symptom
from fairlead.model.reports import FleetStatus
from fairlead.model.status import Condition, ServerState, ServerStatus
from fairlead.ports.gitops import Health

FLEET: Final = "fleet"  # the id of the one object
_COMING: Final = frozenset({ServerState.INSTALLING, ServerState.STARTING})
_STUCK: Final = frozenset({ServerState.BLOCKED, ServerState.FAILED})
_NEEDS_SECRET: Final = "NeedsSecret"  # noqa: S105 - the reason of a condition
_BREAKING: Final = "breaking"


def health_of(
    fleet: FleetStatus,
    servers: Iterable[ServerStatus],
    *,
    generation: int | None,
    touched: Collection[str] | None,
) -> Health:
    """Of `generation`, for which the fleet may still be on its way; None: of whatever is in force.

    `touched`: the servers that count; None: all.
    """
    if generation is not None and fleet.generation < generation:
        text = f"generation {fleet.generation} is in force, {generation} was written"
        return Health(healthy=False, done=False, message=text)
    counted = [server for server in servers if touched is None or server.id in touched]
    if stuck := [_told(s) for s in counted if s.state in _STUCK and not _needs_secret(s)]:
        return Health(healthy=False, done=True, message="; ".join(stuck))
    coming = [_told(s) for s in counted if s.state in _COMING]
    coming += [f"{s.id}: {lacks.message}" for s in counted if (lacks := _lacks(s))]
    if coming:
        return Health(healthy=False, done=False, message="; ".join(coming))
    notes = [_told(s) for s in counted if s.state in _STUCK]
    text = "; ".join([f"generation {fleet.generation} is as it should be", *notes])
    return Health(healthy=True, done=True, message=text)


def symptoms_of(fleet: FleetStatus, servers: Sequence[ServerStatus]) -> list[Symptom]:
    """What does not run as the spec has it; a server that is on its way up is left out."""
    found = [each for server in servers for each in _of_server(server)]
    if fleet.observed_generation < fleet.generation:
        text = "servers are still on their way to what is in force"
        found.append(_symptom("generation", Severity.LOW, text, fleet.observed_generation, fleet.generation))
    found += [
        _symptom("kept", Severity.MEDIUM, condition.message, False, True)
        for condition in fleet.conditions
        if condition.type == "Kept" and not condition.status
    ]
    return found


def _of_server(server: ServerStatus) -> Iterator[Symptom]:
    place = key_text(("servers", server.id))
    if server.state is ServerState.STOPPED:
        text = f"somebody has stopped it: `fairlead start {server.id}` starts it"
        yield _symptom(f"{place}.state", Severity.HIGH, text, server.state.value, "ready")
    elif server.state in _STUCK:
        severity = Severity.HIGH if server.state is ServerState.FAILED else Severity.MEDIUM
        yield _symptom(f"{place}.state", severity, server.message, server.state.value, "ready")
    elif lacks := _lacks(server):
        serving = sum(instance.in_rotation for instance in server.instances)
        wanted = server.wanted_instances
        yield _symptom(f"{place}.instances", Severity.MEDIUM, lacks.message, serving, wanted)
    if server.contract_changes:
        tools = [change.tool for change in server.contract_changes]
        breaking = any(change.impact == _BREAKING for change in server.contract_changes)
        severity = Severity.HIGH if breaking else Severity.MEDIUM
        text = f"tools that are not as the lock file has them: {len(tools)}"
        yield _symptom(f"{place}.contracts", severity, text, tools[:20], [])


def _symptom(key: str, severity: Severity, message: str, live: object, desired: object) -> Symptom:
    return Symptom(FLEET, key, severity, json.dumps(live), json.dumps(desired), message)


def _condition(server: ServerStatus, kind: str) -> Condition | None:
    return next((each for each in server.conditions if each.type == kind), None)


def _lacks(server: ServerStatus) -> Condition | None:
    """Why instances are missing, though the server answers."""
    complete = _condition(server, "Complete")
    return complete if complete is not None and not complete.status else None


def _needs_secret(server: ServerStatus) -> bool:
    ready = _condition(server, "Ready")
    return ready is not None and ready.reason == _NEEDS_SECRET


def _told(server: ServerStatus) -> str:
    return f"{server.id} is {server.state.value}: {server.message}"
