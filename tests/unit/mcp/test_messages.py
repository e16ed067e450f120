"""Reading and building JSON-RPC messages."""

import json

import pytest
from msgspec import UNSET, Raw

from fairlead.mcp.errors import INVALID_REQUEST, PARSE_ERROR, McpError
from fairlead.mcp.messages import (
    decode_call,
    decode_from_server,
    decode_incoming,
    decode_members,
    error,
    join_members,
    notification,
    one_line,
    request_id,
    result,
)


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        (b"", PARSE_ERROR, "Parse error"),
        (b"{", PARSE_ERROR, "Parse error"),
        (b"nonsense", PARSE_ERROR, "Parse error"),
        (b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":"\xff"}}', PARSE_ERROR, "UTF-8 at byte"),
        (
            b'{"jsonrpc":"2.0","id":1,"method":"x","params":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
            PARSE_ERROR,
            "deep",
        ),
        (b"[]", INVALID_REQUEST, "batches"),
        (b'[{"jsonrpc":"2.0","id":1,"method":"x"}]', INVALID_REQUEST, "batches"),
        (b"1", INVALID_REQUEST, "Invalid request"),
        (b'{"id":1,"method":"x"}', INVALID_REQUEST, "jsonrpc"),
        (b'{"jsonrpc":"1.0","id":1,"method":"x"}', INVALID_REQUEST, '"2.0"'),
        (b'{"jsonrpc":"2.0","id":1,"method":7}', INVALID_REQUEST, "method"),
        (b'{"jsonrpc":"2.0","id":1,"method":"a","method":"b"}', INVALID_REQUEST, "twice"),
        (b'{"jsonrpc":"2.0","id":1,"id":2,"method":"a"}', INVALID_REQUEST, "twice"),
        (b'{"jsonrpc":"2.0","id":1,"method":"a","params":{},"params":{}}', INVALID_REQUEST, "twice"),
        (b'{"jsonrpc":"2.0","id":1,"method":"a","params":{},"p\\u0061rams":{}}', INVALID_REQUEST, "twice"),
    ],
)
def test_a_bad_body_is_refused_with_what_is_wrong(body, code, words):
    with pytest.raises(McpError) as refused:
        decode_incoming(body)
    assert refused.value.code == code
    assert words in refused.value.message
    assert refused.value.status == 400


def test_duplicates_inside_params_of_a_compact_call_are_not_taken_for_the_usual_form():
    assert decode_call(b'{"name":"a","name":"b","arguments":{}}') is None
    assert decode_call(b'{"name":"a","n\\u0061me":"b","arguments":{}}') is None


@pytest.mark.parametrize("raw", [b"0", b"-1", b"12345678901234567890", b'"a"', b'""', b'"\\u0000"'])
def test_an_id_keeps_its_type_and_spelling(raw):
    message = decode_incoming(b'{"jsonrpc":"2.0","id":' + raw + b',"method":"ping"}')
    assert request_id(message) == raw


@pytest.mark.parametrize("raw", [b"null", b"1.5", b"1e3", b"true", b"{}", b"[]", b'"' + b"x" * 600 + b'"'])
def test_other_ids_are_refused(raw):
    message = decode_incoming(b'{"jsonrpc":"2.0","id":' + raw + b',"method":"ping"}')
    with pytest.raises(McpError, match="id must be"):
        request_id(message)


def test_a_notification_has_no_id():
    assert decode_incoming(b'{"jsonrpc":"2.0","method":"notifications/initialized"}').id is UNSET


def test_the_usual_call_is_read_without_a_tree():
    call = decode_call(b'{"name":"a","arguments":{"x":[1, 2]},"_meta":{"progressToken":1}}')
    assert call is not None
    assert bytes(call.name) == b'"a"'
    assert bytes(call.arguments) == b'{"x":[1, 2]}'
    assert bytes(call.meta) == b'{"progressToken":1}'
    assert decode_call(b'{"name":"a"}') is not None
    assert decode_call(b'{"name":"a","arguments":{},"task":{}}') is None, "unknown members go the slow way"
    assert decode_call(b'{"name": "a"}') is None, "what is not compact goes the slow way"


@pytest.mark.parametrize(
    "raw",
    [b'{"a":1,"a":2}', b'{"a":1, "a":2}', b'{"a":{},"\\u0061":{}}', b'{"name":"x","arguments":{},"name":""}'],
)
def test_a_member_that_stands_twice_is_refused(raw):
    with pytest.raises(McpError, match="twice"):
        decode_members(raw)


@pytest.mark.parametrize(
    "raw", [b"{}", b"{ }", b'{"a":1}', b'{"a": {"b":1,"b":2}}', b'{"\\u0061":1,"b":"\xc3\xa4"}']
)
def test_other_objects_are_taken_apart(raw):
    assert decode_members(raw).keys() == json.loads(raw).keys()


def test_params_must_be_an_object():
    with pytest.raises(McpError, match="params"):
        decode_members(b"[1]")
    assert decode_members(UNSET) == {}


def test_a_line_break_between_tokens_becomes_a_space():
    assert one_line(b'{"a":\r\n1}') == b'{"a":  1}'
    assert join_members({"a": Raw(b"[1,\n2]"), "b": b"3"}) == b'{"a":[1, 2],"b":3}'


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (b'{"jsonrpc":"2.0","id":1,"result":{"t":"\xff"}}', "\ufffd"),
        (b'{"jsonrpc":"2.0","id":1,"result":{"t":"\\ud800"}}', "?"),
    ],
)
def test_a_servers_broken_text_still_reaches_its_caller(frame, text):
    message = decode_from_server(frame)
    assert message is not None
    assert message.id == 1
    assert json.loads(bytes(message.result)) == {"t": text}


@pytest.mark.parametrize("frame", [b"", b"npm warn", b"[1]", b"{", b'"x"', b"[" * 100_000])
def test_noise_is_no_message(frame):
    assert decode_from_server(frame) is None


def test_what_is_built_reads_back():
    assert json.loads(result(b'"a"', b"{}")) == {"jsonrpc": "2.0", "id": "a", "result": {}}
    assert json.loads(error(None, b"{}")) == {"jsonrpc": "2.0", "id": None, "error": {}}
    assert json.loads(notification("n", b'{"a":1}')) == {"jsonrpc": "2.0", "method": "n", "params": {"a": 1}}
    assert json.loads(notification("n")) == {"jsonrpc": "2.0", "method": "n"}
