"""What happens when something is killed with SIGKILL."""

from __future__ import annotations

import os
import signal

import httpx
import psutil
import pytest

from e2e.programs import FLAVOURS, Connect, StepError
from e2e.system import SERVERS, System, wait_until
from e2e.wire import Wire

LONG = "everything__trigger-long-running-operation"
OTHERS = [name for name in SERVERS if name != "everything"]


@pytest.fixture
def wire(frail_fleet: System):
    wire = Wire(frail_fleet.endpoint, frail_fleet.local_token)
    wire.initialize()
    yield wire
    wire.close()


def call(wire: Wire, name: str, **arguments: object) -> str:
    answer = wire.ask("tools/call", {"name": name, "arguments": arguments})
    return answer["result"]["content"][0]["text"]


def test_a_killed_server_comes_back_and_the_others_never_notice(frail_fleet: System, wire: Wire):
    victim = frail_fleet.pid("everything")
    restarts = frail_fleet.server("everything")["restarts"]
    before = {name: frail_fleet.pids(name) for name in OTHERS}
    os.kill(victim, signal.SIGKILL)
    allowed = call(wire, "filesystem__list_allowed_directories")
    assert str(frail_fleet.state / "workspace") in allowed

    wait_until(lambda: frail_fleet.pids("everything") - {victim}, lambda: frail_fleet.server("everything"))
    assert call(wire, "everything__echo", message="again") == "Echo: again"
    assert all(before[name] <= frail_fleet.pids(name) for name in OTHERS)
    assert frail_fleet.server("everything")["restarts"] == restarts + 1


def test_a_call_on_a_server_that_is_killed_does_not_hang(frail_fleet: System, connect: Connect):
    client = connect(FLAVOURS[0], frail_fleet)
    victim = frail_fleet.pid("everything")
    number = client.start("call", name=LONG, arguments={"duration": 3, "steps": 1})
    wait_until(
        lambda: any(one["callsInFlight"] for one in frail_fleet.server("everything")["instances"]),
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


def test_thoughts_after_their_server_was_killed_start_anew(frail_fleet: System, wire: Wire):
    thought = {"thought": "x", "thoughtNumber": 1, "totalThoughts": 1, "nextThoughtNeeded": False}
    assert '"thoughtHistoryLength": 1' in call(wire, "sequential__sequentialthinking", **thought)
    assert '"thoughtHistoryLength": 2' in call(wire, "sequential__sequentialthinking", **thought)
    for pid in frail_fleet.pids("sequential"):
        os.kill(pid, signal.SIGKILL)
    frail_fleet.wait_ready("sequential")
    assert '"thoughtHistoryLength": 1' in call(wire, "sequential__sequentialthinking", **thought)


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def test_after_a_kill_of_the_service_a_new_start_leaves_no_orphan(
    frail_fleet: System, connect: Connect, wire: Wire
):
    first = frail_fleet.processes()
    assert len(first) > len(SERVERS)
    confined = any(process.name() == "bwrap" for process in first)  # then the kernel ends all
    clients = [connect(flavour, frail_fleet) for flavour in FLAVOURS]
    for client in clients:
        assert client.text("everything__echo", message="before") == "Echo: before"

    busy = {
        "jsonrpc": "2.0",
        "id": 9,
        "method": "tools/call",
        "params": {"name": LONG, "arguments": {"duration": 60, "steps": 1}},
    }
    with pytest.raises(httpx.ReadTimeout):
        wire.http.post(wire.url, json=busy, headers=wire.headers, timeout=0.5)

    port = frail_fleet.port
    frail_fleet.kill()
    assert confined or alive(first), "a busy server outlives its closed stdin: else this test shows nothing"
    frail_fleet.up(port=port)
    assert not alive(first)

    with wire.post({"id": 2, "method": "tools/list"}) as response:
        assert response.status_code == 404
    for flavour, client in zip(FLAVOURS, clients, strict=True):
        if flavour.modern:
            assert client.text("everything__echo", message="after") == "Echo: after"
            continue
        with pytest.raises(StepError):  # the session is not found: the SDK says so, its user starts anew
            client.text("everything__echo", message="after")
        anew = connect(flavour, frail_fleet)
        assert anew.text("everything__echo", message="anew") == "Echo: anew"
