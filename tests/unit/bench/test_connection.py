import pytest
from bench.connection import Access, Reply, ReplyReader


def test_a_request_names_length_token_and_session():
    head = Access(4000, tool="echo__echo", token="t0ken", session="s1").head("POST", 57)
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /mcp HTTP/1.1"
    assert lines[-2:] == ["", ""]
    assert {"Authorization: Bearer t0ken", "Mcp-Session-Id: s1", "Content-Length: 57"} <= set(lines)


def test_an_event_stream_is_asked_for_without_a_body():
    lines = Access(4000).head("GET").decode().split("\r\n")
    assert "Accept: text/event-stream" in lines
    assert not any(line.startswith(("Content-", "Authorization", "Mcp-Session-Id")) for line in lines)


def test_the_message_is_read_from_json_and_from_an_event_stream():
    assert Reply(200, {"content-type": "application/json"}, b'{"id":1}').message() == {"id": 1}
    stream = b'id: 7\nretry: 3000\ndata:\n\nevent: message\ndata: {"id":2}\n\n'
    assert Reply(200, {"content-type": "text/event-stream"}, stream).message() == {"id": 2}


def test_the_rest_api_is_asked_with_the_token():
    lines = Access(4000, token="t0ken").get("/api/servers/echo").decode().split("\r\n")
    assert lines[0] == "GET /api/servers/echo HTTP/1.1"
    assert "Authorization: Bearer t0ken" in lines
    assert lines[-2:] == ["", ""]


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_replies_are_read_one_after_the_other_however_they_are_cut(size):
    reader = ReplyReader()
    first = b"HTTP/1.1 200 OK\r\nX-Kind: First\r\nContent-Length: 3\r\n\r\none"
    second = b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n2\r\ntw\r\n1\r\no\r\n0\r\n\r\n"
    replies = []
    for stream in (first, second):
        parts = [stream[start : start + size] for start in range(0, len(stream), size)]
        *before, reply = [reader.feed(part) for part in parts]
        assert set(before) <= {None}
        replies.append(reply)
    assert replies[0] == Reply(200, {"x-kind": "First", "content-length": "3"}, b"one")
    assert replies[1] == Reply(503, {"transfer-encoding": "chunked"}, b"two")


def test_an_end_before_the_answer_is_an_error():
    reader = ReplyReader()
    reader.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\non")
    with pytest.raises(ConnectionError, match="closed before the answer"):
        reader.feed(b"")
