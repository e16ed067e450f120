import json
import os
import threading

import pytest
from bench.echo_stdio import answer, serve


def call(number, text):
    params = {"name": "echo", "arguments": {"text": text}}
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}).encode()


@pytest.mark.parametrize("number", [0, 7, "seven", "\u00e9"])
@pytest.mark.parametrize("text", ["plain", 'quo"ted\n', "", "\ud55c\uad6d"])
def test_the_echo_keeps_id_and_text(number, text):
    reply = json.loads(answer(call(number, text)))
    assert reply["id"] == number
    assert reply["result"]["content"] == [{"type": "text", "text": text}]


def test_it_speaks_the_legacy_era_and_offers_one_tool():
    hello = json.loads(answer(b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}'))
    assert hello["result"]["protocolVersion"] == "2025-11-25"
    listed = json.loads(answer(b'{"jsonrpc":"2.0","id":2,"method":"tools/list"}'))
    assert [tool["name"] for tool in listed["result"]["tools"]] == ["echo"]


def test_notifications_get_no_answer_and_unknown_methods_an_error():
    assert answer(b'{"jsonrpc":"2.0","method":"notifications/initialized"}') is None
    probe = json.loads(answer(b'{"jsonrpc":"2.0","id":"p","method":"server/discover"}'))
    assert (probe["id"], probe["error"]["code"]) == ("p", -32601)


@pytest.mark.parametrize("size", [1, 7, 64, 10_000])
def test_messages_survive_any_split_of_the_stream(size):
    source, feed = os.pipe()
    results, sink = os.pipe()
    server = threading.Thread(target=serve, args=(source, sink))
    server.start()
    stream = b"\n".join([call(1, "one"), b'{"jsonrpc":"2.0","method":"x"}', b"", call(2, "two"), b""])
    for start in range(0, len(stream), size):
        os.write(feed, stream[start : start + size])
    os.close(feed)
    server.join(10)
    os.close(sink)
    with os.fdopen(results, "rb") as replies:
        assert [json.loads(line)["id"] for line in replies] == [1, 2]
    os.close(source)
