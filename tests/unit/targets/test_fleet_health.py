"""How well a fleet runs."""

from __future__ import annotations

from typing import Any

import pytest

from fairlead.model.gitops import Severity
from fairlead.model.reports import FleetStatus, Owner
from fairlead.model.status import Condition, ContractChange, InstanceStatus, ServerState, ServerStatus
from fairlead.ports.gitops import Health
from fairlead.targets.fleet_health import health_of, symptoms_of


def condition(kind: str, *, status: bool = False, reason: str = "R", message: str = "why") -> Condition:
    return Condition(type=kind, status=status, reason=reason, message=message, since=0.0)


def server(name: str, state: ServerState = ServerState.READY, **members: Any) -> ServerStatus:
    needed = {"message": "its message", "conditions": [], "instances": [], "source": "s", "sharing": "shared"}
    return ServerStatus(id=name, state=state, capabilities=[], weight=1.0, **(needed | members))


def fleet(generation: int = 5, observed: int | None = None, *conditions: Condition) -> FleetStatus:
    return FleetStatus(
        owner=Owner.GITOPS,
        generation=generation,
        observed_generation=generation if observed is None else observed,
        conditions=list(conditions),
        overrides=[],
        spec={},
    )


def health(*servers: ServerStatus, touched: set[str] | None = None, wrote: int | None = 5) -> Health:
    return health_of(fleet(), servers, generation=wrote, touched=touched)


@pytest.mark.parametrize(
    "state", [ServerState.READY, ServerState.IDLE, ServerState.DISABLED, ServerState.STOPPED]
)
def test_servers_that_are_as_somebody_wants_them(state: ServerState):
    assert health(server("a", state)) == Health(True, True, "generation 5 is as it should be")


@pytest.mark.parametrize("state", [ServerState.STARTING, ServerState.INSTALLING])
def test_servers_on_their_way(state: ServerState):
    assert health(server("a", state), server("b")) == Health(False, False, f"a is {state.value}: its message")


@pytest.mark.parametrize("state", [ServerState.FAILED, ServerState.BLOCKED])
def test_a_failure_is_the_last_word_whatever_is_on_its_way(state: ServerState):
    found = health(server("a", state), server("b", ServerState.STARTING))
    assert found == Health(False, True, f"a is {state.value}: its message")


def test_a_server_that_lacks_a_secret_is_told_and_is_no_failure():
    ready = condition("Ready", reason="NeedsSecret")
    found = health(server("a", ServerState.BLOCKED, message="needs KEY", conditions=[ready]))
    assert found == Health(True, True, "generation 5 is as it should be; a is blocked: needs KEY")


def test_a_server_that_answers_but_lacks_instances_is_on_its_way():
    lacks = condition("Complete", message="1 of 2 cannot start")
    assert health(server("a", conditions=[lacks])) == Health(False, False, "a: 1 of 2 cannot start")
    assert health(server("a", conditions=[condition("Complete", status=True)])).healthy


def test_only_what_the_change_touched_counts():
    servers = (server("a"), server("b", ServerState.FAILED), server("c", ServerState.STARTING))
    assert health(*servers, touched={"a"}).healthy
    assert health(*servers, touched=set()).healthy
    assert not health(*servers, touched={"c"}).done
    assert not health(*servers).healthy


def test_an_earlier_generation_says_nothing():
    found = health(server("a"), wrote=6)
    assert found == Health(False, False, "generation 5 is in force, 6 was written")
    assert health(server("a"), wrote=4).healthy
    assert health(server("a"), wrote=None).healthy


def test_a_fleet_that_runs_as_it_was_told_has_no_symptoms():
    kept = condition("Kept", status=True)
    well = [server("a"), server("b", ServerState.IDLE), server("c", ServerState.DISABLED)]
    assert symptoms_of(fleet(5, None, kept), well) == []


def test_symptoms():
    changes = [ContractChange(tool="t", change="new", impact="breaking")]
    servers = [
        server("stopped", ServerState.STOPPED),
        server("failed.b", ServerState.FAILED),
        server("blocked", ServerState.BLOCKED),
        server(
            "less",
            conditions=[condition("Complete", message="cannot start")],
            wanted_instances=3,
            instances=[InstanceStatus(id="less-1", state="ready", in_rotation=True)],
        ),
        server("other", contract_changes=changes),
    ]
    found = symptoms_of(fleet(5, 4, condition("Kept", message="the database is away")), servers)
    assert [(each.key, each.severity, each.live, each.desired, each.message) for each in found] == [
        (
            "servers.stopped.state",
            Severity.HIGH,
            '"stopped"',
            '"ready"',
            "somebody has stopped it: `fairlead start stopped` starts it",
        ),
        ('servers."failed.b".state', Severity.HIGH, '"failed"', '"ready"', "its message"),
        ("servers.blocked.state", Severity.MEDIUM, '"blocked"', '"ready"', "its message"),
        ("servers.less.instances", Severity.MEDIUM, "1", "3", "cannot start"),
        (
            "servers.other.contracts",
            Severity.HIGH,
            '["t"]',
            "[]",
            "tools that are not as the lock file has them: 1",
        ),
        ("generation", Severity.LOW, "4", "5", "servers are still on their way to what is in force"),
        ("kept", Severity.MEDIUM, "false", "true", "the database is away"),
    ]
    assert {each.object for each in found} == {"fleet"}


@pytest.mark.parametrize("impact", ["review", "safe"])
def test_a_contract_that_changed_harmlessly_is_less_severe(impact: str):
    changes = [ContractChange(tool="t", change="changed", impact=impact)]
    [found] = symptoms_of(fleet(), [server("a", contract_changes=changes)])
    assert found.severity is Severity.MEDIUM
