"""The remote driver against servers that misbehave: each answer has its outcome, and the link survives it."""

from __future__ import annotations

import asyncio
import json
import re
import time

import pytest

from fairlead.drivers import http_connection, http_pool, streamable_http
from support.raw_http import HangUp, RawServer, begin_stream, chunk, respond
from support.recorder import call, request, shows

LEGACY = "2025-11-25"
MODERN = "2026-07-28"


def answer_to(message: bytes, **result: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": json.loads(message)["id"], "result": result}).encode()


def saying(raw: bytes, *, hang_up: bool = False):
    """A script that answers the first request with `raw`, all others properly."""
    done = []

    async def script(got, writer):
        if done or got.method != "POST":
            respond(writer, 200, answer_to(got.body))
            return
        done.append(got)
        writer.write(raw)
        if hang_up:
            await writer.drain()
            raise HangUp

    return script


def http(status: int, body: bytes = b"", kind: str = "application/json", extra: str = "") -> bytes:
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
    return head.encode() + body


def stream(*events: bytes, end: bool = True) -> bytes:
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(event), event) for event in events)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + chunks + (b"0\r\n\r\n" if end else b"")


ERROR = b'{"jsonrpc":"2.0","id":%b,"error":{"code":-32000,"message":"no session"}}'
OTHER = b'{"jsonrpc":"2.0","id":999,"result":{}}'
MEGABYTE = b"x" * 2**20

BAD = {
    "garbage": (b"hello\r\n\r\n", False, "answer is not HTTP"),
    "tls": (b"\x16\x03\x01\x00\x05", False, "answer is not HTTP"),
    "half a head": (b"HTTP/1.1 200 OK\r\nContent-Le", True, "in the middle of its answer's headers"),
    "half a body": (http(200, b"{}")[:-1], True, "closed the connection in the middle of its answer"),
    "nothing": (b"", True, "closed the connection before it answered"),
    "bad chunk": (stream(end=False) + b"zz\r\n", False, "answer is not HTTP"),
    "cut chunk": (stream(end=False) + b"ff\r\nabc", True, "in the middle of its answer"),
    "length and chunks": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        False,
        "answer is not HTTP",
    ),
    "html": (http(200, b"<html>", "text/html; charset=utf-8"), False, "it sent text/html, not JSON"),
    "no type": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        False,
        "it sent nothing with a content type, not JSON",
    ),
    "no JSON": (http(200, b"oops"), False, "holds no answer to the request"),
    "empty": (http(200), False, "holds no answer to the request"),
    "deep": (http(200, b"[" * 100_000), False, "holds no answer to the request"),
    "another id": (http(200, OTHER), False, "holds no answer to the request"),
    "202": (b"HTTP/1.1 202 A\r\nContent-Length: 0\r\n\r\n", False, "HTTP 202 .* will not answer it"),
    "204": (b"HTTP/1.1 204 N\r\n\r\n", False, "HTTP 204 .* will not answer it"),
    "101": (
        b"HTTP/1.1 101 S\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
        False,
        "switched to another protocol",
    ),
    "401": (
        http(401, b'{"error":"invalid_token"}'),
        False,
        "HTTP 401 .*credentials are missing or were refused",
    ),
    "403": (http(403, ERROR % b"null"), False, r"HTTP 403 .*credentials.*\(no session\)"),
    "404": (http(404, b"nope", "text/plain"), False, "HTTP 404 .* check `url`"),
    "405": (http(405), False, "HTTP 405 .* check `url` and `transport`"),
    "500": (http(500, ERROR % b"null"), False, r"HTTP 500 from the server \(no session\)"),
    "502": (http(502, b"<html>", "text/html"), False, "HTTP 502 from the server$"),
    "another's error": (
        http(400, ERROR % b'"server-error"'),
        False,
        r"HTTP 400 from the server \(no session\)",
    ),
    "interim flood": (b"HTTP/1.1 100 C\r\n\r\n" * 5000, False, "more than 65536 bytes of headers"),
    "long head": (b"HTTP/1.1 200 OK\r\nX: " + MEGABYTE, False, "more than 65536 bytes of headers"),
    "many headers": (
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000,
        False,
        "more than 65536 bytes of headers",
    ),
    "endless chunk extension": (
        stream(end=False) + b"5;" + MEGABYTE,
        False,
        "more than 65536 bytes of headers",
    ),
    "endless trailer": (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: "
        + MEGABYTE,
        False,
        "more than 65536 bytes of headers",
    ),
    "stream without an answer": (stream(b"data: " + OTHER + b"\n\n"), False, "ended the event stream before"),
    "stream of noise": (
        stream(b": ping\n\n", b"event: x\ndata: 1\n\n"),
        False,
        "ended the event stream before",
    ),
    "stream cut": (stream(b"data: " + OTHER + b"\n\n", end=False), True, "in the middle of its answer"),
}


@pytest.mark.parametrize(("raw", "hang_up", "reason"), BAD.values(), ids=BAD.keys())
async def test_a_bad_answer_fails_its_request_and_nothing_else(remote, raw, hang_up, reason):
    async with RawServer(saying(raw, hang_up=hang_up)) as server:
        link, recorder = await remote.open(server.url)
        call(link, 7, "echo")
        assert re.search(reason, await recorder.failed(7))
        call(link, 8, "echo")
        assert (await recorder.answered(8))["result"] == {}
        assert recorder.lost is None
        assert len([r for r in server.requests if json.loads(r.body)["id"] == 7]) == 1
        await link.close()


ANSWER = b'{"jsonrpc":"2.0","id":7,"result":{"ok":true}}'
PRETTY = b'\r\n {\r\n  "jsonrpc": "2.0",\n  "id": 7,\r  "result": {"ok": true}\n}\n'
UNUSUAL = {
    "close-delimited": (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + ANSWER, True),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n" + ANSWER, True),
    "connection: close": (http(200, ANSWER, extra="Connection: close\r\n"), True),
    "interim answers": (
        b"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 103 E\r\nLink: x\r\n\r\n" + http(200, ANSWER),
        False,
    ),
    "pretty": (http(200, PRETTY), False),
    "content type in capitals": (http(200, ANSWER, "Application/JSON; charset=utf-8"), False),
    "batch": (http(200, b"[\n" + OTHER + b",\n" + ANSWER + b"]"), False),
    "chunks of one byte": (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"".join(b"1\r\n%c\r\n" % byte for byte in ANSWER)
        + b"0\r\n\r\n",
        False,
    ),
    "trailer": (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"%x\r\n%b\r\n0\r\nContent-Type: text/html\r\n\r\n" % (len(ANSWER), ANSWER),
        False,
    ),
    "more than asked for": (http(200, ANSWER) + http(200, OTHER), False),
    "stream": (stream(b"event: message\r\nid: 1\r\ndata: " + ANSWER + b"\r\n\r\n"), False),
    "stream of many lines": (
        stream(b"".join(b"data: %b\n" % line for line in PRETTY.splitlines()), b"\n"),
        False,
    ),
    "stream until the connection's end": (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: " + ANSWER + b"\n\n",
        True,
    ),
    "error with the id": (http(404, ERROR % b"7"), False),
    "error without an id": (http(400, ERROR % b"null"), False),
    "error of a server that has no id": (
        http(400, b'{"jsonrpc":"2.0","error":{"code":1,"message":"m"}}'),
        False,
    ),
}


@pytest.mark.parametrize(("raw", "hang_up"), UNUSUAL.values(), ids=UNUSUAL.keys())
async def test_an_unusual_answer_is_understood(remote, raw, hang_up):
    async with RawServer(saying(raw, hang_up=hang_up)) as server:
        link, recorder = await remote.open(server.url)
        call(link, 7, "echo")
        message = await recorder.answered(7)
        assert message.get("result") == {"ok": True} or message["error"]["message"] in ("no session", "m")
        call(link, 8, "echo")
        await recorder.answered(8)
        assert set(recorder.failures) == set()
        if raw.endswith(http(200, OTHER)):  # what nobody asked for is no message, and ends the connection
            assert 999 not in [m["id"] for m in recorder.messages]
            assert server.requests[1].connection == 2


async def test_a_second_message_cannot_hide_behind_a_newline(remote):
    raw = http(200, ANSWER + b'\n{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}')
    async with RawServer(saying(raw)) as server:
        link, recorder = await remote.open(server.url)
        call(link, 7, "echo")
        await recorder.failed(7)
        assert len(recorder.frames) == 1


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("7", 7.0),
        ("soon", None),
        ("Sun, 22 Nov 2099 00:00:00 GMT", 1e9),
        ("Sun, 22 Nov 1999 00:00:00 GMT", 0.0),
    ],
)
async def test_retry_after_is_passed_on(remote, value, wait):
    async with RawServer(saying(http(503, extra=f"Retry-After: {value}\r\n"))) as server:
        link, recorder = await remote.open(server.url)
        call(link, 7, "echo")
        assert "HTTP 503" in await recorder.failed(7)
        found = recorder.events[-1][3]
        assert found == wait or (wait == 1e9 and found > 2e9 - time.time())


async def test_a_redirect_is_not_followed_and_said_without_secrets(remote):
    raw = http(307, extra="Location: https://user:pw@elsewhere.example/mcp/?key=hidden\r\n")
    async with RawServer(saying(raw)) as server:
        link, recorder = await remote.open(server.url)
        call(link, 7, "echo")
        reason = await recorder.failed(7)
        assert "redirects are not followed; put https://elsewhere.example/mcp/ into `url`" in reason
        assert "pw" not in reason
        assert "hidden" not in reason


async def test_a_secret_that_the_server_quotes_is_struck_out(remote):
    raw = http(403, b'{"error":{"code":1,"message":"bad token s3cr3t-token (Bearer s3cr3t-token)"}}')
    async with RawServer(saying(raw)) as server:
        link, recorder = await remote.open(server.url, headers={"Authorization": "Bearer s3cr3t-token"})
        call(link, 7, "echo")
        assert (await recorder.failed(7)).endswith("(bad token *** (***))")
        assert server.requests[0].headers["authorization"] == "Bearer s3cr3t-token"


async def test_an_answer_over_the_limit_fails_its_request(remote, monkeypatch):
    monkeypatch.setattr(http_connection, "MAX_MESSAGE", 100_000)
    monkeypatch.setattr(streamable_http, "MAX_MESSAGE", 100_000)
    big = b'{"jsonrpc":"2.0","id":7,"result":"' + b"x" * 100_000 + b'"}'
    for raw in (http(200, big), stream(b"data: " + big + b"\n\n"), stream(b"data: " + big, end=False)):
        async with RawServer(saying(raw)) as server:
            link, recorder = await remote.open(server.url)
            call(link, 7, "echo")
            assert "larger than 100000 bytes" in await recorder.failed(7)
            call(link, 8, "echo")
            await recorder.answered(8)


async def test_a_large_answer_arrives_whole(remote):
    big = b'{"jsonrpc":"2.0","id":7,"result":"' + b"x" * (15 * 2**20) + b'"}'
    for raw in (http(200, big), stream(b"data: " + big + b"\n\n")):
        async with RawServer(saying(raw)) as server:
            link, recorder = await remote.open(server.url)
            call(link, 7, "echo")
            await recorder.answered(7)
            assert recorder.frames == [big]


async def test_a_large_request_arrives_whole(remote):
    async with RawServer(saying(http(200, ANSWER))) as server:
        link, recorder = await remote.open(server.url)
        call(link, 7, "echo", text="y" * (10 * 2**20))
        assert link.statistics().queued_bytes >= 0
        await recorder.answered(7)
        assert json.loads(server.requests[0].body)["params"]["arguments"]["text"] == "y" * (10 * 2**20)
        assert link.statistics().queued_bytes == 0


# Kept connections that turn out to be closed


def closing_on_second():
    """Answers the first request of a connection, hangs up on the second."""
    served = set()

    async def script(got, writer):
        if got.connection in served:
            raise HangUp
        served.add(got.connection)
        respond(writer, 200, answer_to(got.body))

    return script


@pytest.mark.parametrize(("method", "times"), [("tools/list", 2), ("tools/call", 1)])
async def test_only_what_may_run_twice_is_sent_again(remote, method, times):
    async with RawServer(closing_on_second()) as server:
        link, recorder = await remote.open(server.url)
        request(link, 1, "ping")
        await recorder.answered(1)
        request(link, 2, method)
        if times == 2:
            await recorder.answered(2)
        else:
            reason = await recorder.failed(2)
            assert reason == (
                "the server closed the connection before it answered; "
                "the request may have been carried out, so it was not sent again"
            )
        assert [json.loads(r.body)["id"] for r in server.requests] == [1, *[2] * times]
        assert recorder.lost is None


async def test_what_is_sent_again_is_sent_again_only_once(remote):
    async def script(got, writer):
        if json.loads(got.body)["id"] != 1:
            raise HangUp
        respond(writer, 200, answer_to(got.body))

    async with RawServer(script) as server:
        link, recorder = await remote.open(server.url)
        request(link, 1, "ping")
        await recorder.answered(1)
        request(link, 2, "tools/list")
        assert await recorder.failed(2) == "the server closed the connection before it answered"
        assert len(server.requests) == 3


async def test_a_connection_closed_while_idle_is_not_used(remote):
    async def script(got, writer):
        respond(writer, 200, answer_to(got.body))
        if got.connection == 1:
            await writer.drain()
            raise HangUp

    async with RawServer(script) as server:
        link, recorder = await remote.open(server.url)
        call(link, 1, "echo")
        await recorder.answered(1)
        await server.until(lambda: server.open_connections == 0)
        await shows(link, "0 open")
        call(link, 2, "echo")
        await recorder.answered(2)
        assert [r.connection for r in server.requests] == [1, 2]


async def test_a_server_that_closes_every_connection_at_once_fails_requests_and_hangs_nothing(remote):
    def slam(reader, writer):
        writer.transport.abort()

    server = await asyncio.start_server(slam, "127.0.0.1", 0)
    async with server:
        link, recorder = await remote.open(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp")
        for number in range(10):
            call(link, number, "echo")
            request(link, 100 + number, "tools/list")
        for number in range(10):
            assert "the server closed the connection" in await recorder.failed(number)
            assert "the server closed the connection" in await recorder.failed(100 + number)
        assert recorder.lost is None


async def test_what_comes_unasked_ends_the_connection(remote):
    goodbye = asyncio.Event()

    async def script(got, writer):
        respond(writer, 200, answer_to(got.body))
        if got.connection == 1:
            await writer.drain()
            await goodbye.wait()
            writer.write(http(408))

    async with RawServer(script) as server:
        link, recorder = await remote.open(server.url)
        call(link, 1, "echo")
        await recorder.answered(1)
        goodbye.set()
        await shows(link, "0 open")
        call(link, 2, "echo")
        await recorder.answered(2)
        assert len(recorder.frames) == 2


async def test_the_servers_word_on_keeping_connections_is_heeded(remote):
    async def script(got, writer):
        respond(writer, 200, answer_to(got.body), Keep_Alive="timeout=1, max=100")

    async with RawServer(script) as server:
        link, recorder = await remote.open(server.url)
        call(link, 1, "echo")
        await recorder.answered(1)
        await server.until(lambda: server.open_connections == 0)
        assert recorder.lost is None


# Bounds and order


async def test_connections_are_bounded_and_calls_wait_in_order(remote):
    gate = asyncio.Event()

    async def script(got, writer):
        await gate.wait()
        respond(writer, 200, answer_to(got.body))

    async with RawServer(script) as server:
        link, recorder = await remote.open(server.url, max_connections=2)
        for number in range(20):
            call(link, number, "echo")
        await server.until(lambda: len(server.requests) == 2)
        assert link.statistics().queued_bytes > 18 * 100
        assert "2 open, 0 idle, 2+0+0 taken, 18 waiting" in repr(link)
        gate.set()
        for number in range(20):
            await recorder.answered(number)
        assert server.connections == 2
        assert [json.loads(r.body)["id"] for r in server.requests] == list(range(20))
        assert link.statistics().queued_bytes == 0


async def test_backpressure_is_told_and_the_queue_is_bounded(remote, monkeypatch):
    monkeypatch.setattr(http_pool, "HIGH_COUNT", 6)
    monkeypatch.setattr(http_pool, "LOW_COUNT", 2)
    monkeypatch.setattr(http_pool, "MAX_COUNT", 8)
    gate = asyncio.Event()

    async def script(got, writer):
        await gate.wait()
        respond(writer, 200, answer_to(got.body))

    async with RawServer(script) as server:
        link, recorder = await remote.open(server.url, max_connections=1)
        for number in range(7):
            call(link, number, "echo")
        assert recorder.events == []
        for number in range(7, 10):
            call(link, number, "echo")
        assert recorder.events == [("writable", False)]
        assert await recorder.failed(9) == "too many requests wait for a connection to the server"
        gate.set()
        for number in range(9):
            await recorder.answered(number)
        marks = [event[1] for event in recorder.events if event[0] == "writable"]
        assert marks == [False, True]


async def test_large_requests_count_by_their_bytes(remote, monkeypatch):
    monkeypatch.setattr(http_pool, "HIGH_BYTES", 10_000)
    monkeypatch.setattr(http_pool, "LOW_BYTES", 1_000)
    monkeypatch.setattr(http_pool, "MAX_BYTES", 30_000)
    async with RawServer(saying(http(200, ANSWER))) as server:
        link, recorder = await remote.open(server.url, max_connections=1)
        for number in range(7, 11):
            call(link, number, "echo", text="z" * 12_000)
        assert recorder.events == [("writable", False)]
        assert "too many" in await recorder.failed(10)
        for number in (7, 8, 9):
            await recorder.answered(number)


async def test_paused_reading_brings_nothing_in_and_loses_nothing(remote):
    events = [b'data: {"jsonrpc":"2.0","method":"n","params":%d}\n\n' % n for n in range(3000)]
    raw = stream(b"".join(events), b"data: " + ANSWER + b"\n\n")
    async with RawServer(saying(raw)) as server:
        link, recorder = await remote.open(server.url)
        count = 0

        def pause(_frame):
            nonlocal count
            count += 1
            if count % 300 == 0:
                link.pause_reading()

        recorder.on_frame = pause
        call(link, 7, "echo")
        for rounds in range(1, 11):
            await recorder.until(lambda rounds=rounds: count == 300 * rounds)
            for _ in range(20):
                await asyncio.sleep(0)
            assert count == 300 * rounds
            link.resume_reading()
        await recorder.until(lambda: count == 3001)
        assert [m["params"] for m in recorder.messages[:-1]] == list(range(3000))
        assert recorder.answer(7)


async def test_paused_reading_makes_the_server_wait(remote):
    writers = []

    async def script(got, writer):
        writers.append(writer)
        begin_stream(writer)
        for _ in range(20):
            chunk(writer, b"data: " + MEGABYTE + b"\n\n")
        chunk(writer, b"data: " + answer_to(got.body) + b"\n\n")
        chunk(writer, b"")

    async with RawServer(script) as server:
        link, recorder = await remote.open(server.url)
        recorder.on_frame = lambda _frame: link.pause_reading()
        call(link, 7, "echo")
        await recorder.until(lambda: recorder.frames)
        for _ in range(1000):
            await asyncio.sleep(0)
        assert writers[0].transport.get_write_buffer_size() > 2**20
        assert len(recorder.frames) == 1
        recorder.on_frame = None
        link.resume_reading()
        await recorder.answered(7)
        assert len(recorder.frames) == 21


async def test_a_failure_does_not_overtake_held_back_frames(remote):
    raw = stream(b'data: {"jsonrpc":"2.0","method":"n"}\n\n' * 3)
    async with RawServer(saying(raw)) as server:
        link, recorder = await remote.open(server.url)
        recorder.on_frame = lambda _frame: link.pause_reading()
        call(link, 7, "echo")
        await recorder.until(lambda: recorder.frames)
        for count in (2, 3):
            link.resume_reading()
            await recorder.until(lambda count=count: len(recorder.frames) == count)
        assert 7 not in recorder.failures
        link.resume_reading()
        await recorder.failed(7)
        assert [event[0] for event in recorder.events] == ["frame", "frame", "frame", "failed"]


async def test_the_end_comes_behind_what_is_held_back(remote):
    raw = stream(b'data: {"jsonrpc":"2.0","method":"n"}\n\n' * 3, end=False)
    async with RawServer(saying(raw)) as server:
        link, recorder = await remote.open(server.url)
        recorder.on_frame = lambda _frame: link.pause_reading()
        call(link, 7, "echo")
        await recorder.until(lambda: recorder.frames)
        await link.close()
        assert [event[0] for event in recorder.events] == ["frame", "frame", "frame", "lost"]


async def test_a_call_that_waits_is_taken_back_without_being_sent(remote):
    gate = asyncio.Event()

    async def script(got, writer):
        await gate.wait()
        respond(writer, 200, answer_to(got.body))

    async with RawServer(script) as server:
        link, recorder = await remote.open(server.url, max_connections=1)
        link.negotiated(LEGACY)
        for number in (1, 2, 3):
            call(link, number, "echo")
        await server.until(lambda: len(server.requests) == 1)
        assert link.abandon(1) is False
        assert link.abandon(2) is True
        assert link.abandon(2) is False
        gate.set()
        await recorder.answered(3)
        assert [json.loads(r.body)["id"] for r in server.requests] == [1, 3]


async def test_an_abandoned_legacy_call_does_not_hold_its_place_for_ever(remote, monkeypatch):
    monkeypatch.setattr(streamable_http, "ABANDON_GRACE", 0.05)

    async def script(got, writer):
        if json.loads(got.body)["id"] == 1:
            begin_stream(writer)
        else:
            respond(writer, 200, answer_to(got.body))

    async with RawServer(script) as server:
        link, recorder = await remote.open(server.url, max_connections=1)
        link.negotiated(LEGACY)
        call(link, 1, "echo")
        await server.until(lambda: len(server.requests) == 1)
        call(link, 2, "echo")
        assert link.abandon(1) is False
        await recorder.answered(2)
        assert 1 not in recorder.failures
        await server.until(lambda: server.open_connections == 1)


async def test_a_stream_that_stays_open_behind_its_answer_is_closed(remote, monkeypatch):
    monkeypatch.setattr(http_pool, "LINGER", 0.05)

    async def script(got, writer):
        begin_stream(writer)
        chunk(writer, b"data: " + answer_to(got.body) + b"\n\n")

    async with RawServer(script) as server:
        link, recorder = await remote.open(server.url, max_connections=1)
        for number in range(5):
            call(link, number, "echo")
        for number in range(5):
            await recorder.answered(number)
        assert recorder.failures == {}
        await server.until(lambda: server.open_connections == 0)


# The end of a link


async def test_a_server_that_is_gone_ends_the_link(remote):
    async with RawServer(saying(http(200, ANSWER, extra="Connection: close\r\n"))) as server:
        link, recorder = await remote.open(server.url)
        call(link, 7, "echo")
        await recorder.answered(7)
    for number in (8, 9):
        call(link, number, "echo")
        assert "connection refused. Is the server running there?" in await recorder.failed(number)
        assert recorder.lost is None
    call(link, 10, "echo")
    lost = await recorder.ended()
    assert "connection refused" in lost.reason
    assert not lost.expected
    call(link, 11, "echo")
    await link.close()
    assert repr(remote.driver) == "RemoteDriver(0 links)"


async def test_closing_drops_calls_without_a_word_and_may_be_done_twice(remote):
    async def silent(got, writer):
        pass

    async with RawServer(silent) as server:
        link, recorder = await remote.open(server.url, max_connections=2)
        for number in range(5):
            call(link, number, "echo")
        await server.until(lambda: len(server.requests) == 2)
        await asyncio.gather(link.close(), link.close())
        await link.close()
        assert [event[0] for event in recorder.events] == ["lost"]
        assert recorder.lost.expected
        await server.until(lambda: server.open_connections == 0)
        call(link, 9, "echo")
        assert len(recorder.events) == 1
        assert "over" in repr(link)
        assert "0 open, 0 idle" in repr(link)
