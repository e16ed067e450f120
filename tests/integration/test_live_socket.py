"""What clients can do to a WebSocket beside using it: frames of every wrong kind, floods, and not reading.

Over raw sockets, since well-behaved clients cannot do most of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import socket
import struct
from collections.abc import AsyncIterator

import psutil
import pytest
from websockets.exceptions import ConnectionClosed

from fairlead.model.access import Role
from fairlead.web import live_conversation, live_socket
from fairlead.web.live import LiveLimits
from support.live_service import LiveService, ask, live_service, scaled, told

TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 0x1, 0x2, 0x0, 0x8, 0x9, 0xA


@pytest.fixture
async def service():
    async with live_service() as running:
        yield running


def frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, masked: bool = True, reserved: int = 0
) -> bytes:
    head = bytes([(0x80 if fin else 0) | reserved | opcode])
    mark = 0x80 if masked else 0
    size = len(payload)
    if size < 126:
        head += bytes([mark | size])
    elif size < 2**16:
        head += bytes([mark | 126]) + struct.pack("!H", size)
    else:
        head += bytes([mark | 127]) + struct.pack("!Q", size)
    return head + (b"\0\0\0\0" if masked else b"") + payload  # a mask of zeros changes nothing


class Raw:
    """One connection whose frames are written by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def frame(self) -> tuple[int, bytes]:
        async with asyncio.timeout(20):
            first, size = await self.reader.readexactly(2)
            if size == 126:
                (size,) = struct.unpack("!H", await self.reader.readexactly(2))
            elif size == 127:
                (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
            return first & 0x0F, await self.reader.readexactly(size)

    async def message(self):
        opcode, payload = await self.frame()
        assert opcode == TEXT, (opcode, payload)
        return json.loads(payload)

    async def closed(self) -> tuple[int, str]:
        """The code and reason with which the service closes; messages before it are passed over."""
        while True:
            opcode, payload = await self.frame()
            if opcode == CLOSE:
                return struct.unpack("!H", payload[:2])[0], payload[2:].decode()

    async def end(self) -> None:
        """Until the connection has ended, by either kind of end."""
        async with asyncio.timeout(20):
            with contextlib.suppress(ConnectionError):
                while await self.reader.read(65536):
                    pass


@contextlib.asynccontextmanager
async def raw(
    service: LiveService, role: Role = Role.ADMIN, *, receive_buffer: int = 0
) -> AsyncIterator[Raw]:
    sock = socket.socket()
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", service.port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=4096 if receive_buffer else 2**16)
    writer.write("\r\n".join([*service.handshake(role=role), "", ""]).encode())
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
    try:
        yield Raw(reader, writer)
    finally:
        writer.transport.abort()


async def until(condition, guard: float = 30.0) -> None:
    async with asyncio.timeout(guard):
        while not condition():
            await asyncio.sleep(0.01)


async def still_serves(service: LiveService) -> None:
    async with service.connect() as client:
        await told(client)
        assert (await ask(client, type="ping", id="p"))["type"] == "pong"


# == frames =============================================================================================


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(TEXT, b"{}", masked=False), 1002),
        (frame(TEXT, b"{}", reserved=0x40), 1002),  # compressed, which was not agreed on
        (frame(0x3, b"{}"), 1002),
        (frame(0xB), 1002),
        (frame(CONTINUATION, b"x"), 1002),
        (frame(TEXT, b"x", fin=False) + frame(TEXT, b"x"), 1002),
        (frame(PING, b"x" * 126), 1002),
        (frame(PING, b"x", fin=False), 1002),
        (frame(CLOSE, b"x"), 1002),
        (frame(CLOSE, struct.pack("!H", 999)), 1002),
        (frame(TEXT, b"\xff\xfe"), 1007),
        (frame(TEXT, b"\xc3", fin=False) + frame(CONTINUATION, b"("), 1007),
        (frame(BINARY, b"{}"), 1003),
        (frame(TEXT, b"x" * (live_socket.MAX_MESSAGE + 1)), 1009),
        (
            frame(TEXT)[:1] + b"\xff" + struct.pack("!Q", 2**62) + b"\0\0\0\0",
            1009,
        ),  # says so, and sends nothing
        (frame(TEXT, b"x" * 40_000, fin=False) + frame(CONTINUATION, b"x" * 40_000), 1009),
    ],
)
async def test_a_bad_frame_closes_its_connection_with_the_code_for_it(
    service, data: bytes, code: int
) -> None:
    async with raw(service) as client:
        await client.message()
        client.writer.write(data)
        assert (await client.closed())[0] == code
        await client.end()
    await until(lambda: service.live.readers == 0)
    await still_serves(service)


async def test_a_message_may_come_in_pieces_of_one_byte(service) -> None:
    text = json.dumps({"type": "ping", "id": "ä"}, ensure_ascii=False).encode()
    async with raw(service) as client:
        await client.message()
        parts = [frame(CONTINUATION if n else TEXT, text[n : n + 1], fin=False) for n in range(len(text))]
        for part in [*parts, frame(PING, b"between"), frame(CONTINUATION)]:
            client.writer.write(part)
            await client.writer.drain()
        assert await client.frame() == (PONG, b"between")
        assert (await client.message())["id"] == "ä"


async def test_a_message_of_the_greatest_size_is_taken(service) -> None:
    async with raw(service) as client:
        await client.message()
        text = b'{"type":"ping","id":"p"' + b" " * live_socket.MAX_MESSAGE
        client.writer.write(frame(TEXT, text[: live_socket.MAX_MESSAGE - 1] + b"}"))
        assert (await client.message())["type"] == "pong"


async def test_empty_fragments_without_an_end_are_cut_short(service) -> None:
    async with raw(service) as client:
        await client.message()
        client.writer.write(frame(TEXT, fin=False) + frame(CONTINUATION, fin=False) * 5000)
        assert (await client.closed())[0] == 1009
        await client.end()


async def test_compression_is_not_agreed_on(service) -> None:
    async with service.connect(compression="deflate") as client:
        assert client.protocol.extensions == []
        assert (await told(client))["type"] == "welcome"


async def test_a_close_is_answered_and_the_connection_ends(service) -> None:
    async with raw(service) as client:
        await client.message()
        client.writer.write(frame(CLOSE, struct.pack("!H", 1000) + b"bye"))
        assert await client.closed() == (1000, "bye")
        await client.end()
    await until(lambda: service.live.readers == 0)


async def test_a_client_that_vanishes_leaves_its_seat(service) -> None:
    async with raw(service) as client:
        await client.message()
        client.writer.write(frame(TEXT, json.dumps({"type": "subscribe", "id": "s"}).encode()))
        await client.message()
        client.writer.transport.abort()
        await until(lambda: service.live.readers == 0)
        assert "followers=0" in repr(service.feed)


# == floods =============================================================================================


async def test_a_burst_of_tiny_messages_is_cut_short_and_holds_up_nobody(service) -> None:
    async with raw(service) as client, service.connect() as other:
        await client.message(), await told(other)
        client.writer.write(frame(TEXT, b"1") * 50_000)
        assert (await ask(other, type="ping", id="p"))["type"] == "pong"
        code, reason = await client.closed()
        assert code == 1008
        assert reason.startswith("too many messages")
    await until(lambda: service.live.readers == 0)


async def test_thousands_of_subscriptions_end_at_the_bound_and_then_the_connection(service) -> None:
    async with service.connect() as client:
        await told(client)
        for number in range(live_conversation.MAX_SUBSCRIPTIONS):
            assert (await ask(client, type="subscribe", id=f"s{number}"))["type"] == "result"
        assert (await ask(client, type="subscribe", id="more"))["problem"]["type"].endswith(
            "too-many-subscriptions"
        )
        with contextlib.suppress(ConnectionClosed):
            for number in range(5000):
                await ask(client, type="subscribe", id=f"m{number}")
        assert client.close_code == 1008
    await until(lambda: service.live.readers == 0)
    assert "followers=0" in repr(service.feed)


async def test_a_thousand_pings_are_answered(service) -> None:
    async with raw(service) as client:
        await client.message()
        client.writer.write(frame(PING, b"x" * 125) * 1000)
        for _ in range(1000):
            assert await client.frame() == (PONG, b"x" * 125)


async def test_pings_whose_answers_nobody_reads_end_the_connection(service, monkeypatch) -> None:
    monkeypatch.setattr(live_socket, "MAX_UNREAD", 200_000)
    async with raw(service, receive_buffer=4096) as client:
        client.reader._transport.pause_reading()  # type: ignore[attr-defined]
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(20):
                while service.live.readers:
                    client.writer.write(frame(PING, b"x" * 125) * 1000)
                    await client.writer.drain()
    await until(lambda: service.live.readers == 0)


# == clients that do not read ===========================================================================


async def test_a_client_that_does_not_read_is_sent_away_and_costs_no_memory(monkeypatch) -> None:
    """10,000 events of 10 kB: 100 MB, of which next to nothing may stay with us."""
    monkeypatch.setattr(live_conversation, "PATIENCE", 1.0)
    monkeypatch.setattr(live_socket, "LINGER", 1.0)
    async with (
        live_service(limits=LiveLimits(queue=100)) as service,
        raw(service, receive_buffer=4096) as client,
        service.connect() as other,
    ):
        await client.message(), await told(other)
        client.writer.write(frame(TEXT, json.dumps({"type": "subscribe", "id": "s"}).encode()))
        await client.message()
        await ask(other, type="subscribe", id="o", types=["config-changed"])
        client.reader._transport.pause_reading()  # type: ignore[attr-defined]
        before = psutil.Process().memory_info().rss
        for number in range(1000):
            service.log.kept.clear()  # what the test itself keeps is not the question
            await service.happen(*[scaled(number, size=1000) for _ in range(10)])
            service.feed._ring.clear()
            if number % 100 == 0:
                await asyncio.sleep(0.01)
        assert psutil.Process().memory_info().rss - before < 30_000_000
        await until(lambda: service.live.readers == 1)
        await until(lambda: len(service.server.server_state.connections) == 1)  # cut off, not only forgotten
        assert (await ask(other, type="ping", id="p"))["type"] == "pong"


async def test_a_client_that_reads_too_slowly_learns_where_to_resume(monkeypatch) -> None:
    async with live_service(limits=LiveLimits(queue=50)) as service:
        async with raw(service, receive_buffer=4096) as client:
            await client.message()
            client.writer.write(frame(TEXT, json.dumps({"type": "subscribe", "id": "s"}).encode()))
            await client.message()
            client.reader._transport.pause_reading()  # type: ignore[attr-defined]
            for number in range(400):
                await service.happen(scaled(number, size=20_000))
            client.reader._transport.resume_reading()  # type: ignore[attr-defined]
            seen = []
            while (message := await client.message())["type"] == "event":
                seen.append(int(message["event"]["sequence"]))
            assert seen == list(range(1, len(seen) + 1))
            assert message == {
                "type": "slow",
                "resumeFrom": len(seen),
                "subscriptions": {"s": len(seen)},
            }
            assert await client.closed() == (4008, f"slow; resume from {len(seen)}")
        assert len(seen) < 400
        async with service.connect() as again:
            await told(again)
            await ask(again, type="subscribe", id="s", since=message["resumeFrom"])
            rest = [int((await told(again))["event"]["sequence"]) for _ in range(400 - len(seen))]
            assert seen + rest == list(range(1, 401))


async def test_a_client_that_answers_no_ping_is_cut_off(monkeypatch) -> None:
    monkeypatch.setitem(live_socket.UVICORN, "ws_ping_interval", 0.1)
    monkeypatch.setitem(live_socket.UVICORN, "ws_ping_timeout", 0.2)
    async with live_service() as service, raw(service) as client:
        await client.message()
        assert (await client.frame())[0] == PING
        await until(lambda: service.live.readers == 0)
        await client.end()


# == the end of the service =============================================================================


async def test_when_the_service_stops_everybody_learns_where_to_resume() -> None:
    async with live_service() as service, service.connect() as client:
        await told(client)
        await ask(client, type="subscribe", id="all", since=0)
        answer = await ask(client, type="subscribe", id="none", types=["config-changed"])
        assert answer == {"type": "result", "id": "none", "sequence": 0, "result": None}
        await service.happen(scaled(1), scaled(2))
        assert [(await told(client))["type"] for _ in range(2)] == ["event", "event"]
        service.live.close()
        service.server.should_exit = True
        assert await told(client) == {
            "type": "goodbye",
            "reason": "stopping",
            "resumeFrom": 2,
            "subscriptions": {"all": 2, "none": 2},
        }
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert (client.close_code, client.close_reason) == (1001, "stopping; resume from 2")


async def test_a_client_that_does_not_read_does_not_hold_up_the_end() -> None:
    loop = asyncio.get_running_loop()
    async with live_service() as service, raw(service, receive_buffer=4096) as client:
        await client.message()
        client.writer.write(frame(TEXT, json.dumps({"type": "subscribe", "id": "s"}).encode()))
        await client.message()
        client.reader._transport.pause_reading()  # type: ignore[attr-defined]
        for number in range(100):
            await service.happen(scaled(number, size=50_000))
        started = loop.time()
        service.live.close()
        service.server.should_exit = True
        await until(lambda: not service.server.server_state.connections)
        assert loop.time() - started < 4.0


async def test_many_idle_readers_are_cheap() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = 400 if hard > 2000 else 100
    if soft < 4 * count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8 * count), hard))
    async with live_service(limits=LiveLimits(max_connections=4 * count)) as service:
        async with contextlib.AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(raw(service)) for _ in range(count)]
            for client in clients:
                await client.message()
                client.writer.write(frame(TEXT, json.dumps({"type": "subscribe", "id": "s"}).encode()))
            for client in clients:
                assert (await client.message())["type"] == "result"
            await service.happen(scaled(1))
            for client in clients:
                assert (await client.message())["type"] == "event"
            assert service.live.readers == count
        await until(lambda: service.live.readers == 0)
