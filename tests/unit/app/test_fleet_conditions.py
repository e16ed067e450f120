"""The fleet as a whole, in conditions."""

from __future__ import annotations

import pytest

from fairlead.app.fleet_conditions import Troubles, facts, settled, since
from fairlead.model.status import ServerState, ServerStatus
from support.web_services import server

S = ServerState


def told(*servers: ServerStatus, changing: bool = False, **troubles: str) -> dict[str, tuple]:
    found = facts(servers, Troubles(**troubles), changing=changing)
    return {fact.type: (fact.status, fact.reason, fact.message) for fact in found}


def test_a_fleet_that_is_as_wanted_is_ready() -> None:
    conditions = told(server("a"), server("b", S.IDLE), server("c", S.DISABLED), server("d", S.STOPPED))
    assert conditions == {
        "Ready": (True, "ServersReady", "servers that are ready or idle: 2"),
        "Reconciling": (False, "Settled", "no server is on its way up"),
        "Stalled": (False, "NothingStalled", "no server waits for a person"),
        "Kept": (True, "Kept", "a restart gives the same spec"),
    }


@pytest.mark.parametrize("state", [S.INSTALLING, S.STARTING])
def test_a_server_on_its_way_is_reconciling(state: ServerState) -> None:
    conditions = told(server("a"), server("b", state, message="npm:b@1"))
    text = f"b is {state.value}: npm:b@1"
    assert conditions["Ready"] == (False, "ServersNotReady", text)
    assert conditions["Reconciling"] == (True, "ServersStarting", text)
    assert conditions["Stalled"][0] is False
    assert not settled([server("a"), server("b", state)])


@pytest.mark.parametrize("state", [S.BLOCKED, S.FAILED])
def test_a_server_that_is_stuck_is_named_with_what_it_needs(state: ServerState) -> None:
    conditions = told(server("a", state, message="needs KEY"), server("b", state, message="crashed"))
    text = f"a is {state.value}: needs KEY; b is {state.value}: crashed"
    assert conditions["Ready"] == (False, "ServersNotReady", text)
    assert conditions["Stalled"] == (True, "ServersStalled", text)
    assert conditions["Reconciling"][0] is False
    assert settled([server("a", state)])


def test_a_change_that_is_under_way_is_reconciling() -> None:
    assert told(server("a"), changing=True)["Reconciling"][:2] == (True, "Changing")


def test_a_file_that_is_refused_stalls_and_the_servers_stay_ready() -> None:
    conditions = told(server("a"), refused_file="f.yml:1:1: error")
    assert conditions["Stalled"] == (
        True,
        "FileRefused",
        "the fleet file is not in force: f.yml:1:1: error",
    )
    assert conditions["Ready"][0] is True


def test_all_that_waits_for_a_person_is_told_the_worst_first() -> None:
    status, reason, message = told(
        server("a", S.FAILED, message="crashed"), refused_file="f.yml:1:1: error", lost="o.json is damaged"
    )["Stalled"]
    assert (status, reason) == (True, "StateLost")
    places = [message.index(part) for part in ("o.json is damaged", "a is failed: crashed", "f.yml:1:1")]
    assert places == sorted(places)


def test_what_could_not_be_written_down_is_told() -> None:
    assert told(server("a"), unsaved="disk full")["Kept"] == (False, "NotKept", "disk full")


def test_a_condition_has_its_time_from_when_it_came_to_hold() -> None:
    def at(now: float, before, *servers: ServerStatus):
        return since(facts(servers, Troubles(), changing=False), before, now)

    def times(conditions) -> list[float]:
        return [condition.since for condition in conditions]

    first = at(10, [], server("a"))
    assert times(first) == [10, 10, 10, 10]
    second = at(20, first, server("a"), server("b"))
    assert times(second) == [10, 10, 10, 10]
    assert second[0].message == "servers that are ready or idle: 2"
    third = at(30, second, server("a"), server("b", S.FAILED))
    assert times(third) == [30, 10, 30, 10]
