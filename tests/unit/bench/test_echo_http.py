import json

import pytest
from bench.echo_http import replies_to

BODY = b'{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"echo","arguments":{"text":"t"}}}'


def post(body, name=b"Content-Length"):
    return b"POST /mcp HTTP/1.1\r\nHost: x\r\n%s: %d\r\n\r\n%s" % (name, len(body), body)


@pytest.mark.parametrize("name", [b"Content-Length", b"content-length"])
def test_a_call_is_echoed(name):
    request = post(BODY, name)
    [reply], used = replies_to(request)
    head, _, body = reply.partition(b"\r\n\r\n")
    assert used == len(request)
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Length: %d" % len(body) in head
    assert json.loads(body)["result"]["content"][0]["text"] == "t"


def test_pipelined_requests_are_answered_in_order_and_a_rest_is_kept():
    first, second, third = post(BODY), b"GET /mcp HTTP/1.1\r\nHost: x\r\n\r\n", post(BODY)
    replies, used = replies_to(first + second + third[:-1])
    assert [reply[9:12] for reply in replies] == [b"200", b"405"]
    assert used == len(first + second)


@pytest.mark.parametrize("cut", [1, 20, 40, len(post(BODY)) - 1])
def test_a_part_of_a_request_is_not_answered(cut):
    assert replies_to(post(BODY)[:cut]) == ([], 0)


def test_the_handshake_gives_a_session_and_takes_the_notification():
    [hello, taken], _ = replies_to(
        post(b'{"jsonrpc":"2.0","id":1,"method":"initialize"}') + post(b'{"jsonrpc":"2.0","method":"x"}')
    )
    assert b"\r\nMcp-Session-Id: " in hello
    assert taken.startswith(b"HTTP/1.1 202 ")
