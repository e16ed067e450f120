"""One table of bad requests over both lanes, and what only the fast lane has to prove.

Everything goes over a raw socket, since well-behaved clients cannot send most of it.
"""

import asyncio
import contextlib
import dataclasses
import json
import re
from ipaddress import ip_network

import httpx
import pytest

from support.stack import ACCEPT, LEGACY, TOKEN, Stack, light, running, until

BODY_LIMIT = 30_000
LIMITS = {
    "resourceLimits": {
        "maxRequestSize": "30000B",
        "maxConcurrentRequests": 1000,
        "rateLimiting": {"requestsPerMinute": 1_000_000},
    }
}
CALL = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {"name": "old__echo", "arguments": {"text": "x"}},
}
REQUEST = {"server": "old", "method": "tools/call", "params": {"name": "echo", "arguments": {"text": "x"}}}


@contextlib.asynccontextmanager
async def service(tmp_path, *flags, **settings):
    servers, toolsets = {"old": light(*flags)}, {"all": {"servers": "*"}}
    async with running(tmp_path, servers, security=LIMITS, settings=settings, toolsets=toolsets) as stack:
        yield stack


class Lane:
    """One of the two lanes: how a good request looks there. `session` is for the MCP one."""

    def __init__(self, stack: Stack, name: str, session: str) -> None:
        self.stack = stack
        self.path = b"/mcp" if name == "fast" else b"/api/request"
        self.body = json.dumps(CALL if name == "fast" else REQUEST).encode()
        self.headers = {
            b"Host": b"127.0.0.1:%d" % stack.port,
            b"Authorization": b"Bearer " + TOKEN.encode(),
            b"Accept": ACCEPT.encode(),
            b"Content-Type": b"application/json",
            b"Connection": b"close",
        }
        if name == "fast":
            self.headers |= {b"Mcp-Session-Id": session.encode(), b"MCP-Protocol-Version": LEGACY.encode()}

    def request(
        self, *, body=None, path=None, version=b"1.1", length=True, extra=(), without=(), **headers
    ) -> bytes:
        """A good request with some things changed. `headers` replace, `extra` are further lines."""
        content = self.body if body is None else body
        lines = {**self.headers, **{k.replace("_", "-").encode(): v for k, v in headers.items()}}
        if length:
            lines[b"Content-Length"] = b"%d" % len(content)
        text = b"".join(b"%b: %b\r\n" % (k, v) for k, v in lines.items() if k not in without)
        text += b"".join(line + b"\r\n" for line in extra)
        return b"POST %b HTTP/%b\r\n%b\r\n%b" % (path or self.path, version, text, content)


def statuses(answer: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


def chunked(body: bytes, size: int = 1000) -> bytes:
    parts = [body[i : i + size] for i in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


# name -> (how the request is made, expected status)
TABLE = {
    "a good one": (lambda lane: lane.request(), 200),
    "no token": (lambda lane: lane.request(without=(b"Authorization",)), 401),
    "a wrong token": (lambda lane: lane.request(Authorization=b"Bearer " + b"x" * 43), 401),
    "a token of another scheme": (lambda lane: lane.request(Authorization=b"Basic " + TOKEN.encode()), 401),
    "two tokens": (lambda lane: lane.request(extra=(b"Authorization: Bearer y",)), 400),
    "a foreign Host": (lambda lane: lane.request(Host=b"evil.example"), 421),
    "no Host": (lambda lane: lane.request(without=(b"Host",)), 400),
    "two Hosts": (lambda lane: lane.request(extra=(b"Host: localhost",)), 400),
    "a foreign Origin": (lambda lane: lane.request(Origin=b"https://evil.example"), 403),
    "Origin null": (lambda lane: lane.request(Origin=b"null"), 403),
    "our own Origin": (lambda lane: lane.request(Origin=b"http://" + lane.headers[b"Host"]), 200),
    "a body over the limit": (lambda lane: lane.request(body=b" " * (BODY_LIMIT + 1)), 413),
    "a promised body over the limit": (
        lambda lane: lane.request(body=b"", length=False, Content_Length=b"999999999"),
        413,
    ),
    "a chunked body over the limit": (
        lambda lane: lane.request(
            body=chunked(b" " * (BODY_LIMIT + 1)), length=False, Transfer_Encoding=b"chunked"
        ),
        413,
    ),
    "a chunked body": (
        lambda lane: lane.request(body=chunked(lane.body, 7), length=False, Transfer_Encoding=b"chunked"),
        200,
    ),
    "both lengths": (
        lambda lane: lane.request(body=chunked(lane.body), extra=(b"Transfer-Encoding: chunked",)),
        400,
    ),
    "an unknown transfer coding": (
        lambda lane: lane.request(length=False, Transfer_Encoding=b"gzip"),
        (400, 501),
    ),
    "a length that is no number": (lambda lane: lane.request(length=False, Content_Length=b"ten"), 400),
    "two lengths": (lambda lane: lane.request(extra=(b"Content-Length: 3",)), 400),
    "too large a head": (lambda lane: lane.request(extra=(b"X-Large: " + b"x" * 70_000,)), 431),
    "too many headers": (lambda lane: lane.request(extra=tuple(b"X-%d: 1" % n for n in range(300))), 431),
    "too long a path": (lambda lane: lane.request(path=b"/" + b"a" * 9_000), 414),
    "no HTTP at all": (lambda lane: b"\x16\x03\x01 nonsense\r\n\r\n", 400),
    "a header that is none": (lambda lane: lane.request(extra=(b"no colon here",)), 400),
    "a folded header": (lambda lane: lane.request(extra=(b"X-A: 1\r\n 2",)), (200, 400)),
    "a space before the colon": (lambda lane: lane.request(extra=(b"Content-Type : text/plain",)), 400),
    "HTTP/1.0": (lambda lane: lane.request(version=b"1.0"), 200),
    "Expect": (lambda lane: lane.request(Expect=b"100-continue"), 200),
    "another media type": (lambda lane: lane.request(Content_Type=b"text/plain"), (415, 422)),
    "not JSON": (lambda lane: lane.request(body=b"nonsense"), (400, 422)),
    "broken UTF-8": (lambda lane: lane.request(body=lane.body.replace(b'"x"', b'"\xff"')), (400, 422)),
    "10,000 levels": (
        lambda lane: lane.request(body=lane.body.replace(b'"x"', b"[" * 10_000 + b"]" * 10_000)),
        (400, 422),
    ),
    "pretty-printed": (
        lambda lane: lane.request(body=json.dumps(json.loads(lane.body), indent=4).encode()),
        200,
    ),
}


@pytest.mark.parametrize("name", ["fast", "ordinary"])
async def test_the_table(tmp_path, name):
    record = tmp_path / "record"
    async with service(tmp_path, "--record", str(record)) as stack:
        lane = Lane(stack, name, (await stack.session()).headers["Mcp-Session-Id"])
        wrong = {}
        for case, (make, expected) in TABLE.items():
            before = calls(record)
            answer = await stack.raw(make(lane))
            allowed = (expected,) if isinstance(expected, int) else expected
            final = [status for status in statuses(answer) if status != 100]
            reached = calls(record) - before
            if len(final) != 1 or final[0] not in allowed or reached != (final[0] == 200):
                wrong[case] = (allowed, statuses(answer), reached, answer[-200:])
        assert not wrong


def calls(record) -> int:
    """How many calls the child has seen; each line is one whole message."""
    if not record.exists():
        return 0
    messages = [json.loads(line) for line in record.read_bytes().splitlines()]
    return sum(message.get("method") == "tools/call" for message in messages)


@pytest.mark.parametrize(
    "path",
    [
        b"/mcp/",
        b"//mcp",
        b"/%6dcp",
        b"/MCP",
        b"/mcp/x",
        b"/./mcp",
        b"/mcp%2f",
        b"/servers/old/mcp/",
        b"/servers//mcp",
        b"/toolsets/all/mcp/",
        b"/toolsets//mcp",
        b"/toolsets/a/b/mcp",
        b"/toolsets/ALL/mcp",
        b"/toolsets/%61ll/mcp",
    ],
)
async def test_another_spelling_of_the_path_is_another_path(tmp_path, path):
    async with service(tmp_path) as stack:
        lane = Lane(stack, "fast", (await stack.session()).headers["Mcp-Session-Id"])
        assert statuses(await stack.raw(lane.request(path=path, without=(b"Authorization",)))) == [401]
        assert statuses(await stack.raw(lane.request(path=path)))[0] in (404, 405)


async def test_a_query_does_not_open_or_close_anything(tmp_path):
    async with service(tmp_path) as stack:
        lane = Lane(stack, "fast", (await stack.session()).headers["Mcp-Session-Id"])
        assert statuses(await stack.raw(lane.request(path=b"/mcp?x=/health"))) == [200]
        refused = lane.request(path=b"/mcp?x=/health", without=(b"Authorization",))
        assert statuses(await stack.raw(refused)) == [401]
        for path in (b"/servers/nobody/mcp", b"/toolsets/nobody/mcp"):
            assert statuses(await stack.raw(lane.request(path=path))) == [404]
            assert statuses(await stack.raw(lane.request(path=path, without=(b"Authorization",)))) == [401]


async def test_a_known_head_is_still_looked_at(tmp_path):
    """The second request of a head skips the parser; what can change in between must not be skipped."""
    async with service(tmp_path) as stack:
        session = await stack.session()
        token = await stack.key("guest")
        guest = await stack.session(token=token)
        for _ in range(3):
            assert await guest.text("old__echo", text="x") == "x"
        assert len(stack.system.gateway.known_heads) > 0
        await stack.remove("guest")
        assert (await guest.post(guest.message("ping"))).status_code == 401
        for _ in range(3):
            assert await session.text("old__echo", text="x") == "x"
        await stack.http.delete(session.url, headers=session.headers)
        assert (await session.post(session.message("ping"))).status_code == 404


async def test_pipelined_answers_come_in_order_over_both_lanes(tmp_path):
    async with service(tmp_path) as stack:
        lane = Lane(stack, "fast", (await stack.session()).headers["Mcp-Session-Id"])
        health = b"GET /health HTTP/1.1\r\nHost: %b\r\n\r\n" % lane.headers[b"Host"]
        sent, expected = b"", []
        for number in range(24):
            if number % 5 == 4:
                sent += health
                expected.append(b'"status"')
                continue
            slow = number % 3 == 0
            arguments = {"seconds": 0.1} if slow else {"text": f"text-{number}"}
            params = {"name": "old__sleep" if slow else "old__echo", "arguments": arguments}
            body = json.dumps(CALL | {"id": f"id-{number}", "params": params}).encode()
            sent += lane.request(body=body, Connection=b"keep-alive")
            expected.append(f'"id":"id-{number}"'.encode())
        sent += lane.request(body=json.dumps(CALL | {"id": "last"}).encode())
        answer = await stack.raw(sent)
        places = [answer.find(mark, 0) for mark in expected if mark != b'"status"']
        assert places == sorted(places)
        assert -1 not in places
        assert statuses(answer) == [200] * 25
        kinds = re.findall(rb'"status":"|"id":"[a-z0-9-]+"', answer)
        assert [kind == b'"status":"' for kind in kinds] == [mark == b'"status"' for mark in expected] + [
            False
        ]


async def test_pipelining_is_bounded(tmp_path):
    async with service(tmp_path) as stack:
        lane = Lane(stack, "fast", (await stack.session()).headers["Mcp-Session-Id"])
        params = {"name": "old__sleep", "arguments": {"seconds": 0.3}}
        one = lane.request(body=json.dumps(CALL | {"params": params}).encode(), Connection=b"keep-alive")
        answer = await stack.raw(one * 200)
        assert statuses(answer) == [200] * 64 + [503]


async def test_bytes_that_come_one_by_one(tmp_path):
    async with service(tmp_path) as stack:
        lane = Lane(stack, "fast", (await stack.session()).headers["Mcp-Session-Id"])
        reader, writer = await asyncio.open_connection("127.0.0.1", stack.port)
        for byte in lane.request():
            writer.write(bytes([byte]))
            await asyncio.sleep(0)
        assert statuses(await asyncio.wait_for(reader.read(), 20)) == [200]
        writer.close()
        await writer.wait_closed()


async def test_two_requests_in_every_split(tmp_path):
    async with service(tmp_path) as stack:
        lane = Lane(stack, "fast", (await stack.session()).headers["Mcp-Session-Id"])
        first = lane.request(Connection=b"keep-alive")
        both = first + lane.request()
        for cut in {1, len(first) // 2, len(first) - 1, len(first), len(first) + 1, len(both) - 1}:
            reader, writer = await asyncio.open_connection("127.0.0.1", stack.port)
            writer.write(both[:cut])
            await writer.drain()
            await asyncio.sleep(0.02)
            writer.write(both[cut:])
            assert statuses(await asyncio.wait_for(reader.read(), 20)) == [200, 200]
            writer.close()
            await writer.wait_closed()


async def test_a_half_closed_client_gets_its_answer(tmp_path):
    async with service(tmp_path) as stack:
        session = (await stack.session()).headers["Mcp-Session-Id"]
        for name in ("fast", "ordinary"):
            lane = Lane(stack, name, session)
            assert statuses(await stack.raw(lane.request(), half_close=True)) == [200]


async def test_a_client_that_vanishes_leaves_nothing(tmp_path):
    async with service(tmp_path) as stack:
        lane = Lane(stack, "fast", (await stack.session()).headers["Mcp-Session-Id"])
        params = {"name": "old__sleep", "arguments": {"seconds": 0.3}}
        for data in (
            lane.request(body=json.dumps(CALL | {"params": params}).encode()),
            lane.request()[:40],
            lane.request()[:-5],
            b"",
        ):
            _, writer = await asyncio.open_connection("127.0.0.1", stack.port)
            writer.write(data)
            await writer.drain()
            writer.transport.abort()
        gateway = stack.system.gateway
        await until(lambda: gateway.in_flight == 0 and gateway.metrics.connections <= 1)
        assert statuses(await stack.raw(lane.request())) == [200]


@pytest.mark.parametrize("name", ["fast", "ordinary"])
async def test_slow_heads_and_bodies_are_cut(tmp_path, name):
    edge = {"header_timeout": 1.0, "body_timeout": 1.0, "keep_alive_timeout": 1.0}
    async with service(tmp_path, edge=edge) as stack:
        lane = Lane(stack, name, (await stack.session()).headers["Mcp-Session-Id"])
        whole = lane.request()
        for part in (whole[:30], whole[:-3]):
            reader, writer = await asyncio.open_connection("127.0.0.1", stack.port)
            writer.write(part[:-10])
            trickle = asyncio.create_task(drip(writer, part[-10:]))
            assert statuses(await asyncio.wait_for(reader.read(), 20)) == [408]
            trickle.cancel()
            writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", stack.port)
        assert await asyncio.wait_for(reader.read(), 20) == b"", "a silent connection is closed"
        writer.close()


async def drip(writer, data: bytes) -> None:
    for byte in data:
        writer.write(bytes([byte]))
        await asyncio.sleep(0.3)


async def test_expect_is_answered_before_the_body_is_sent(tmp_path):
    async with service(tmp_path) as stack:
        session = (await stack.session()).headers["Mcp-Session-Id"]
        for name in ("fast", "ordinary"):
            lane = Lane(stack, name, session)
            whole = lane.request(Expect=b"100-continue")
            head, body = whole.split(b"\r\n\r\n", 1)
            reader, writer = await asyncio.open_connection("127.0.0.1", stack.port)
            writer.write(head + b"\r\n\r\n")
            assert (
                await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20) == b"HTTP/1.1 100 Continue\r\n\r\n"
            )
            writer.write(body)
            assert statuses(await asyncio.wait_for(reader.read(), 20)) == [200]
            writer.close()
            refused = lane.request(Expect=b"100-continue", without=(b"Authorization",)).split(b"\r\n\r\n")[0]
            assert statuses(await stack.raw(refused + b"\r\n\r\n")) == [401]


@pytest.mark.parametrize(
    "text",
    [
        '{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":"exit","arguments":{"code":1}}}',
        '\n{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":"exit","arguments":{}}}\n',
    ],
)
async def test_a_message_inside_a_message_stays_inside(tmp_path, text):
    """Line breaks between tokens must not become the end of a message on the child's stdin."""
    record = tmp_path / "record"
    async with service(tmp_path, "--record", str(record)) as stack:
        lane = Lane(stack, "fast", (await stack.session()).headers["Mcp-Session-Id"])
        before = calls(record)
        arguments = {"text": text, "also": [json.loads(text)]}
        call = CALL | {"params": {"name": "old__echo", "arguments": arguments}}
        body = json.dumps(call, indent=0).replace("\n", "\r\n").encode()
        answer = await stack.raw(lane.request(body=body))
        content = json.loads(answer.split(b"\r\n\r\n", 1)[1])["result"]["content"]
        assert content[0]["text"] == text
        assert calls(record) == before + 1
        raw_break = body.replace(b'\\"jsonrpc\\"', b'\n\\"jsonrpc\\"')
        assert statuses(await stack.raw(lane.request(body=raw_break))) == [400], "a break inside a string"
        assert calls(record) == before + 1


async def test_duplicate_members_that_route_are_refused(tmp_path):
    record = tmp_path / "record"
    async with service(tmp_path, "--record", str(record)) as stack:
        lane = Lane(stack, "fast", (await stack.session()).headers["Mcp-Session-Id"])
        before = calls(record)
        for body in (
            b'{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call","params":{"name":"old__echo"}}',
            b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","name":"old__echo","arguments":{}}}',
            b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"},"params":{"name":"old__echo"}}',
        ):
            assert statuses(await stack.raw(lane.request(body=body))) == [400]
        assert calls(record) == before


async def test_a_slow_reader_is_cut_off_and_the_others_go_on(tmp_path):
    async with service(tmp_path) as stack:
        session = await stack.session()
        lane = Lane(stack, "fast", session.headers["Mcp-Session-Id"])
        params = {"name": "old__big", "arguments": {"bytes": 1_000_000}}
        one = lane.request(body=json.dumps(CALL | {"params": params}).encode(), Connection=b"keep-alive")
        _, writer = await asyncio.open_connection("127.0.0.1", stack.port, limit=1024)
        writer.transport.pause_reading()
        writer.write(one * 32)
        await writer.drain()
        for number in range(50):
            assert await session.text("old__echo", text=str(number)) == str(number)
        writer.transport.abort()
        await until(lambda: stack.system.gateway.in_flight == 0)


async def test_stopping_finishes_what_is_in_flight_and_ends_streams(tmp_path):
    async with httpx.AsyncClient(timeout=60) as http:
        async with service(tmp_path) as stack:
            session = await stack.session()
            message = session.message("tools/call", {"name": "old__sleep", "arguments": {"seconds": 0.5}})
            stream = asyncio.create_task(http.get(session.url, headers=session.headers))
            call = asyncio.create_task(http.post(session.url, headers=session.headers, json=message))
            gateway = stack.system.gateway
            await until(lambda: gateway.in_flight == 1 and gateway.metrics.streams == 1)
        assert "result" in (await call).json()
        assert (await stream).status_code == 200


async def test_what_stands_before_a_request_teaches_nothing(tmp_path):
    """A parser skips empty lines before a request. Bytes that are no head must never become a known one."""
    record = tmp_path / "record"
    async with service(tmp_path, "--record", str(record)) as stack:
        lane = Lane(stack, "fast", (await stack.session()).headers["Mcp-Session-Id"])
        good = lane.request(Connection=b"keep-alive")
        for before in (b"\r\n\r\n", b"\r\n", b"\n", b"\r\n\r\n\r\n\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", stack.port)
            writer.write(before + good)
            await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
            writer.close()
        assert all(head.startswith(b"POST ") for head in stack.system.gateway.known_heads)
        seen = calls(record)
        for forged in (b"\r\n\r\n", b"\r\n"):
            answer = await stack.raw(forged + lane.body, half_close=True)
            assert statuses(answer) == [400]
        assert calls(record) == seen


@pytest.mark.parametrize("extra", [b'{"a":{\n"b":1}}', b'{"a":[1,\r\n2],"traceparent":"x"}'])
async def test_a_line_break_in_the_metadata_stays_inside_its_message(tmp_path, extra):
    record = tmp_path / "record"
    async with service(tmp_path, "--record", str(record)) as stack:
        lane = Lane(stack, "fast", (await stack.session()).headers["Mcp-Session-Id"])
        before = calls(record)
        for body in (
            lane.body[:-2] + b',"_meta":' + extra + b"}}",
            b'{"jsonrpc":"2.0","id":8,"method":"prompts/get","params":{"name":"old__greet","_meta":%b}}'
            % extra,
        ):
            answer = await stack.raw(lane.request(body=body))
            assert b'"result"' in answer
        assert calls(record) == before + 1
        assert stack.system.gateway.in_flight == 0


@pytest.mark.parametrize("name", ["fast", "ordinary"])
async def test_endless_trailers_are_cut(tmp_path, name):
    async with service(tmp_path) as stack:
        lane = Lane(stack, name, (await stack.session()).headers["Mcp-Session-Id"])
        head = lane.request(body=b"", length=False, Transfer_Encoding=b"chunked")
        trailers = b"".join(b"X-%d: %b\r\n" % (n, b"x" * 1000) for n in range(200))
        with contextlib.suppress(ConnectionError):
            answer = await stack.raw(head + b"2\r\n{}\r\n0\r\n" + trailers + b"\r\n")
            assert statuses(answer) == ([431] if name == "fast" else [])
        assert (await stack.rest("GET", "/health")).status_code == 200


async def test_numbers_beyond_bounds_are_the_callers_fault(tmp_path):
    async with service(tmp_path) as stack:
        lane = Lane(stack, "fast", (await stack.session()).headers["Mcp-Session-Id"])
        body = b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":1e999}}'
        assert b"-32602" in await stack.raw(lane.request(body=body))


async def test_answers_that_nobody_reads_do_not_pile_up(tmp_path):
    async with service(tmp_path) as stack:
        lane = Lane(stack, "fast", (await stack.session()).headers["Mcp-Session-Id"])
        params = {"name": "old__big", "arguments": {"bytes": 200_000}}
        one = lane.request(body=json.dumps(CALL | {"params": params}).encode(), Connection=b"keep-alive")
        _, writer = await asyncio.open_connection("127.0.0.1", stack.port, limit=1024)
        writer.transport.pause_reading()
        pool = stack.system.fleet.server
        for _ in range(40):
            for _ in range(20):
                writer.write(one)
            await asyncio.sleep(0.01)
        await until(lambda: stack.system.gateway.in_flight == 0)
        served = pool("old").instances[0].calls_total
        assert served < 400, "it goes on to work for a client that does not read"
        writer.transport.abort()


async def test_the_streams_of_a_revoked_token_end(tmp_path):
    async with service(tmp_path) as stack:
        token = await stack.key("guest")
        guest = await stack.session(token=token)
        async with httpx.AsyncClient(timeout=60) as http:
            stream = asyncio.create_task(http.get(guest.url, headers=guest.headers))
            await until(lambda: stack.system.gateway.metrics.streams == 1)
            await stack.remove("guest")
            assert (await stream).status_code == 200, "ended, not cut"
        assert stack.system.gateway.metrics.streams == 0


async def test_an_offer_to_upgrade_is_declined_and_the_request_answered(tmp_path):
    async with service(tmp_path) as stack:
        lane = Lane(stack, "fast", (await stack.session()).headers["Mcp-Session-Id"])
        offer = {"Upgrade": b"h2c", "HTTP2_Settings": b"AAMAAABkAAQCAAAAAAIAAAAA"}
        whole = lane.request(Connection=b"Upgrade, HTTP2-Settings", **offer)
        for cut in (len(whole), len(whole) - 5, whole.index(b"\r\n\r\n") + 4):
            reader, writer = await asyncio.open_connection("127.0.0.1", stack.port)
            writer.write(whole[:cut])
            await writer.drain()
            await asyncio.sleep(0.02)
            writer.write(whole[cut:] + lane.request())
            assert statuses(await asyncio.wait_for(reader.read(), 20)) == [200, 200]
            writer.close()


async def test_an_absolute_target_is_its_path_if_it_names_its_host(tmp_path):
    async with service(tmp_path) as stack:
        session = (await stack.session()).headers["Mcp-Session-Id"]
        for name in ("fast", "ordinary"):
            lane = Lane(stack, name, session)
            here = b"http://" + lane.headers[b"Host"]
            assert statuses(await stack.raw(lane.request(path=here + lane.path))) == [200]
            assert statuses(await stack.raw(lane.request(path=b"http://evil" + lane.path))) == [400]
            assert statuses(await stack.raw(lane.request(path=b"http://evil"))) == [400]


async def test_a_known_head_whose_body_comes_apart(tmp_path):
    """What most clients do: the head in one segment, the body in the next."""
    async with service(tmp_path) as stack:
        lane = Lane(stack, "fast", (await stack.session()).headers["Mcp-Session-Id"])
        whole = lane.request(Connection=b"keep-alive")
        head = whole[: whole.index(b"\r\n\r\n") + 4]
        reader, writer = await asyncio.open_connection("127.0.0.1", stack.port)
        for cut in (len(whole), len(head), len(head) + 1, len(head), len(whole) - 1):
            writer.write(whole[:cut])
            await writer.drain()
            await asyncio.sleep(0.02)
            writer.write(whole[cut:])
            answer = await asyncio.wait_for(reader.readuntil(b"}}"), 20)
            assert statuses(answer) == [200]
        writer.write(head)
        await writer.drain()
        writer.close()
        await until(lambda: stack.system.gateway.in_flight == 0)


async def test_every_answer_carries_the_headers_that_browsers_need(tmp_path):
    origin = "https://app.example"
    policy = LIMITS | {"networkPolicies": {"allowedOrigins": [origin]}}
    async with running(tmp_path, {"old": light()}, security=policy) as stack:
        session = await stack.session()
        headers = session.headers | {"Origin": origin}
        note = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        answers = [
            await stack.http.post(session.url, headers=headers, json=note),
            await stack.http.post(session.url, headers=headers, json=session.message("ping")),
            await stack.http.post(session.url, headers=headers | {"Accept": "text/html"}, json=note),
            await stack.http.put(session.url, headers=headers),
            await stack.http.delete(session.url, headers=headers),
        ]
        assert [answer.status_code for answer in answers] == [202, 200, 406, 405, 204]
        for answer in answers:
            assert answer.headers["access-control-allow-origin"] == origin
            assert answer.headers["x-content-type-options"] == "nosniff"
        preflight = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        assert (await stack.http.options(session.url, headers=preflight)).status_code == 204


async def test_a_denied_peer_gains_nothing_from_known_heads(tmp_path):
    async with service(tmp_path) as stack:
        session = await stack.session()
        lane = Lane(stack, "fast", session.headers["Mcp-Session-Id"])
        for _ in range(2):
            assert statuses(await stack.raw(lane.request(Connection=b"keep-alive") + lane.request())) == [
                200,
                200,
            ]
        reader, writer = await asyncio.open_connection("127.0.0.1", stack.port)
        writer.write(lane.request(Connection=b"keep-alive"))
        await asyncio.wait_for(reader.readuntil(b"}}"), 20)
        gateway = stack.system.gateway
        known = dict(gateway.known_heads)
        gateway.set_policy(dataclasses.replace(gateway.policy, denied=(ip_network("127.0.0.0/8"),)))
        gateway.known_heads.update(known)
        writer.write(lane.request(Connection=b"keep-alive"))
        assert statuses(await asyncio.wait_for(reader.read(), 20)) == [403]
        writer.close()
