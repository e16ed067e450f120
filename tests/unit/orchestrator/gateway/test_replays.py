"""Calls of the fast lane whose instance fails, and the room that servers leave each other."""

import asyncio
import itertools
import json

import pytest

from fairlead.model.fleet import CircuitBreaker, Scaling
from fairlead.model.status import ServerState
from fairlead.web.health import Overall, overall
from support.lane_rig import bodies, lane_rig, request
from support.scripted import legacy

pytestmark = pytest.mark.looptime

SAFE = legacy(annotations={"readOnlyHint": True})
TWO = {"scaling": Scaling(min_instances=2, max_instances=2)}
NUMBERS = itertools.count(1)


def mute(message):
    """Lives, and answers no calls."""
    return [] if message.get("method") == "tools/call" else SAFE(message)


async def sent(rig, headers, tool="s__echo", meta=None):
    """A call on a connection of its own; the wire that its answer comes over."""
    lane, wire = rig.connect()
    params = {"name": tool, "arguments": {}, **({"_meta": meta} if meta else {})}
    message = {"jsonrpc": "2.0", "id": next(NUMBERS), "method": "tools/call", "params": params}
    lane.data_received(request(json.dumps(message).encode(), headers))
    await rig.settle()
    return wire


def calls(link):
    return [message for message in link.sent if message.get("method") == "tools/call"]


async def two(rig):
    while len(rig.driver.running) < 2:
        await asyncio.sleep(0.01)
    return rig.driver.links[:2]


async def taken(rig, headers, **more):
    """A call that one of two silent instances has: its wire, that instance's link, the other's."""
    links = await two(rig)
    for link in links:
        link.hang()
    wire = await sent(rig, headers, **more)
    [has] = [link for link in links if calls(link)]
    return wire, has, next(link for link in links if link is not has)


async def answered(wire):
    while not wire.out:
        await asyncio.sleep(0.1)
    return bodies(wire.out)[0]


async def test_a_safe_call_goes_on_where_an_instance_lives():
    async with lane_rig(SAFE, s=TWO) as rig:
        wire, has, other = await taken(rig, await rig.session())
        other.go_on()
        has.lose()
        assert (await answered(wire))["result"]["content"]
        assert rig.gateway.in_flight == 0


async def test_the_error_of_one_that_is_not_safe_says_why():
    async with lane_rig(legacy(), s=TWO) as rig:
        wire, has, other = await taken(rig, await rig.session())
        has.lose("killed by SIGKILL")
        error = (await answered(wire))["error"]
        assert "killed by SIGKILL; the call was not replayed: its tool is not annotated" in error["message"]
        assert error["data"]["replayed"] is False
        assert not calls(other)
        assert rig.gateway.in_flight == 0


async def test_what_was_not_delivered_is_asked_of_an_instance_that_is_known_to_be_well():
    async with lane_rig(SAFE, s=TWO) as rig:
        wire, has, other = await taken(rig, await rig.session())
        other.go_on()
        has.listener.request_failed(calls(has)[0]["id"], "HTTP 502", 1.0)
        assert (await answered(wire))["result"]["content"]
        assert len(calls(has)) == 1


async def test_a_blip_of_the_only_instance_is_waited_out():
    async with lane_rig(SAFE) as rig:
        headers = await rig.session()
        rig.link.hang()
        wire = await sent(rig, headers)
        rig.link.listener.request_failed(calls(rig.link)[0]["id"], "connection refused", None)
        await rig.settle()
        assert not wire.out, "nobody is known to be well"
        rig.link.go_on()
        await rig.fleet.check_health("s")
        assert (await answered(wire))["result"]["content"]


async def test_a_failure_in_every_attempt_ends_with_a_reason():
    async with lane_rig(
        lambda message: [] if message.get("method") == "tools/call" else SAFE(message)
    ) as rig:
        wire = await sent(rig, await rig.session())
        for attempt in range(1, 5):
            while len(calls(rig.link)) < attempt:
                await rig.fleet.check_health("s")  # passes, and so it is sent again
                await rig.settle()
            rig.link.listener.request_failed(calls(rig.link)[-1]["id"], "HTTP 502", None)
            await rig.settle()
        assert "it was replayed 3 times already" in (await answered(wire))["error"]["message"]
        assert rig.gateway.in_flight == 0


async def test_progress_never_goes_back_whoever_tells_of_it():
    async with lane_rig(SAFE, s=TWO) as rig:
        wire, has, other = await taken(rig, await rig.session(), meta={"progressToken": "p"})
        instance = has.listener
        instance.hand_over()
        await asyncio.sleep(0.1)
        for link, progress in ((has, 1), (other, 0.5), (has, 2), (other, 2), (other, 3)):
            token = calls(link)[0]["params"]["_meta"]["progressToken"]
            params = {"progressToken": token, "progress": progress}
            message = {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}
            link.listener.frame_received(json.dumps(message).encode())
        told = [line for line in wire.out.splitlines() if line.startswith(b"data: ")]
        assert [json.loads(line[6:])["params"]["progress"] for line in told] == [1, 2, 3]


async def test_a_full_server_leaves_room_for_the_others():
    async with lane_rig(legacy(), concurrent=10, full={}, good={}) as rig:
        headers = await rig.session()
        full = rig.driver.links[0]
        full.hang()
        wires = [await sent(rig, headers, tool="full__echo") for _ in range(12)]
        refused = [wire for wire in wires if wire.out]
        assert len(refused) == 4, "the last fifth is not for it"
        assert "8 of them of server 'full'" in bodies(refused[0].out)[0]["error"]["message"]
        assert "result" in await answered(await sent(rig, headers, tool="good__echo"))
        full.go_on()
        await asyncio.sleep(0.1)
        assert rig.gateway.in_flight == 0
        assert "result" in await answered(await sent(rig, headers, tool="full__echo"))


async def test_while_the_circuit_is_open_each_call_hears_when_to_come_again():
    limits = {"circuit_breaker": CircuitBreaker(minimum_calls=2, failure_rate=50, open_for=10)}
    async with lane_rig(legacy(annotations={}), s=limits) as rig:
        headers = await rig.session()
        rig.link.hang()
        for number in range(2):
            await sent(rig, headers)
            rig.link.listener.request_failed(calls(rig.link)[number]["id"], "HTTP 502", None)
        wire = await sent(rig, headers)
        assert "gets no calls for a while" in bodies(wire.out)[0]["error"]["message"]
        assert 9 < bodies(wire.out)[0]["error"]["data"]["retryAfter"] <= 10
        assert b"retry-after: 10\r\n" in wire.out
        assert len(calls(rig.link)) == 2, "it is not even sent"


async def test_a_server_that_is_idle_is_left_in_peace_and_counts_as_healthy():
    resting = {"scaling": Scaling(min_instances=0, max_instances=2, idle_after=5)}
    async with lane_rig(SAFE, s=resting) as rig:
        headers = await rig.session()
        for _ in range(200):
            await asyncio.sleep(1)
            await rig.fleet.tick()
        assert rig.fleet.server("s").state is ServerState.IDLE
        assert (len(rig.driver.links), rig.driver.running) == (1, []), "no check has woken it"
        assert overall(rig.fleet.servers()) is Overall.OK
        assert "result" in await answered(await sent(rig, headers))
        assert len(rig.driver.links) == 2
