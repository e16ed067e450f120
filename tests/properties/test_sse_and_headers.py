"""Event streams survive any cut; header values come back as they went."""

import re

from hypothesis import example, given
from hypothesis import strategies as st
from mcp.shared.inbound import decode_header_value as sdk_decode
from mcp.shared.inbound import encode_header_value as sdk_encode

from fairlead.mcp.headers import decode_header_value, encode_header_value
from fairlead.mcp.sse import SseDecoder, SseEvent, encode_event

LINES = st.sampled_from(
    [
        b"data: a",
        b"data:b",
        b"data",
        b"event: x",
        b"id: 1",
        b"id:",
        b"retry: 5",
        b": c",
        b"",
        b"",
        b"\xef\xbb\xbf",
        b"\xff",
    ]
)
ENDS = st.sampled_from([b"\n", b"\r", b"\r\n"])
STREAMS = st.lists(st.tuples(LINES, ENDS)).map(lambda lines: b"".join(line + end for line, end in lines))


def cut(data: bytes, places: list[int]) -> list[bytes]:
    marks = sorted({place % (len(data) + 1) for place in places})
    return [data[a:b] for a, b in zip([0, *marks], [*marks, len(data)], strict=True)]


def reference(stream: bytes) -> list[SseEvent]:
    """The standard's algorithm, on the whole stream."""
    events, data, event, last_id, retry, touched = [], [], "", "", None, False
    lines = re.split(rb"\r\n|\r|\n", stream.removeprefix(b"\xef\xbb\xbf"))[:-1]
    for line in lines:
        if not line:
            if touched:
                events.append(SseEvent(b"\n".join(data), event or "message", last_id, retry))
            data, event, touched = [], "", False
            continue
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            data.append(value)
            touched = True
        elif name == b"event":
            event = value.decode()
        elif name == b"id":
            last_id = value.decode()
            touched = True
        elif name == b"retry":
            retry = int(value) / 1000
    return events


@given(STREAMS, st.lists(st.integers(0, 10_000)))
@example(b"data: a\r\n\r\n", [8, 9, 10])
@example(b"\xef\xbb\xbfdata: a\n\n", [1, 2])
def test_a_stream_means_the_same_wherever_it_is_cut(stream, places):
    decoder = SseDecoder(max_event=100_000)
    events = [event for chunk in cut(stream, places) for event in decoder.feed(chunk)]
    assert events == reference(stream)


@given(st.binary(max_size=200), st.lists(st.integers(0, 10_000)))
def test_no_bytes_upset_the_decoder_and_every_cut_reads_the_same(stream, places):
    whole, parts = SseDecoder(max_event=100_000), SseDecoder(max_event=100_000)
    assert whole.feed(stream) == [event for chunk in cut(stream, places) for event in parts.feed(chunk)]


@given(
    st.binary(),
    st.none() | st.text("abc", min_size=1),
    st.none() | st.text("0123", min_size=1),
    st.none() | st.integers(0, 100_000),
)
def test_what_is_encoded_is_decoded(data, event, event_id, retry):
    seconds = None if retry is None else retry / 1000
    raw = encode_event(data, event=event, event_id=event_id, retry=seconds)
    expected = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    assert SseDecoder(max_event=10_000).feed(raw) == [
        SseEvent(expected, event or "message", event_id or "", seconds)
    ]


@given(st.text())
@example("=?base64?YQ==?=")
def test_header_values_come_back(value):
    header = encode_header_value(value)
    assert header.isascii()
    assert header.isprintable()
    assert decode_header_value(header) == value
    assert header == sdk_encode(value)
    assert sdk_decode(header) == value


@given(
    st.text(st.characters(codec="latin-1"))
    | st.from_regex(r"=\?base64\?[A-Za-z0-9+/=]{0,8}\?=", fullmatch=True)
)
def test_any_header_is_read_as_the_sdk_reads_it(header):
    assert decode_header_value(header) == sdk_decode(header.strip(" \t"))
