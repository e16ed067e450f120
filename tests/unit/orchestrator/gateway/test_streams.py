"""Streams of legacy sessions on lanes without sockets: who carries what, whatever the order of things."""

import asyncio
import json

from fairlead.mcp.eras import META_CAPABILITIES, META_VERSION
from fairlead.model.fleet import ClientRequest
from fairlead.orchestrator.gateway.exchange import MAX_HELD
from support.lane_rig import PORT, TOKEN, lane_rig, request
from support.scripted import answer, legacy
from support.watched import knows, watched

SAMPLE = {"messages": [{"role": "user", "content": {"type": "text", "text": "tea"}}], "maxTokens": 9}
QUIET = legacy(["echo"])


def script(message):
    """Calls are answered by the test."""
    return [] if message.get("method") == "tools/call" else QUIET(message)


def call(number, headers, **meta):
    params = {"name": "s__echo", "arguments": {}, "_meta": meta}
    message = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}
    return request(json.dumps(message).encode(), headers)


def get(headers, last=None):
    lines = {"Host": f"127.0.0.1:{PORT}", "Authorization": f"Bearer {TOKEN}", "Accept": "text/event-stream"}
    lines |= headers | ({} if last is None else {"Last-Event-ID": last})
    text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"GET /mcp HTTP/1.1\r\n{text}\r\n".encode()


def told(wire):
    """The messages on a wire's event streams, and its priming events' ids."""
    lines = wire.out.splitlines()
    return [json.loads(line[6:]) for line in lines if line.startswith(b"data: ")]


def heads(wire):
    return wire.out.count(b"HTTP/1.1 200 OK")


def sent_calls(rig):
    return [message for message in rig.link.sent if message.get("method") == "tools/call"]


def progress(rig, sent, step, **more):
    params = {"progressToken": sent["params"]["_meta"]["progressToken"], "progress": step, **more}
    rig.link.say({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})


async def test_a_stream_that_waits_for_its_turn_can_be_taken_up_elsewhere():
    async with lane_rig(script) as rig:
        headers = await rig.session()
        lane, wire = rig.connect()
        lane.data_received(call(1, headers) + call(2, headers, progressToken="t"))
        first, second = sent_calls(rig)
        progress(rig, second, 1)
        assert wire.out == b""  # the first request is not answered yet
        other_lane, other = rig.connect()
        other_lane.data_received(get(headers, "1-0"))
        rig.link.say(answer(first, content=[]))
        assert heads(wire) == 2
        assert wire.out.endswith(b"0\r\n\r\n")
        assert [m["params"]["progress"] for m in told(wire)] == [1]
        before = len(wire.out)
        lane.data_received(call(3, headers))
        rig.link.say(answer(sent_calls(rig)[-1], content=[]))
        assert b'"id":3' in wire.out[before:]
        progress(rig, second, 2)
        rig.link.say(answer(second, content=[]))
        assert [m.get("id") or m["params"]["progress"] for m in told(other)] == [1, 2, 2]
        assert other.out.endswith(b"0\r\n\r\n")
        assert rig.gateway.metrics.streams == 0
        assert rig.gateway.in_flight == 0


async def test_a_server_asks_on_the_get_stream_when_nobody_can_come_back_to_the_calls():
    """Its connection was lost before the answer had become a stream."""
    server = {"client_requests": tuple(ClientRequest)}
    async with lane_rig(script, s=server) as rig:
        headers = await rig.session(capabilities={"sampling": {}})
        own_lane, own = rig.connect()
        own_lane.data_received(get(headers))
        lane, wire = rig.connect()
        lane.data_received(call(1, headers))
        async with asyncio.timeout(20):
            while not (sent := sent_calls(rig)):
                await asyncio.sleep(0)
        lane.connection_lost(None)
        rig.link.say({"jsonrpc": "2.0", "id": 7, "method": "sampling/createMessage", "params": SAMPLE})
        (question,) = told(own)
        assert question["method"] == "sampling/createMessage"
        assert wire.out == b""
        rig.link.say(answer(sent[0], content=[]))
        assert rig.gateway.streams.store.bytes > 0  # the question, which the client may have missed
        assert rig.gateway.in_flight == 0


async def test_a_replay_and_what_follows_are_in_order_and_once():
    async with lane_rig(script) as rig:
        headers = await rig.session()
        lane, _ = rig.connect()
        lane.data_received(call(1, headers, progressToken="t"))
        (sent,) = sent_calls(rig)
        for step in range(10):
            progress(rig, sent, step)
        lane.connection_lost(None)
        progress(rig, sent, 10)
        steps = []
        for last in (3, 9, 11):
            lane, wire = rig.connect()
            lane.data_received(get(headers, f"1-{last}"))
            progress(rig, sent, 11 + len(steps))
            steps.append([m["params"]["progress"] for m in told(wire)])
            lane.connection_lost(None)
        assert steps == [[*range(3, 12)], [9, 10, 11, 12], [11, 12, 13]]


async def test_a_reader_is_slow_only_when_it_has_not_read_what_came_before():
    async with lane_rig(script) as rig:
        headers = await rig.session()
        lane, wire = rig.connect()
        lane.data_received(call(1, headers, progressToken="t"))
        (sent,) = sent_calls(rig)
        wire.get_write_buffer_size = lambda: len(wire.out)  # it reads nothing
        wire.pause_reading = lambda: None
        progress(rig, sent, 1)
        lane.pause_writing()
        progress(rig, sent, 2, message="x" * MAX_HELD)
        assert not wire.closed
        assert len(told(wire)) == 2
        progress(rig, sent, 3)
        assert wire.closed


async def test_bounds_hold_over_many_sessions():
    async with lane_rig(script) as rig:
        store = rig.gateway.streams.store
        store.bounds = type(store.bounds)(events=4, total_bytes=20_000)
        for _ in range(40):
            headers = await rig.session()
            lane, _ = rig.connect()
            lane.data_received(call(1, headers, progressToken="t"))
            for step in range(10):
                progress(rig, sent_calls(rig)[-1], step)
            lane.connection_lost(None)
            assert store.bytes <= 20_000
        assert all(session.shelf.events <= 4 for session in rig.gateway.sessions)
        for session in rig.gateway.sessions:
            rig.gateway.close_session(session)
        assert store.bytes == 0
        assert rig.gateway.in_flight == 0


async def test_an_idle_session_has_nothing_of_this():
    async with lane_rig(script) as rig:
        await rig.session()
        assert [session.shelf for session in rig.gateway.sessions] == [None]


async def test_a_call_that_outlives_its_session_harms_nobody():
    """Two calls went by one id, so that the session's end reached only the second."""
    async with lane_rig(script) as rig:
        headers = await rig.session()
        wires = []
        for _ in range(2):
            lane, wire = rig.connect()
            lane.data_received(call(1, headers, progressToken="t"))
            wires.append(wire)
        first, second = sent_calls(rig)
        progress(rig, first, 1)
        progress(rig, second, 1)
        [session] = rig.gateway.sessions
        rig.gateway.close_session(session)
        for step in range(2, 1000):
            progress(rig, first, step)
        rig.link.say(answer(first, content=[]))
        assert len(told(wires[0])) == 999 + 1
        assert wires[0].out.endswith(b"0\r\n\r\n")
        assert (rig.gateway.in_flight, rig.gateway.streams.store.bytes) == (0, 0)


async def test_a_modern_request_has_no_session_whatever_it_says():
    async with lane_rig(script, s={"client_requests": tuple(ClientRequest)}) as rig:
        legacy_headers = await rig.session(capabilities={"sampling": {}})
        headers = {
            "MCP-Protocol-Version": "2026-07-28",
            "Mcp-Method": "tools/call",
            "Mcp-Name": "s__echo",
            "Mcp-Session-Id": legacy_headers["Mcp-Session-Id"],
        }
        meta = {META_VERSION: "2026-07-28", META_CAPABILITIES: {}}
        lane, wire = rig.connect()
        lane.data_received(call(5, headers, **meta))
        await rig.settle()
        [session] = rig.gateway.sessions
        assert not session.calls
        assert len(rig.driver.links) == 1, "none that may ask"
        rig.gateway.close_session(session)
        rig.link.say(answer(sent_calls(rig)[0], content=[]))
        assert b'"id":5' in wire.out


async def test_a_subscription_that_is_cancelled_at_once_is_none():
    async with lane_rig(watched("legacy")) as rig:
        headers = await rig.session("/servers/s/mcp")
        subscribe = {"id": 1, "method": "resources/subscribe", "params": {"uri": "x://a"}}
        cancel = {"method": "notifications/cancelled", "params": {"requestId": 1}}
        lane, wire = rig.connect()
        for message in (subscribe, cancel):
            body = json.dumps({"jsonrpc": "2.0"} | message).encode()
            lane.data_received(request(body, headers, "/servers/s/mcp"))
        assert b"-32800" in wire.out
        await rig.settle()
        assert rig.gateway.metrics.subscriptions == 0
        async with asyncio.timeout(20):
            while knows(rig.link):
                await asyncio.sleep(0)
