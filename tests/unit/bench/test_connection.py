from bench.connection import Access, Reply


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
