"""Server-sent events: what the standard says of lines, fields and their order."""

import pytest

from fairlead.mcp.sse import SseDecoder, SseError, SseEvent, encode_event


def decode(*chunks: bytes, max_event: int = 1000) -> list[SseEvent]:
    decoder = SseDecoder(max_event=max_event)
    return [event for chunk in chunks for event in decoder.feed(chunk)]


@pytest.mark.parametrize(
    ("raw", "events"),
    [
        (b"data: a\n\n", [SseEvent(b"a")]),
        (b"data:a\r\rdata:b\r\n\r\n", [SseEvent(b"a"), SseEvent(b"b")]),
        (b"data:  a\n\n", [SseEvent(b" a")]),
        (b"data: a\ndata\ndata: b\n\n", [SseEvent(b"a\n\nb")]),
        (b"\xef\xbb\xbfdata: a\n\n", [SseEvent(b"a")]),
        (b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [SseEvent(b"a")]),
        (b": comment\n\n\n\n", []),
        (b"event: x\n\n", []),
        (b"event: x\n\ndata: a\n\n", [SseEvent(b"a")]),
        (b"event: x\ndata: a\n\ndata: b\n\n", [SseEvent(b"a", "x"), SseEvent(b"b")]),
        (b"id: 1\n\ndata: b\n\n", [SseEvent(b"", event_id="1"), SseEvent(b"b", event_id="1")]),
        (b"id: 1\ndata: a\n\nid\ndata: b\n\n", [SseEvent(b"a", event_id="1"), SseEvent(b"b")]),
        (b"id: a\0b\ndata: a\n\n", [SseEvent(b"a")]),
        (b"retry: 1500\ndata: a\n\n", [SseEvent(b"a", retry=1.5)]),
        (b"retry: 1s\nretry: -1\nretry: 9999999999\ndata: a\n\n", [SseEvent(b"a")]),
        (b"other: 1\nDATA: b\ndata: a\n\n", [SseEvent(b"a")]),
        (b"data: \xff\xe2\x80\xa8\x0b\x0c\x85\n\n", [SseEvent(b"\xff\xe2\x80\xa8\x0b\x0c\x85")]),
        (b"data: a\n", []),
        (b"data: a", []),
    ],
)
def test_decoding(raw, events):
    assert decode(raw) == events


def test_a_crlf_cut_in_two_is_one_line_end():
    assert decode(b"data: a\r", b"\ndata: b\r", b"", b"\n\r", b"\n") == [SseEvent(b"a\nb")]


def test_an_event_that_ends_in_cr_is_not_held_back():
    assert decode(b"data: a\r\r") == [SseEvent(b"a")]


def test_the_last_id_and_the_retry_time_are_kept():
    decoder = SseDecoder(max_event=100, last_event_id="7")
    assert decoder.last_event_id == "7"
    decoder.feed(b"id: 8\nretry: 20\ndata:\n\n")
    assert (decoder.last_event_id, decoder.retry) == ("8", 0.02)


@pytest.mark.parametrize(
    "chunks",
    [
        [b"data: " + b"x" * 100],
        [b"data: ", *[b"x"] * 100],
        [b"data: xxxxxxx\n"] * 10,
        [b": " + b"x" * 100],
        [b"x" * 60 + b"\n", b"x" * 60 + b"\n"],
    ],
    ids=["one line", "one line in bytes", "many lines", "comment", "unknown fields"],
)
def test_an_event_over_the_limit_is_refused(chunks):
    with pytest.raises(SseError, match="larger than 100 bytes"):
        decode(*chunks, max_event=100)


def test_many_events_within_the_limit_are_no_large_event():
    assert len(decode(*[b"data: " + b"x" * 90 + b"\n\n"] * 50, max_event=100)) == 50
    assert decode(*[b": ping " + b"x" * 80 + b"\n"] * 50, max_event=100) == []


def test_encoding():
    assert encode_event(b"{}") == b"data: {}\n\n"
    assert (
        encode_event(b"a\r\nb\rc\n", event="message", event_id="4", retry=0.5)
        == b"event: message\nid: 4\nretry: 500\ndata: a\ndata: b\ndata: c\ndata: \n\n"
    )


@pytest.mark.parametrize("field", ["event", "event_id"])
def test_an_injection_through_a_field_is_refused(field):
    with pytest.raises(ValueError, match="must be printable"):
        encode_event(b"", **{field: "a\ndata: b"})
