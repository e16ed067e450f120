"""What happens when something is killed with SIGKILL."""

from __future__ import annotations

import os
import signal

import pytest

from e2e.programs import FLAVOURS, Connection, Program, StepError
from e2e.system import SERVERS, System, wait_until
from e2e.wire import Wire, messages

OTHERS = [name for name in SERVERS if name != "everything"]


@pytest.fixture
def wire(own_fleet: System):
    wire = Wire(own_fleet.endpoint, own_fleet.local_token)
    wire.initialize()
    yield wire
    wire.close()


def call(wire: Wire, name: str, **arguments: object) -> str:
    answer = wire.ask("tools/call", {"name": name, "arguments": arguments})
    return answer["result"]["content"][0]["text"]


def test_a_killed_server_comes_back_and_the_others_never_notice(own_fleet: System, wire: Wire):
    (victim,) = own_fleet.pids("everything")
    before = {name: own_fleet.pids(name) for name in OTHERS}
    os.kill(victim, signal.SIGKILL)
    allowed = call(wire, "filesystem__list_allowed_directories")
    assert str(own_fleet.state / "workspace") in allowed

    wait_until(
        lambda: (
            own_fleet.pids("everything") not in ([victim], [], [None])
            and own_fleet.server("everything")["state"] == "ready"
        ),
        "everything runs again",
    )
    assert call(wire, "everything__echo", message="again") == "Echo: again"
    assert {name: own_fleet.pids(name) for name in OTHERS} == before
    assert own_fleet.server("everything")["restarts"] == 1


def test_a_call_on_a_server_that_is_killed_does_not_hang(own_fleet: System, programs: dict[str, Program]):
    client = Connection(
        programs["typescript-1"], url=own_fleet.endpoint, token=own_fleet.local_token, mode="legacy"
    )
    (victim,) = own_fleet.pids("everything")
    number = client.start(
        "call", name="everything__trigger-long-running-operation", arguments={"duration": 3, "steps": 1}
    )
    wait_until(
        lambda: any(one["callsInFlight"] for one in own_fleet.server("everything")["instances"]),
        "the call is under way",
    )
    os.kill(victim, signal.SIGKILL)
    try:
        result = client.wait(number)
    except StepError as error:
        assert "everything" in str(error)  # noqa: PT017 - the tool is marked idempotent: it may be replayed
    else:
        assert "completed" in result["content"][0]["text"]
    assert client.text("everything__echo", message="again") == "Echo: again"
    client.close()


def test_thoughts_after_their_server_was_killed_start_anew(own_fleet: System, wire: Wire):
    thought = {"thought": "x", "thoughtNumber": 1, "totalThoughts": 1, "nextThoughtNeeded": False}
    assert '"thoughtHistoryLength": 1' in call(wire, "sequential__sequentialthinking", **thought)
    assert '"thoughtHistoryLength": 2' in call(wire, "sequential__sequentialthinking", **thought)
    for pid in own_fleet.pids("sequential"):
        os.kill(pid, signal.SIGKILL)
    own_fleet.wait_ready("sequential")
    with wire.post(
        {
            "id": 5,
            "method": "tools/call",
            "params": {"name": "sequential__sequentialthinking", "arguments": thought},
        }
    ) as response:
        if response.status_code == 404:  # the whole session ended: clients start anew
            return
        answer = list(messages(response))[-1]
    assert '"thoughtHistoryLength": 1' in answer["result"]["content"][0]["text"]


def test_after_a_kill_of_the_service_a_new_start_leaves_no_orphan(
    own_fleet: System, programs: dict[str, Program], wire: Wire
):
    first = own_fleet.processes()
    assert len(first) > len(SERVERS)
    clients = [
        Connection(
            programs[flavour.program], url=own_fleet.endpoint, token=own_fleet.local_token, mode=flavour.mode
        )
        for flavour in FLAVOURS
    ]
    for client in clients:
        assert client.text("everything__echo", message="before") == "Echo: before"

    port = own_fleet.port
    own_fleet.kill()
    own_fleet.up(port=port)
    assert [process for process in first if process.is_running()] == []

    with wire.post({"id": 2, "method": "tools/list"}) as response:
        assert response.status_code == 404
    for flavour, client in zip(FLAVOURS, clients, strict=True):
        if flavour.modern:
            assert client.text("everything__echo", message="after") == "Echo: after"
            client.close()
            continue
        with pytest.raises(StepError):  # the session is not found: the SDK says so, its user starts anew
            client.text("everything__echo", message="after")
        client.close()
        anew = Connection(
            programs[flavour.program], url=own_fleet.endpoint, token=own_fleet.local_token, mode=flavour.mode
        )
        assert anew.text("everything__echo", message="anew") == "Echo: anew"
        anew.close()
