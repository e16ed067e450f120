"""Whatever comes in, the server sees exactly one message per request, with the same meaning."""

import asyncio
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from support.lane_rig import bodies, lane_rig, request

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=15,
)
IDS = st.integers(-(2**53), 2**53) | TEXT
STYLES = st.sampled_from(
    [
        {"separators": (",", ":")},
        {"separators": (",", ":"), "ensure_ascii": False},
        {"indent": 2},
        {"separators": (" ,\r\n", "\n: ")},
        {"sort_keys": True},
    ]
)


@settings(max_examples=100, deadline=None)
@given(
    request_id=IDS,
    arguments=st.dictionaries(TEXT, JSON, max_size=4),
    more=st.dictionaries(TEXT.filter(lambda k: k not in ("name", "arguments", "_meta")), JSON, max_size=2),
    trace=st.none() | TEXT,
    style=STYLES,
    reverse=st.booleans(),
)
def test_one_message_with_the_same_meaning(request_id, arguments, more, trace, style, reverse):
    params = {"name": "s__echo", "arguments": arguments, **more}
    if trace is not None:
        params["_meta"] = {"traceparent": trace}
    message = {"jsonrpc": "2.0", "id": request_id, "method": "tools/call", "params": params}
    if reverse:
        message = dict(reversed(message.items()))
    body = json.dumps(message, **style).encode()

    async def run():
        async with lane_rig() as rig:
            headers = await rig.session()
            lane, wire = rig.connect()
            before = len(rig.link.sent)
            lane.data_received(request(body, headers))
            await rig.settle()
            return rig.link.sent[before:], bodies(wire.out)

    sent, answers = asyncio.run(run())
    expected = dict(params, name="echo")
    assert [(m["method"], m["params"]) for m in sent] == [("tools/call", expected)]
    assert [answer["id"] for answer in answers] == [request_id]
    assert type(answers[0]["id"]) is type(request_id)
    assert json.loads(answers[0]["result"]["content"][0]["text"]) == expected


@settings(max_examples=100, deadline=None)
@given(body=st.binary(max_size=200))
def test_any_bytes_get_one_answer_and_reach_no_server(body):
    async def run():
        async with lane_rig() as rig:
            headers = await rig.session()
            lane, wire = rig.connect()
            before = len(rig.link.sent)
            lane.data_received(request(body, headers))
            await rig.settle()
            return len(rig.link.sent) - before, bodies(wire.out)

    reached, answers = asyncio.run(run())
    assert reached == 0
    assert len(answers) == 1
    assert answers[0]["error"]["code"] in (-32700, -32600)


@settings(max_examples=100, deadline=None)
@given(places=st.lists(st.integers(0, 10_000), max_size=8), count=st.integers(1, 6))
def test_requests_split_anywhere_are_the_same_requests(places, count):
    messages = [
        {
            "jsonrpc": "2.0",
            "id": n,
            "method": "tools/call",
            "params": {"name": "s__echo", "arguments": {"n": n}},
        }
        for n in range(count)
    ]

    async def run():
        async with lane_rig() as rig:
            headers = await rig.session()
            lane, wire = rig.connect()
            stream = b"".join(request(json.dumps(m).encode(), headers) for m in messages)
            cuts = sorted(place * len(stream) // 10_000 for place in places)
            for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
                if start < end:
                    lane.data_received(stream[start:end])
                    await rig.settle()
            return bodies(wire.out)

    assert [answer["id"] for answer in asyncio.run(run())] == list(range(count))


@settings(max_examples=100, deadline=None)
@given(garbage=st.binary(min_size=1, max_size=300), again=st.booleans())
def test_garbage_on_the_wire_never_breaks_the_lane(garbage, again):
    async def run():
        async with lane_rig() as rig:
            lane, _ = rig.connect()
            lane.data_received(garbage)
            if again:
                lane.data_received(garbage)
            lane.tick(asyncio.get_running_loop().time() + 1000)
            lane.connection_lost(None)
            assert rig.gateway.in_flight == 0
            assert len(rig.gateway.known_heads) == 0

    asyncio.run(run())
