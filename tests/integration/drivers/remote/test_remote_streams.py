"""Sessions, headers and streams of streamable HTTP, looked at from the server's side."""

from __future__ import annotations

import asyncio
import json

import pytest

from fairlead.drivers import http_pool, listening, streamable_http
from fairlead.mcp.headers import decode_header_value
from support.raw_http import HangUp, RawServer, begin_stream, chunk, respond
from support.recorder import call, notify, request, shows

LEGACY = "2025-11-25"
MODERN = "2026-07-28"


def answer_to(message: bytes, **result: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": json.loads(message)["id"], "result": result}).encode()


def notice(number: int) -> bytes:
    return b'{"jsonrpc":"2.0","method":"n","params":{"n":%d}}' % number


class Server:
    """A well-behaved legacy server, whose GET and DELETE a test may script."""

    def __init__(self, *, get=None, delete=None, post=None, session: str | None = "abc-123"):
        self.get, self.delete, self.post, self.session = get, delete, post, session

    async def __call__(self, got, writer):
        if got.method == "GET":
            if self.get is None:
                respond(writer, 405)
            else:
                await self.get(got, writer)
        elif got.method == "DELETE":
            if self.delete is None:
                respond(writer, 200)
            else:
                await self.delete(got, writer)
        elif self.post is not None and await self.post(got, writer):
            pass
        elif b'"id"' not in got.body:
            respond(writer, 202)
        else:
            headers = {"Mcp_Session_Id": self.session} if self.session and b'"initialize"' in got.body else {}
            respond(writer, 200, answer_to(got.body), **headers)


async def initialize(link, recorder):
    link.negotiated(LEGACY)
    request(link, 1, "initialize")
    await recorder.answered(1)
    link.negotiated("2025-06-18")
    notify(link, "notifications/initialized")


def of(server, method):
    return [r for r in server.requests if r.method == method]


async def test_legacy_headers(remote):
    async with RawServer(Server()) as server:
        link, recorder = await remote.open(server.url + "?key=a%20b", headers={"X-Key": "k"})
        link.negotiated(MODERN)
        request(link, 5, "server/discover")
        await recorder.answered(5)
        await initialize(link, recorder)
        call(link, 2, "echo")
        await recorder.answered(2)
        await server.until(lambda: of(server, "GET"))
        await link.close()
        first, second, third, fourth = of(server, "POST")
        assert first.headers["mcp-protocol-version"] == MODERN
        assert first.headers["mcp-method"] == "server/discover"
        assert first.headers["host"] == f"127.0.0.1:{server.port}"
        assert first.headers["accept"] == "application/json, text/event-stream"
        assert first.headers["accept-encoding"] == "identity"
        assert first.headers["content-type"] == "application/json"
        assert first.headers["user-agent"].startswith("fairlead/")
        assert first.target == "/mcp?key=a%20b"
        assert not [name for name in second.headers if name.startswith("mcp-")]
        for later in (third, fourth, *of(server, "GET"), *of(server, "DELETE")):
            assert later.headers["mcp-protocol-version"] == "2025-06-18"
            assert later.headers["mcp-session-id"] == "abc-123"
            assert "mcp-method" not in later.headers
            assert later.headers["x-key"] == "k"
        assert len(of(server, "DELETE")) == 1
        assert of(server, "GET")[0].headers["accept"] == "text/event-stream"


async def test_modern_headers(remote):
    names = ["echo", "größe", " padded ", "=?base64?eA==?=", "file:///a\r\nX-Injected: 1", ""]
    async with RawServer(Server(session=None)) as server:
        link, recorder = await remote.open(server.url)
        link.negotiated(MODERN)
        for number, name in enumerate(names):
            request(link, number, "resources/read", {"uri": name}, name)
            await recorder.answered(number)
        request(link, 90, "evil\r\nX-Injected: 1")
        await recorder.answered(90)
        link.send(b'{"jsonrpc":"2.0","id":"x","result":{}}', "", None, None)
        await server.until(lambda: len(server.requests) == 8)
        await link.close()
        assert len(of(server, "POST")) == 8
        assert of(server, "GET") == of(server, "DELETE") == []
        for got, name in zip(server.requests, names, strict=False):
            assert got.headers["mcp-protocol-version"] == MODERN
            assert got.headers["mcp-method"] == "resources/read"
            assert decode_header_value(got.headers["mcp-name"]) == name
            assert "mcp-session-id" not in got.headers
        assert server.requests[0].headers["mcp-name"] == "echo"
        assert not [r for r in server.requests if "x-injected" in r.headers]
        assert "mcp-name" not in server.requests[6].headers
        assert "mcp-method" not in server.requests[7].headers


async def test_nothing_overtakes_the_initialized_notification(remote):
    taken = asyncio.Event()

    async def post(got, writer):
        if b"notifications/initialized" in got.body:
            await taken.wait()

    async with RawServer(Server(post=post)) as server:
        link, recorder = await remote.open(server.url)
        await initialize(link, recorder)
        request(link, 2, "tools/list")
        request(link, 3, "ping")
        await server.until(lambda: len(server.requests) == 2)
        assert "2 waiting" in repr(link)
        taken.set()
        await recorder.answered(2)
        await recorder.answered(3)
        assert {json.loads(r.body).get("id") for r in of(server, "POST")[2:]} == {2, 3}


@pytest.mark.parametrize("how", ["refused", "hung up", "silent"])
async def test_an_initialized_notification_that_is_not_taken_holds_up_nothing(remote, monkeypatch, how):
    monkeypatch.setattr(streamable_http, "ACCEPT_TIMEOUT", 0.1)

    async def post(got, writer):
        if b"notifications/initialized" not in got.body:
            return False
        if how == "refused":
            respond(writer, 500)
        if how == "hung up":
            raise HangUp
        return True

    async with RawServer(Server(post=post)) as server:
        link, recorder = await remote.open(server.url)
        await initialize(link, recorder)
        request(link, 2, "tools/list")
        await recorder.answered(2)
        assert of(server, "GET") == []


async def test_the_session_id_must_be_visible_ascii(remote):
    async with RawServer(Server(session="a b")) as server:
        link, recorder = await remote.open(server.url)
        link.negotiated(LEGACY)
        request(link, 1, "initialize")
        assert "session id" in (await recorder.ended()).reason


@pytest.mark.parametrize("what", ["call", "notification"])
async def test_404_with_a_session_ends_the_link(remote, what):
    async def post(got, writer):
        if b"initialize" in got.body:
            return False
        respond(
            writer, 404, b'{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"Session not found"}}'
        )
        return True

    async with RawServer(Server(post=post)) as server:
        link, recorder = await remote.open(server.url)
        await initialize(link, recorder)
        if what == "call":
            call(link, 2, "echo")
        else:
            notify(link, "notifications/cancelled")
        lost = await recorder.ended()
        assert lost.reason == "session ended by the server"
        assert not lost.expected
        assert lost.refused == ({2} if what == "call" else set())
        await link.close()
        assert of(server, "DELETE") == []


async def test_a_server_that_ignores_delete_delays_the_end_by_the_grace_at_most(remote):
    async def silent(got, writer):
        pass

    async with RawServer(Server(delete=silent)) as server:
        link, recorder = await remote.open(server.url, stop_grace=0.5)
        await initialize(link, recorder)
        await server.until(lambda: of(server, "GET"))
        await link.close()
        assert recorder.lost.expected
        assert len(of(server, "DELETE")) == 1


# The stream on which the server speaks first


async def test_the_listening_stream_is_taken_up_again_behind_the_last_event(remote):
    async def get(got, writer):
        begin_stream(writer)
        seen = int(got.headers.get("last-event-id", "0"))
        if seen == 0:
            chunk(writer, b"retry: 10\nid: 0\ndata:\n\n")
        chunk(writer, b"id: %d\ndata: %b\n\n" % (seen + 1, notice(seen + 1)))
        if seen == 1:
            raise HangUp
        if seen < 4:
            chunk(writer, b"")

    async with RawServer(Server(get=get)) as server:
        link, recorder = await remote.open(server.url)
        await initialize(link, recorder)
        await recorder.until(lambda: len(recorder.frames) == 6)
        assert [m["params"]["n"] for m in recorder.messages[1:]] == [1, 2, 3, 4, 5]
        assert [r.headers.get("last-event-id") for r in of(server, "GET")] == [None, "1", "2", "3", "4"]
        assert "0+0+1 taken" in repr(link)
        await link.close()
        await server.until(lambda: server.open_connections == 0)


@pytest.mark.parametrize(
    ("status", "again"), [(405, False), (404, False), (400, False), (503, True), (409, True)]
)
async def test_whether_a_refused_listening_stream_is_tried_again(remote, monkeypatch, status, again):
    monkeypatch.setattr(listening, "FIRST_DELAY", 0.01)
    opened = asyncio.Event()

    async def get(got, writer):
        if len(of(server, "GET")) > 1:
            begin_stream(writer)
            chunk(writer, b"data: %b\n\n" % notice(1))
            opened.set()
        else:
            respond(writer, status)

    async with RawServer(Server(get=get)) as server:
        link, recorder = await remote.open(server.url)
        await initialize(link, recorder)
        if again:
            await recorder.until(lambda: len(recorder.frames) == 2)
        else:
            await server.until(lambda: of(server, "GET"))
            call(link, 2, "echo")
            await recorder.answered(2)
            assert link._listening._timer is None
            assert len(of(server, "GET")) == 1
        assert recorder.lost is None


async def test_404_for_a_listening_stream_that_stood_before_means_that_the_session_is_gone(
    remote, monkeypatch
):
    monkeypatch.setattr(listening, "FIRST_DELAY", 0.01)

    async def get(got, writer):
        if len(of(server, "GET")) > 1:
            respond(writer, 404)
        else:
            begin_stream(writer)
            chunk(writer, b"")

    async with RawServer(Server(get=get)) as server:
        link, recorder = await remote.open(server.url)
        await initialize(link, recorder)
        assert (await recorder.ended()).reason == "session ended by the server"


async def test_an_idle_link_notices_through_its_listening_stream_that_the_server_is_gone(remote, monkeypatch):
    monkeypatch.setattr(listening, "FIRST_DELAY", 0.01)

    async def get(got, writer):
        begin_stream(writer)
        chunk(writer, b"retry: 1\ndata: %b\n\n" % notice(1))

    async with RawServer(Server(get=get)) as server:
        link, recorder = await remote.open(server.url)
        await initialize(link, recorder)
        await recorder.until(lambda: len(recorder.frames) == 2)
        link._listening._attempts = -10  # no backoff: this test is not about it
    assert "connection refused" in (await recorder.ended()).reason


async def test_an_event_over_the_limit_does_not_end_the_link(remote, monkeypatch):
    monkeypatch.setattr(listening, "FIRST_DELAY", 0.01)
    monkeypatch.setattr(listening, "MAX_MESSAGE", 1000)

    async def get(got, writer):
        begin_stream(writer)
        data = notice(1) if len(of(server, "GET")) > 1 else b"x" * 2000
        chunk(writer, b"data: %b\n\n" % data)

    async with RawServer(Server(get=get)) as server:
        link, recorder = await remote.open(server.url)
        await initialize(link, recorder)
        await recorder.until(lambda: len(recorder.frames) == 2)
        assert len(of(server, "GET")) == 2


# Streams of calls that break


@pytest.mark.parametrize("ending", ["end", "cut"])
async def test_a_broken_call_stream_is_taken_up_again(remote, monkeypatch, ending):
    monkeypatch.setattr(streamable_http, "RESUME_DELAY", 0.01)

    async def post(got, writer):
        if b"tools/call" not in got.body:
            return False
        begin_stream(writer)
        chunk(writer, b"id: p-0\ndata:\n\n")
        chunk(writer, b"id: p-1\ndata: %b\n\n" % notice(1))
        if ending == "cut":
            await writer.drain()
            raise HangUp
        chunk(writer, b"")
        return True

    async def get(got, writer):
        last = got.headers.get("last-event-id", "")
        if last == "":
            respond(writer, 405)
            return
        begin_stream(writer)
        if last == "p-1":
            chunk(writer, b"id: p-2\nretry: 1\ndata: %b\n\n" % notice(2))
            chunk(writer, b"")
        else:
            chunk(writer, b"id: p-3\ndata: " + answer_to(b'{"id":2}') + b"\n\n")
            chunk(writer, b"")

    async with RawServer(Server(post=post, get=get)) as server:
        link, recorder = await remote.open(server.url)
        await initialize(link, recorder)
        call(link, 2, "echo")
        await recorder.answered(2)
        assert [m["params"]["n"] for m in recorder.messages if "method" in m] == [1, 2]
        resumed = [r.headers["last-event-id"] for r in of(server, "GET") if "last-event-id" in r.headers]
        assert resumed == ["p-1", "p-2"]
        assert len([r for r in of(server, "POST") if b"tools/call" in r.body]) == 1
        assert "0+0+0 taken" in repr(link)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (405, "HTTP 405"),
        (500, "HTTP 500"),
        (200, "could not be taken up again"),
        (0, "could not be taken up again"),
    ],
)
async def test_a_call_stream_that_cannot_be_taken_up_again_fails_its_call(
    remote, monkeypatch, status, reason
):
    monkeypatch.setattr(streamable_http, "RESUME_DELAY", 0.01)

    async def post(got, writer):
        if b"tools/call" not in got.body:
            return False
        begin_stream(writer)
        chunk(writer, b"id: 1\ndata:\n\n")
        chunk(writer, b"")
        return True

    async def get(got, writer):
        if "last-event-id" not in got.headers:
            respond(writer, 405)
        elif status == 200:
            begin_stream(writer)
            chunk(writer, b"")
        elif status == 0:
            raise HangUp
        else:
            respond(writer, status)

    async with RawServer(Server(post=post, get=get)) as server:
        link, recorder = await remote.open(server.url)
        await initialize(link, recorder)
        call(link, 2, "echo")
        assert reason in await recorder.failed(2)
        assert "0+0+0 taken" in repr(link)


@pytest.mark.parametrize(("status", "ends"), [(404, True), (400, False)])
async def test_a_call_that_had_begun_was_not_refused_whatever_becomes_of_its_session(
    remote, monkeypatch, status, ends
):
    monkeypatch.setattr(streamable_http, "RESUME_DELAY", 0.01)

    async def post(got, writer):
        if b"tools/call" not in got.body:
            return False
        begin_stream(writer)
        chunk(writer, b"id: 1\ndata:\n\n")
        chunk(writer, b"")
        return True

    async def get(got, writer):
        gone = b'{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"not of this session"}}'
        respond(writer, status if "last-event-id" in got.headers else 405, gone)

    async with RawServer(Server(post=post, get=get)) as server:
        link, recorder = await remote.open(server.url)
        await initialize(link, recorder)
        call(link, 2, "echo")
        if ends:
            assert (await recorder.ended()).refused == frozenset()
        else:  # the stream cannot be taken up, but the session lives
            assert (await recorder.answered(2))["error"]["message"] == "not of this session"
            assert not recorder.lost


async def test_a_call_that_waits_to_be_taken_up_again_can_be_abandoned(remote):
    async def post(got, writer):
        if b"tools/call" not in got.body:
            return False
        begin_stream(writer)
        chunk(writer, b"id: 1\ndata: %b\n\n" % notice(1))
        chunk(writer, b"")
        return True

    async with RawServer(Server(post=post)) as server:
        link, recorder = await remote.open(server.url)
        await initialize(link, recorder)
        call(link, 2, "echo")
        await recorder.until(lambda: len(recorder.frames) == 2)
        await shows(link, "0+0+0 taken")
        assert link.abandon(2) is False
        await link.close()
        assert recorder.failures == {}
        assert not [r for r in of(server, "GET") if "last-event-id" in r.headers]


async def test_a_modern_stream_is_not_taken_up_again(remote):
    async def post(got, writer):
        begin_stream(writer)
        chunk(writer, b"id: 1\ndata: %b\n\n" % notice(1))
        chunk(writer, b"")
        return True

    async with RawServer(Server(post=post)) as server:
        link, recorder = await remote.open(server.url)
        link.negotiated(MODERN)
        call(link, 2, "echo")
        assert await recorder.failed(2) == "the server ended the event stream before its answer"
        assert of(server, "GET") == []


async def test_closing_a_modern_call_reaches_the_server(remote):
    async def post(got, writer):
        begin_stream(writer)
        chunk(writer, b"data: %b\n\n" % notice(1))
        return True

    async with RawServer(Server(post=post)) as server:
        link, recorder = await remote.open(server.url)
        link.negotiated(MODERN)
        call(link, 2, "echo")
        await recorder.until(lambda: recorder.frames)
        assert link.abandon(2) is True
        await server.until(lambda: server.open_connections == 0)
        assert recorder.failures == {}
        assert "0+0+0 taken" in repr(link)


async def test_an_answer_of_ours_gets_through_while_calls_fill_the_pool(remote):
    answered = asyncio.Event()

    async def post(got, writer):
        if b"tools/call" in got.body:
            await answered.wait()
            return False
        if b'"result"' in got.body:
            answered.set()
            respond(writer, 202)
            return True
        return False

    async with RawServer(Server(post=post)) as server:
        link, recorder = await remote.open(server.url, max_connections=1)
        await initialize(link, recorder)
        call(link, 2, "echo")
        call(link, 3, "echo")
        request(link, 4, "ping")
        await recorder.answered(4)
        link.send(b'{"jsonrpc":"2.0","id":"q","result":{}}', "", None, None)
        await recorder.answered(2)
        await recorder.answered(3)


async def test_a_burst_of_notifications_is_bounded_by_the_side_places(remote):
    gate = asyncio.Event()

    async def post(got, writer):
        if b"progress" in got.body:
            await gate.wait()

    async with RawServer(Server(post=post)) as server:
        link, recorder = await remote.open(server.url)
        link.negotiated(LEGACY)
        for _ in range(10):
            notify(link, "notifications/progress")
        await server.until(lambda: len(server.requests) == http_pool.SIDE_PLACES)
        call(link, 2, "echo")
        await recorder.answered(2)
        gate.set()
        await server.until(lambda: len(server.requests) == 11)
