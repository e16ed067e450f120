"""Git repositories over HTTP(S) on loopback, by `git http-backend`, with a network that can fail."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import os
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from support.repositories import ENVIRON

SERVICE = "git-upload-pack"


class GitServer:
    """Serves the repositories below `root`; `URL/NAME.git` is one.

    Faults, to be set at any time:
    `away`: each connection is dropped at once. `status`: every answer has this status.
    `gate`: while it is cleared, answers to a fetch wait. `cut_after`: an answer to a fetch breaks off after
    so many bytes. `credentials`: what basic authentication must give, `(user, password)`.
    """

    def __init__(self, root: Path, url: str) -> None:
        self.root = root
        self.url = url
        self.away = False
        self.status: int | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.cut_after: int | None = None
        self.credentials: tuple[str, str] | None = None
        self.redirect: str | None = None
        self.requests: list[str] = []
        self.authorizations: list[str] = []

    def url_of(self, name: str) -> str:
        return f"{self.url}/{name}"

    @property
    def wanted(self) -> str | None:
        if self.credentials is None:
            return None
        return "Basic " + base64.b64encode(":".join(self.credentials).encode()).decode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    git_server: GitServer

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        if self.headers.get("transfer-encoding", "") == "chunked":
            body = b"".join(self._chunks())
        else:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self._answer(body)

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().split(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _answer(self, body: bytes) -> None:
        server = self.git_server
        server.requests.append(f"{self.command} {self.path}")
        server.authorizations.append(self.headers.get("authorization", ""))
        try:
            if server.away:
                self._reset()
            elif server.status is not None:
                self._plain(server.status)
            elif server.redirect is not None:
                self._plain(302, ("location", server.redirect + self.path))
            elif server.wanted is not None and self.headers.get("authorization") != server.wanted:
                self._plain(401, ("www-authenticate", 'Basic realm="git"'))
            else:
                self._backend(body)
        except (ConnectionError, ssl.SSLError):  # git was killed
            self.close_connection = True

    def _plain(self, status: int, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("content-length", "0")
        self.end_headers()

    def _backend(self, body: bytes) -> None:
        path, _, query = self.path.partition("?")
        environ = {
            **ENVIRON,
            "GIT_PROJECT_ROOT": str(self.git_server.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("content-type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("content-encoding", ""),
            "GIT_PROTOCOL": self.headers.get("git-protocol", ""),
            "REMOTE_ADDR": "127.0.0.1",
            "REMOTE_USER": "somebody",
        }
        ran = subprocess.run(
            ["git", "http-backend"], env=environ, input=body, capture_output=True, check=False
        )
        head, _, content = ran.stdout.partition(b"\r\n\r\n")
        status, headers = 200, []
        for line in head.decode().splitlines():
            name, _, value = line.partition(": ")
            if name.lower() == "status":
                status = int(value.split()[0])
            else:
                headers.append((name, value))
        fetched = self.command == "POST" and path.endswith(SERVICE) and b"command=ls-refs" not in body
        if fetched:
            self.git_server.gate.wait(60)
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        cut = self.git_server.cut_after
        if fetched and cut is not None:
            self.wfile.write(content[:cut])
            self._reset()
        else:
            self.wfile.write(content)

    def _reset(self) -> None:
        """End the connection as a network does that breaks."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class has it
        return


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        return


@contextmanager
def git_server(root: Path, *, certificate: Certificate | None = None) -> Iterator[GitServer]:
    handler = type("Handler", (_Handler,), {})
    server = _Server(("127.0.0.1", 0), handler)
    scheme = "http"
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.chain, certificate.key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    served = GitServer(root, f"{scheme}://127.0.0.1:{server.server_address[1]}")
    handler.git_server = served
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield served
    finally:
        served.gate.set()
        server.shutdown()
        thread.join()
        server.server_close()


class Certificate:
    """A certificate of one's own making for `host`, in files; `chain` is also what trusts it."""

    def __init__(self, folder: Path, host: str = "127.0.0.1") -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        now = datetime.datetime.now(datetime.UTC)
        try:
            alternative: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
        except ValueError:
            alternative = x509.DNSName(host)
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        folder.mkdir(parents=True, exist_ok=True)
        self.chain = folder / "certificate.pem"
        self.key = folder / "key.pem"
        self.chain.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self.key.write_bytes(private)
        os.chmod(self.key, 0o600)  # noqa: PTH101
