"""What HTTP answers mean: the fine points. The table of statuses is in the integration tests."""

import pytest

from fairlead.drivers.http_answer import (
    Refusal,
    answers,
    content_type,
    event_frames,
    frames_of,
    knows_no_session,
    read_refusal,
    refusal_of,
    retry_after,
)
from fairlead.mcp.sse import SseEvent

ERROR = b'{"jsonrpc":"2.0","id":%b,"error":\n{"code":-32000,\n"message":"m"}}'


@pytest.mark.parametrize(
    ("payload", "frames"),
    [
        (b"", []),
        (b" \r\n ", []),
        (b' {"a":\r\n1}\n', [b'{"a":  1}']),
        (b'[{"a":\n1}, {"b":2}\n]', [b'{"a": 1}', b'{"b":2}']),
        (b"[]", []),
        (b"[1,\n", [b"[1,"]),
        (b"[" * 100_000, [b"[" * 100_000]),
    ],
    ids=["empty", "blank", "pretty", "batch", "empty batch", "broken batch", "deep"],
)
def test_frames(payload, frames):
    assert frames_of(payload) == frames


def test_only_messages_carry_frames():
    assert event_frames(SseEvent(b"{}")) == [b"{}"]
    assert event_frames(SseEvent(b"{}", "ping")) == []
    assert event_frames(SseEvent(b"", event_id="1")) == []


@pytest.mark.parametrize(
    ("frame", "yes"),
    [
        (b'{"id":3,"result":{}}', True),
        (b'{"id":3,"error":{}}', True),
        (b'{"id":3,"method":"ping"}', False),
        (b'{"id":"3","result":{}}', False),
        (b'{"id":4,"result":{}}', False),
        (b'{"result":{}}', False),
        (b"3", False),
        (b"\xff", False),
    ],
)
def test_what_answers_a_request(frame, yes):
    assert answers(frame, 3) is yes


@pytest.mark.parametrize("status", [400, 404, 409, 422])
def test_an_error_without_an_id_is_the_answer_where_it_blames_the_request(status):
    frame = b'{"jsonrpc":"2.0","id":3,"error":{"code":-32000, "message":"m"}}'
    assert read_refusal(status, {}, ERROR % b"null", 3, now=0) == frame
    assert read_refusal(status, {}, ERROR % b"3", 3, now=0) == frame


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
def test_an_error_without_an_id_is_a_refusal_where_it_blames_something_else(status):
    refusal = read_refusal(status, {b"retry-after": b"3"}, ERROR % b"null", 3, now=0)
    assert isinstance(refusal, Refusal)
    assert refusal.reason.endswith("(m)")
    assert refusal.retry_after == 3
    assert isinstance(read_refusal(status, {}, ERROR % b"3", 3, now=0), bytes)


@pytest.mark.parametrize("error_id", [b"4", b'"server-error"', b"1.5", b"[]"])
def test_an_error_with_another_id_is_never_the_answer(error_id):
    assert isinstance(read_refusal(400, {}, ERROR % error_id, 3, now=0), Refusal)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b'{"error":"x"}', b'{"error":{"code":1}}', b"[" * 100_000, b"\xff"]
)
def test_a_body_that_is_no_error_of_json_rpc_says_nothing(body):
    assert read_refusal(500, {}, body, 3, now=0) == Refusal("HTTP 500 from the server")


def test_a_long_message_is_cut():
    body = b'{"error":{"message":"%b"}}' % (b"x" * 5000)
    assert len(refusal_of(500, {}, body, now=0).reason) < 250


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        (b"https://user:pw@host:1/path?key=x#f", "https://host:1/path"),
        (b"/other?key=x", "/other"),
        (b"", "the new address"),
        (b"http://[", "the new address"),
        (b"?key=x", "the new address"),
    ],
)
def test_where_a_redirect_leads(location, shown):
    reason = refusal_of(301, {b"location": location}, b"", now=0).reason
    assert f"put {shown} into `url`" in reason


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("", None),
        ("5", 5.0),
        (" 5 ", 5.0),
        ("-5", None),
        ("5.5", None),
        ("\u00b2", None),
        ("9" * 30, None),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 60.0),
        ("Thu, 01 Jan 1970 00:00:10 GMT", 0.0),
    ],
)
def test_retry_after(value, wait):
    assert retry_after(value, now=40.0) == wait


def test_content_type():
    assert content_type({b"content-type": b" Text/Event-Stream ; charset=utf-8"}) == b"text/event-stream"
    assert content_type({}) == b""


@pytest.mark.parametrize(
    ("status", "body", "yes"),
    [
        (404, b"", True),
        (404, b"<html>", True),
        (400, ERROR.replace(b'"m"', b'"Bad Request: No valid session ID provided"') % b"null", True),
        (400, b'{"error":{"code":-32000,"message":"Unknown Session"}}', True),
        (400, ERROR.replace(b'"m"', b'"Session not found"') % b'"server-error"', True),
        (400, ERROR.replace(b'"m"', b'"no such session of yours"') % b"3", False),  # of the request itself
        (400, ERROR % b"null", False),
        (400, b"no session", False),
        (400, b"", False),
        (403, ERROR.replace(b'"m"', b'"session"') % b"null", False),
        (500, ERROR.replace(b'"m"', b'"session"') % b"null", False),
    ],
)
def test_what_says_that_the_session_has_ended(status, body, yes):
    assert knows_no_session(status, body) is yes
