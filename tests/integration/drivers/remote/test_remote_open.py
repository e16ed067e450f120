"""What `open` says of servers that cannot be reached, and the legacy SSE transport's own ways to go wrong."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import socket
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fairlead.drivers import legacy_sse
from fairlead.model.errors import Fault, ProblemError
from support.raw_http import HangUp, RawServer, begin_stream, chunk, respond
from support.recorder import call, notify, request


async def problem_of(remote, url, **launch):
    with pytest.raises(ProblemError) as caught:
        await remote.open(url, **launch)
    assert repr(remote.driver) == "RemoteDriver(0 links)"
    assert caught.value.problem.fault is Fault.UPSTREAM
    return caught.value.problem


@pytest.fixture
def certificate(tmp_path):
    """A self-signed certificate for 127.0.0.1, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "certificate.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return path


def server_context(certificate):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


async def answering(got, writer):
    if got.method == "POST":
        respond(writer, 200, b'{"jsonrpc":"2.0","id":1,"result":{"connection":%d}}' % got.connection)
    else:
        respond(writer, 405)


async def test_refused(remote):
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    problem = await problem_of(remote, f"http://127.0.0.1:{port}/mcp?key=hidden")
    assert problem.code == "connection-refused"
    assert f"http://127.0.0.1:{port}/mcp: connection refused" in problem.detail
    assert "hidden" not in problem.detail
    assert problem.status == 502


async def test_unknown_host(remote):
    problem = await problem_of(remote, "http://no-such-host.invalid/mcp")
    assert problem.code == "unknown-host"
    assert "'no-such-host.invalid' cannot be resolved" in problem.detail


async def test_localhost_is_found_where_only_one_of_its_addresses_listens(remote):
    async with RawServer(answering) as server:
        link, recorder = await remote.open(server.url.replace("127.0.0.1", "localhost"))
        request(link, 1, "ping")
        await recorder.answered(1)


async def test_a_tls_server_that_says_nothing_is_a_timeout(remote):
    async def mute(reader, writer):
        await reader.read()
        writer.close()

    server = await asyncio.start_server(mute, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        problem = await problem_of(remote, f"https://127.0.0.1:{port}/mcp", connect_timeout=0.2)
    assert problem.code == "connect-timeout"
    assert problem.status == 504
    assert "no connection within 0.2 s" in problem.detail


async def test_tls_with_an_authority_of_ones_own(remote, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with RawServer(answering, tls=server_context(certificate)) as server:
        link, recorder = await remote.open(server.url)
        for _ in range(3):
            request(link, 1, "ping")
            await recorder.until(lambda: recorder.frames)
            assert recorder.messages == [{"jsonrpc": "2.0", "id": 1, "result": {"connection": 1}}]
            recorder.events.clear()
        await link.close()
        await server.until(lambda: server.open_connections == 0)


async def test_tls_with_a_certificate_that_nobody_trusts(remote, certificate, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    async with RawServer(answering, tls=server_context(certificate)) as server:
        problem = await problem_of(remote, server.url)
    assert problem.code == "tls-failed"
    assert "its certificate was refused: self-signed certificate" in problem.detail
    assert "SSL_CERT_FILE" in problem.detail


async def test_tls_to_another_name_than_the_certificate_has(remote, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with RawServer(answering, tls=server_context(certificate)) as server:
        problem = await problem_of(remote, server.url.replace("127.0.0.1", "localhost"))
    assert problem.code == "tls-failed"
    assert "Hostname mismatch" in problem.detail


async def test_https_to_a_server_that_speaks_http(remote):
    async def plain(reader, writer):
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        problem = await problem_of(remote, f"https://127.0.0.1:{port}/mcp")
    assert problem.code == "tls-failed"
    assert "write http:// in `url`" in problem.detail


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://host/mcp", "its scheme is 'ftp', not http or https"),
        ("file:///etc/passwd", "its scheme is 'file'"),
        ("host/mcp", "its scheme is 'missing'"),
        ("http:///mcp", "names no host"),
        ("http://u:pw@host/mcp", "holds credentials"),
        ("http://host:99999/", "cannot be taken apart"),
        ("http://[::1/", "cannot be taken apart"),
    ],
)
async def test_a_url_that_cannot_be_used(remote, url, why):
    problem = await problem_of(remote, url)
    assert problem.code == "invalid-url"
    assert why in problem.detail
    assert "pw" not in problem.detail


async def test_a_header_that_cannot_be_sent(remote):
    problem = await problem_of(remote, "http://127.0.0.1:1/mcp", headers={"X-Key": "s3cr3t\r\nX-Other: 1"})
    assert problem.code == "invalid-header"
    assert "'X-Key'" in problem.detail
    assert "s3cr3t" not in problem.detail


async def test_opening_can_be_cancelled(remote):
    async def mute(reader, writer):
        await reader.read()
        writer.close()

    server = await asyncio.start_server(mute, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await remote.open(f"http://127.0.0.1:{port}/sse", transport="sse")
        assert repr(remote.driver) == "RemoteDriver(0 links)"


async def test_nothing_is_left_over_from_before(remote):
    assert await remote.driver.sweep() == []


# Legacy SSE


def sse(*, endpoint=b"/messages?session_id=1", post=None, after=None):
    """A script: GET opens the stream and names `endpoint`; POSTs are taken, unless `post` does otherwise."""
    streams = []

    async def script(got, writer):
        if got.method == "GET":
            begin_stream(writer)
            streams.append(writer)
            if endpoint is not None:
                chunk(writer, b": hello\n\nevent: endpoint\ndata: %b\n\n" % endpoint)
            if after is not None:
                await after(writer)
        elif post is None or not await post(got, writer):
            respond(writer, 202, b"Accepted", kind="text/plain")
            if b'"id"' in got.body:
                reply = b'{"jsonrpc":"2.0","id":%d,"result":{}}' % int(
                    got.body.split(b'"id": ')[1].split(b",")[0]
                )
                chunk(streams[0], b"event: message\ndata: %b\n\n" % reply)

    return script


async def test_sse_posts_go_to_the_endpoint(remote):
    async with RawServer(sse()) as server:
        link, recorder = await remote.open(server.url, transport="sse", headers={"X-Key": "k"})
        link.negotiated("2024-11-05")
        request(link, 1, "initialize")
        await recorder.answered(1)
        notify(link, "notifications/initialized")
        call(link, 2, "echo")
        await recorder.answered(2)
        assert [r.target for r in server.requests[1:]] == ["/messages?session_id=1"] * 3
        assert b"initialized" in server.requests[2].body
        assert {r.headers["x-key"] for r in server.requests} == {"k"}
        assert link.abandon(2) is False


async def test_sse_an_absolute_endpoint_of_the_same_origin(remote):
    async with RawServer(sse()) as server:
        server.script = sse(endpoint=f"http://127.0.0.1:{server.port}/m".encode())
        link, recorder = await remote.open(server.url, transport="sse")
        call(link, 2, "echo")
        await recorder.answered(2)
        assert server.requests[-1].target == "/m"


@pytest.mark.parametrize(
    "endpoint",
    [
        b"http://127.0.0.1:1/m",
        b"//evil.example/m",
        b"https://127.0.0.1/m",
        b"ftp://x",
        b"http://[",
        b"javascript:1",
    ],
)
async def test_sse_an_endpoint_of_another_origin_is_refused(remote, endpoint):
    async with RawServer(sse(endpoint=endpoint)) as server:
        problem = await problem_of(remote, server.url, transport="sse")
        assert problem.code == "foreign-endpoint"
        await server.until(lambda: server.open_connections == 0)


async def test_sse_a_stream_without_an_endpoint_is_a_timeout(remote):
    async with RawServer(sse(endpoint=None)) as server:
        problem = await problem_of(remote, server.url, transport="sse", connect_timeout=0.1)
        assert problem.code == "connect-timeout"
        assert "opened no event stream within 0.1 s" in problem.detail


@pytest.mark.parametrize(
    ("status", "why"),
    [(401, "credentials are missing"), (404, "nothing answers at this path"), (405, "HTTP 405"), (200, "")],
)
async def test_sse_no_stream(remote, status, why):
    async def script(got, writer):
        respond(writer, status, b"<html>", kind="text/html")

    async with RawServer(script) as server:
        problem = await problem_of(remote, server.url, transport="sse")
        assert problem.code == "no-event-stream"
        assert why in problem.detail
        assert "streamable-http" in problem.detail


@pytest.mark.parametrize("how", ["end", "cut", "huge"])
async def test_sse_the_end_of_the_stream_is_the_end_of_the_link(remote, monkeypatch, how):
    monkeypatch.setattr(legacy_sse, "MAX_MESSAGE", 1000)

    async def post(got, writer):
        stream = streams[0]
        if how == "huge":
            chunk(stream, b"data: " + b"x" * 2000)
        elif how == "end":
            chunk(stream, b"")
        else:
            stream.transport.abort()
        return False

    streams = []

    async def remember(writer):
        streams.append(writer)

    async with RawServer(sse(post=post, after=remember)) as server:
        link, recorder = await remote.open(server.url, transport="sse")
        notify(link, "notifications/cancelled")
        lost = await recorder.ended()
        assert not lost.expected
        assert {"end": "ended its event stream", "cut": "closed the connection", "huge": "larger than"}[
            how
        ] in lost.reason
        call(link, 2, "echo")
        assert link.abandon(2) is False


async def test_sse_posts_that_are_refused_fail_their_requests(remote, monkeypatch):
    monkeypatch.setattr(legacy_sse, "ACCEPT_TIMEOUT", 0.1)

    async def post(got, writer):
        number = int(got.body.split(b'"id": ')[1].split(b",")[0])
        if number == 2:
            respond(writer, 500)
        elif number == 3:
            respond(writer, 400, b'{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"bad"}}')
        elif number == 4:
            raise HangUp
        elif number == 6:
            respond(writer, 404)
        return True

    async with RawServer(sse(post=post)) as server:
        link, recorder = await remote.open(server.url, transport="sse")
        for number in (2, 3, 4, 5):
            call(link, number, "echo")
        assert await recorder.failed(2) == "HTTP 500 from the server"
        assert (await recorder.answered(3))["error"]["message"] == "bad"
        assert "closed the connection before it answered" in await recorder.failed(4)
        assert await recorder.failed(5) == "the server did not take the message within 0.1 s"
        assert recorder.lost is None
        call(link, 6, "echo")
        assert (await recorder.ended()).reason == "session ended by the server"


async def test_sse_a_post_that_waits_is_taken_back(remote):
    gate = asyncio.Event()

    async def post(got, writer):
        await gate.wait()

    async with RawServer(sse(post=post)) as server:
        link, recorder = await remote.open(server.url, transport="sse", max_connections=1)
        call(link, 1, "echo")
        call(link, 2, "echo")
        await server.until(lambda: len(server.requests) == 2)
        assert link.abandon(1) is False
        assert link.abandon(2) is True
        gate.set()
        await recorder.answered(1)
        assert len(server.requests) == 2
