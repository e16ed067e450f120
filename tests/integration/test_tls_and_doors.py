"""The service over TLS, and with an address of its own for everything but MCP: on real sockets."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fairlead.app.listening import listening
from fairlead.app.settings import AdminSettings, Settings, TlsSettings
from fairlead.cli.client import Client
from fairlead.model.errors import ProblemError
from support.stack import TOKEN, light, running

AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}
PING = {"jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": {}}
MCP_HEADERS = {**AUTHORIZED, "Accept": "application/json, text/event-stream"}


@pytest.fixture
def tls(tmp_path: Path) -> TlsSettings:
    """A self-signed certificate for 127.0.0.1 and localhost."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "fairlead test")])
    now = datetime.now(UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    (tmp_path / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return TlsSettings(certificate=tmp_path / "cert.pem", key=tmp_path / "key.pem")


async def test_both_lanes_speak_tls_and_say_so(tmp_path: Path, tls: TlsSettings) -> None:
    async with running(tmp_path, {"s": light()}, settings={"tls": tls}) as system:
        address = system.url
        assert address.startswith("https://127.0.0.1:")
        trusted = ssl.create_default_context(cafile=tls.certificate)
        async with httpx.AsyncClient(verify=trusted, base_url=address) as http:
            answers = [
                await http.get("/api/servers", headers=AUTHORIZED),
                await http.get("/health"),
                await http.get("/api/servers"),
                await http.post("/mcp", headers=MCP_HEADERS, json=PING),
                await http.post("/mcp", json=PING),
            ]
            assert [answer.status_code for answer in answers] == [200, 200, 401, 400, 401]
            for answer in answers:
                assert answer.headers["strict-transport-security"] == "max-age=31536000"
            port = httpx.URL(address).port
            local = await http.get(f"https://localhost:{port}/health")
            assert "strict-transport-security" not in local.headers
        servers = await asyncio.to_thread(
            Client(address, TOKEN, certificate=tls.certificate).get, "/api/servers"
        )
        assert [server["id"] for server in servers["servers"]] == ["s"]
        with pytest.raises(ProblemError, match="certificate verify failed"):
            await asyncio.to_thread(Client(address, TOKEN).get, "/api/servers")


async def test_what_speaks_no_tls_is_hung_up_on(tmp_path: Path, tls: TlsSettings) -> None:
    async with running(tmp_path, {}, settings={"tls": tls}) as system:
        reader, writer = await asyncio.open_connection("127.0.0.1", system.port)
        writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"HTTP/1.1 200" not in await reader.read()
        writer.close()


@pytest.mark.parametrize("broken", ["cert.pem", "key.pem"])
def test_a_certificate_that_cannot_be_used_is_told_before_anything_starts(
    tmp_path: Path, tls: TlsSettings, broken: str
) -> None:
    (tmp_path / broken).write_text("nonsense")
    settings = Settings(state_dir=tmp_path / "state", tls=tls, port=0)
    with pytest.raises(ProblemError, match=r"cert\.pem and .*key\.pem") as refused, listening(settings):
        pass
    assert refused.value.problem.code == "bad-tls"


def test_one_of_the_two_files_is_not_enough(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"both tls\.certificate and tls\.key"):
        TlsSettings(certificate=tmp_path / "cert.pem")


async def test_mcp_and_the_rest_may_have_an_address_each(tmp_path: Path) -> None:
    async with running(tmp_path, {"s": light()}, settings={"admin": AdminSettings(port=0)}) as system:
        mcp = system.url
        admin = f"http://127.0.0.1:{system.system.ports[1]}"
        assert system.system.ports[0] != system.system.ports[1]
        async with httpx.AsyncClient() as http:

            async def status(address: str, path: str, *, post: bool = False) -> int:
                if post:
                    return (await http.post(address + path, headers=MCP_HEADERS, json=PING)).status_code
                return (await http.get(address + path, headers=AUTHORIZED)).status_code

            for path in ("/mcp", "/servers/s/mcp", "/servers/none/mcp"):
                assert await status(mcp, path, post=True) in (400, 404)
                answer = await http.post(admin + path, headers=MCP_HEADERS, json=PING)
                assert (answer.status_code, "not-here" in answer.json()["type"]) == (404, True)
            for path in ("/api/servers", "/docs", "/metrics", "/openapi.json"):
                assert await status(admin, path) == 200
                assert await status(mcp, path) == 404
            assert await status(mcp, "/health") == await status(admin, "/health") == 200
            assert (
                await status(admin, "/mcp") == await status(admin, "/sse") == await status(mcp, "/ws") == 404
            )


async def test_a_head_that_is_known_at_one_address_opens_nothing_at_the_other(tmp_path: Path) -> None:
    body = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
    async with running(tmp_path, {"s": light()}, settings={"admin": AdminSettings(port=0)}) as system:
        head = (
            f"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:{system.port}\r\nAuthorization: Bearer {TOKEN}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode()
        for port, found in ((system.port, False), (system.port, False), (system.system.ports[1], True)):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head + body)
            assert (b"not-here" in await reader.readuntil(b"}")) is found
            writer.close()
        assert head in system.system.gateway.known_heads
